"""What commands print: messages on stderr, results on stdout, sizes a person can read."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import typer

from w2v2_ray.errors import W2v2RayError
from w2v2_ray.spec.diagnostics import Diagnostic, InvalidJobError


def print_error(error: W2v2RayError) -> None:
    """One message, no traceback. The mistakes of a spec come one a line, place first, as editors expect them."""
    if isinstance(error, InvalidJobError) and error.diagnostics:
        typer.echo(error.message, err=True)
        count = len(error.diagnostics)
        typer.secho(f"{count} mistake{'s' if count > 1 else ''}", err=True, fg=typer.colors.RED)
    else:
        typer.echo(typer.style("error: ", fg=typer.colors.RED) + error.message, err=True)


def print_warnings(warnings: Iterable[Diagnostic]) -> None:
    """Advice, on stderr so that it does not mix with results."""
    for warning in warnings:
        typer.echo(typer.style("warning: ", fg=typer.colors.YELLOW) + str(warning), err=True)


def print_notes(notes: Iterable[str]) -> None:
    """What was noticed about a model, on stderr; what begins with `warning: ` is one."""
    for note in notes:
        kind = "warning: " if note.startswith("warning: ") else "note: "
        typer.echo(typer.style(kind, fg=typer.colors.YELLOW) + note.removeprefix(kind), err=True)


def print_json(document: Any) -> None:
    """One JSON object on stdout."""
    typer.echo(json.dumps(document, indent=2, ensure_ascii=False))


def readable_bytes(count: int) -> str:
    """A size in the unit that suits it."""
    size = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" or size >= 100 else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"


def readable_count(count: float) -> str:
    """A number with thousands apart; fractions where they matter."""
    return f"{count:,.0f}" if count >= 100 or float(count).is_integer() else f"{count:,.2f}"
