"""Self-contained HTML pages from the templates of this room."""

from __future__ import annotations

import time
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup

from w2v2_ray.reporting.drawing import Chart


def render(template: str, **values: Any) -> str:
    """Fill a template in; whatever is not `Markup` is escaped.

    Args:
        template: Name of a file of this room.
        values: What it asks for.
    """
    environment = Environment(
        loader=FunctionLoader(lambda name: files("w2v2_ray.reporting").joinpath(name).read_text("utf-8")),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template).render(**values)


def as_markup(charts: Mapping[str, Chart]) -> dict[str, tuple[str, Markup]]:
    """Drawings as they are put into a page, unescaped: matplotlib has escaped what is written in them."""
    return {name: (title, Markup(svg)) for name, (title, svg) in charts.items()}


def made_at(now: float | None = None) -> str:
    """For the foot of a page.

    Args:
        now: Seconds since 1970; None asks the clock.
    """
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(now))
