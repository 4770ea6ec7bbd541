"""A drawing in the pages' style, as SVG to be put into one."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

INK, QUIET, GRID = "#1f2937", "#6b7280", "#e5e7eb"
BLUE, PALE_BLUE, ORANGE, GREEN, RED, PURPLE = "#2563eb", "#bfdbfe", "#ea580c", "#059669", "#dc2626", "#7c3aed"
WIDE, HALF = (10.6, 2.9), (5.15, 2.5)
Chart = tuple[str, str]
"""Title and SVG."""


@contextmanager
def drawn_axis(name: str, size: tuple[float, float]) -> Iterator[tuple[Any, Callable[[], str]]]:
    """An axis in the pages' style, and what makes an SVG of it.

    Args:
        name: Unlike that of any other drawing of the page.
        size: Width and height in inches; `WIDE` or `HALF`.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    style = {
        "svg.fonttype": "none",
        "svg.hashsalt": name,  # ids must differ between drawings of one page
        "font.size": 8.5,
        "axes.edgecolor": GRID,
        "axes.labelcolor": QUIET,
        "xtick.color": QUIET,
        "ytick.color": QUIET,
        "axes.grid": True,
        "grid.color": GRID,
        "grid.linewidth": 0.7,
        "axes.axisbelow": True,
        "legend.frameon": False,
    }
    with mpl.rc_context(style):
        figure = Figure(figsize=size, constrained_layout=True)
        axis = figure.add_subplot()
        for side in ("top", "right", "left"):
            axis.spines[side].set_visible(False)
        axis.tick_params(length=0)

        def svg() -> str:
            out = io.StringIO()
            figure.savefig(out, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
            text = out.getvalue()
            return re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", text[text.index("<svg") :], count=1).replace(
                ' height="', ' data-height="', 1
            )

        yield axis, svg
