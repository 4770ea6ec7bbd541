"""What is said of a dataset in a line each, on the terminal and at the top of its page."""

from __future__ import annotations

from w2v2_ray.data.inspection.levels import SILENCE_DBFS
from w2v2_ray.data.inspection.report import DatasetReport, LengthBin

_SYMBOLS = 60
_SCRIPTS = 8


def figure_lines(report: DatasetReport) -> list[tuple[str, str]]:
    """Names and values, unescaped."""
    verified = "checksums verified" if report.checksums_verified else "names and sizes verified (--fast)"
    return [
        ("dataset", report.path),
        ("hours", f"{report.hours:.3f}"),
        ("utterances", f"{report.utterances:,} ({report.transcribed:,} with a transcript)"),
        ("speakers", f"{report.speakers:,}"),
        (
            "lengths",
            f"{report.shortest_s:.2f} to {report.longest_s:.2f} s, median {report.median_s:.2f} s, "
            f"90 % within {report.p5_s:.2f} to {report.p95_s:.2f} s",
        ),
        *_level_lines(report),
        *_content_lines(report),
        ("rejected", f"{report.rejected:,} at ingest"),
        ("kept but odd", ", ".join(f"{note} {count:,}" for note, count in report.odd.items()) or "none noted"),
        ("codec", f"{report.codec}, {report.sample_rate} Hz mono"),
        ("shards", f"{report.shards:,}, {report.bytes / 2**20:,.1f} MiB, {verified}"),
        ("fingerprint", report.fingerprint),
        ("created by", report.created_by),
    ]


def span_of(entry: LengthBin) -> str:
    """The seconds of a bin."""
    return f"{entry.from_s:g} - {entry.to_s:g}" if entry.to_s is not None else f"{entry.from_s:g} -"


def _level_lines(report: DatasetReport) -> list[tuple[str, str]]:
    """Lines about the signal."""
    levels = report.levels
    if levels is None:
        return [("level", "not read (--fast)")]
    level, peak = levels.level_dbfs, levels.peak_dbfs
    return [
        (
            "level",
            f"{level.lowest:.1f} to {level.highest:.1f} dBFS, median {level.median:.1f}, "
            f"90 % within {level.p5:.1f} to {level.p95:.1f}",
        ),
        ("peak", f"{peak.lowest:.1f} to {peak.highest:.1f} dBFS, median {peak.median:.1f}"),
        ("clipped", f"{levels.clipped_fraction:.4%} of samples, in {levels.clipped_utterances:,} utterances"),
        (
            "silence",
            f"{levels.silence_fraction:.1%} below {SILENCE_DBFS:g} dBFS; {levels.silent_utterances:,} utterances "
            "are silent",
        ),
    ]


def _content_lines(report: DatasetReport) -> list[tuple[str, str]]:
    """Lines about what is said, and what is there twice."""
    found = report.contents
    if found is None:
        return []
    lines = [("audio alone", found.audio_fingerprint)]
    if found.copies:
        lines.append(("copies", f"{found.copies:,} have the samples of another: {', '.join(found.copy_examples)}"))
    if found.characters_per_s is not None:
        rate = found.characters_per_s
        shown = " ".join("space" if symbol == " " else symbol for symbol in list(found.symbols)[:_SYMBOLS])
        more = f" and {len(found.symbols) - _SYMBOLS} more" if len(found.symbols) > _SYMBOLS else ""
        lines.append(("symbols", f"{len(found.symbols)}: {shown}{more}"))
        lines.append(("scripts", _scripts(found.scripts)))
        lines.append(("spoken", f"{rate.p5:.1f} to {rate.p95:.1f} characters/s in 90 %, median {rate.median:.1f}"))
    if found.too_fast or found.too_slow:
        lines.append(
            (
                "suspicious",
                f"{found.too_fast:,} texts too long for their audio, {found.too_slow:,} too short: "
                f"{', '.join(found.misfit_examples)}",
            )
        )
    return lines


def _scripts(scripts: dict[str, int]) -> str:
    shown = ", ".join(f"{script} {count:,}" for script, count in list(scripts.items())[:_SCRIPTS])
    return f"{shown} and {len(scripts) - _SCRIPTS} more" if len(scripts) > _SCRIPTS else shown
