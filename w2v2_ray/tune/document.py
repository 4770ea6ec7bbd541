"""A report as a list of parts, written as Markdown and as one self-contained HTML page."""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Heading:
    """A heading; level 1 is the title."""

    text: str
    level: int = 2


@dataclass(frozen=True)
class Text:
    """A paragraph. `code` in backquotes is set as code."""

    text: str


@dataclass(frozen=True)
class Table:
    """Rows under a header; numbers stand right."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Code:
    """Lines to copy."""

    text: str


@dataclass(frozen=True)
class Image:
    """A PNG beside the report."""

    path: Path
    caption: str


Part = Heading | Text | Table | Code | Image

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #1d2733; max-width: 72em; margin: 2em auto; padding: 0 1.5em; }
h1 { font-size: 1.6em; } h2 { font-size: 1.2em; margin-top: 2em; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .35em .8em; border-bottom: 1px solid #dde3ea; text-align: right; white-space: nowrap; }
th { border-bottom: 2px solid #8a98a8; } td:first-child, th:first-child { text-align: left; }
td.text { text-align: left; white-space: normal; }
code, pre { background: #f2f5f8; border-radius: 3px; padding: .1em .3em; } pre { padding: .8em; overflow-x: auto; }
img { max-width: 100%; } figure { margin: 1em 0; } figcaption { color: #5a6877; }
"""
_NUMBER = re.compile(r"^[-+]?[\d.,]+.*$")


def as_markdown(parts: Sequence[Part]) -> str:
    """The report for a terminal, a pull request or a README."""
    return "\n\n".join(_markdown(part) for part in parts) + "\n"


def _markdown(part: Part) -> str:
    if isinstance(part, Heading):
        return f"{'#' * part.level} {part.text}"
    if isinstance(part, Code):
        return f"```\n{part.text}\n```"
    if isinstance(part, Image):
        return f"![{part.caption}]({part.path.name})\n\n*{part.caption}*"
    if isinstance(part, Table):
        lines = [part.header, ["---" if index == 0 else "---:" for index in range(len(part.header))], *part.rows]
        return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
    return part.text


def as_html(title: str, parts: Sequence[Part]) -> str:
    """One page that needs no other file: pictures are within it."""
    body = "\n".join(_html(part) for part in parts)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head><meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{html.escape(title)}</title>\n<style>{_STYLE}</style></head>\n<body>\n{body}\n</body>\n</html>\n"
    )


def _html(part: Part) -> str:
    if isinstance(part, Heading):
        return f"<h{part.level}>{_inline(part.text)}</h{part.level}>"
    if isinstance(part, Code):
        return f"<pre>{html.escape(part.text)}</pre>"
    if isinstance(part, Image):
        data = base64.b64encode(part.path.read_bytes()).decode()
        caption = html.escape(part.caption)
        return (
            f'<figure><img alt="{caption}" src="data:image/png;base64,{data}">'
            f"<figcaption>{caption}</figcaption></figure>"
        )
    if isinstance(part, Table):
        head = "".join(f"<th>{_inline(cell)}</th>" for cell in part.header)
        rows = "\n".join(f"<tr>{''.join(_cell(i, cell) for i, cell in enumerate(row))}</tr>" for row in part.rows)
        return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>\n{rows}\n</tbody></table></div>'
    return f"<p>{_inline(part.text)}</p>"


def _cell(index: int, text: str) -> str:
    is_text = index > 0 and text and not _NUMBER.match(text) and len(text) > 3
    return f'<td class="text">{_inline(text)}</td>' if is_text else f"<td>{_inline(text)}</td>"


def _inline(text: str) -> str:
    escaped = html.escape(text)
    escaped = re.sub(r"`([^`]+)`", r"<code>\1</code>", escaped)
    return re.sub(r"\*\*([^*]+)\*\*", r"<b>\1</b>", escaped)
