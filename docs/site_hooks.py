"""Hooks of mkdocs: pages outside docs/ join the site, and links follow them; what is no page is named, not linked."""

from __future__ import annotations

import posixpath
import re
from typing import Any

from mkdocs.structure.files import File, Files

LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s#]*)(#[^)\s]*)?\)")
FENCE = re.compile(r"(^```.*?^```)", re.MULTILINE | re.DOTALL)
OUTSIDE = (
    "README.md",
    "CONTRIBUTING.md",
    "benchmarks/LEARNING.md",
    "benchmarks/PRETRAINING.md",
    "benchmarks/RESULTS.md",
)


def uri_of(path: str) -> str | None:
    """Where a file of the repository is in the site; None when it is no page of it.

    Args:
        path: Relative to the repository.
    """
    if path == "README.md":
        return "index.md"
    if path in OUTSIDE:
        return path
    return path.removeprefix("docs/") if path.startswith("docs/") and path.endswith((".md", ".png")) else None


def path_of(uri: str) -> str:
    """The file of the repository that a page of the site is made of."""
    if uri == "index.md":
        return "README.md"
    return uri if uri in OUTSIDE else f"docs/{uri}"


def rewritten(text: str, uri: str) -> str:
    """The text of a page with links as they are in the site.

    Args:
        text: As it is in the repository.
        uri: Of the page.
    """

    def follow(match: re.Match[str]) -> str:
        picture, label, target, anchor = match.groups()
        if "://" in target or not target:
            return match[0]
        place = uri_of(posixpath.normpath(posixpath.join(posixpath.dirname(path_of(uri)), target)))
        if place is None:
            return label if label.startswith("`") else f"{label} (`{target}`)"
        return f"{picture}[{label}]({posixpath.relpath(place, posixpath.dirname(uri) or '.')}{anchor or ''})"

    parts = FENCE.split(text)
    return "".join(part if part.startswith("```") else LINK.sub(follow, part) for part in parts)


def on_files(files: Files, config: Any) -> Files:
    """Add the pages that lie outside docs/."""
    for path in OUTSIDE:
        files.append(File.generated(config, uri_of(path) or path, abs_src_path=path))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Mend links."""
    return rewritten(markdown, page.file.src_uri)
