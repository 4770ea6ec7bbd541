"""A dataset as one self-contained HTML page."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any

from w2v2_ray.data.inspection.contents import ContentReport
from w2v2_ray.data.inspection.report import DatasetReport
from w2v2_ray.data.inspection.scripts import script_of
from w2v2_ray.reporting.dataset_charts import dataset_charts
from w2v2_ray.reporting.dataset_lines import figure_lines, span_of
from w2v2_ray.reporting.page import as_markup, made_at, render

_MOST_SYMBOLS = 200
_MOST_SETTINGS = 200
_SCRIPT_EXAMPLES = 12
_LONGEST_TEXT = 400


def render_dataset_page(report: DatasetReport, now: float | None = None) -> str:
    """The page; ids, texts and paths are escaped, and long ones cut.

    Args:
        report: What was gathered; without levels and contents the page says that no audio was read.
        now: Seconds since 1970; None asks the clock.
    """
    made = as_markup(dataset_charts(report))
    found = report.contents
    return render(
        "dataset.html.j2",
        name=PurePosixPath(report.path.partition("?")[0]).name or report.path,
        report=report,
        cards=_cards(report),
        lines=figure_lines(report),
        wide=made["lengths"],
        half=[made[name] for name in ("seconds", "levels", "rates") if name in made],
        lengths=[(span_of(entry), f"{entry.utterances:,}", f"{entry.hours:.2f}") for entry in report.lengths],
        found=found,
        scripts=_scripts(found) if found is not None else [],
        symbols=_symbols(found) if found is not None else [],
        settings=_settings(report.made),
        cut=_cut,
        made_at=made_at(now),
    )


def _cards(report: DatasetReport) -> list[tuple[str, str, str]]:
    """Title, figure and what is to be said of it."""
    found, levels = report.contents, report.levels
    cards = [
        ("Hours", f"{report.hours:,.2f}", f"median utterance {report.median_s:.2f} s"),
        ("Utterances", f"{report.utterances:,}", f"{report.transcribed:,} with a transcript"),
        ("Speakers", f"{report.speakers:,}", "known by name"),
        ("Rejected", f"{report.rejected:,}", "at ingest"),
    ]
    if levels is not None:
        cards.append(("Level", f"{levels.level_dbfs.median:.1f}", "dBFS, median"))
    if found is not None:
        cards.append(("Copies", f"{found.copies:,}", "have the samples of another"))
        cards.append(("Suspicious", f"{found.too_fast + found.too_slow:,}", "texts too long or short for the audio"))
    return cards


def _scripts(found: ContentReport) -> list[tuple[str, str, str, str]]:
    """Script, characters, their share and the most frequent ones."""
    examples: dict[str, list[str]] = {}
    for symbol in found.symbols:
        kept = examples.setdefault(script_of(symbol), [])
        if len(kept) < _SCRIPT_EXAMPLES:
            kept.append(_symbol_name(symbol))
    total = sum(found.scripts.values())
    return [
        (script, f"{count:,}", f"{count / total:.2%}", " ".join(examples[script]))
        for script, count in found.scripts.items()
    ]


def _symbols(found: ContentReport) -> list[tuple[str, str, str]]:
    """Symbol, number in Unicode and count, of the most frequent ones."""
    shown = list(found.symbols.items())[:_MOST_SYMBOLS]
    return [(_symbol_name(symbol), f"U+{ord(symbol):04X}", f"{count:,}") for symbol, count in shown]


def _symbol_name(symbol: str) -> str:
    if symbol == " ":
        return "space"
    return symbol if symbol.isprintable() else f"U+{ord(symbol):04X}"


def _settings(made: dict[str, Any] | None) -> list[tuple[str, str]]:
    return [(name, _cut(value)) for name, value in _flat("", made)][:_MOST_SETTINGS] if made else []


def _flat(prefix: str, value: Any) -> Iterator[tuple[str, str]]:
    """`settings.limits.min_s` and its value, for every value."""
    if isinstance(value, dict) and value:
        for name, inner in value.items():
            yield from _flat(f"{prefix}.{name}" if prefix else str(name), inner)
    else:
        yield prefix, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _cut(text: str | None) -> str:
    """A text that fits into a table."""
    if text is None:
        return ""
    return text if len(text) <= _LONGEST_TEXT else f"{text[:_LONGEST_TEXT]} … ({len(text):,} characters)"
