"""The process that measures one cell: `python -m w2v2_ray.bench.child`, a request on stdin, figures on stdout.

Fresh for every repeat, so that no cell inherits another's caches, allocations or peak.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import sys
from collections.abc import Callable, Mapping
from typing import Any

from w2v2_ray.errors import W2v2RayError
from w2v2_ray.resident_memory import peak_rss_bytes

Measure = Callable[[Mapping[str, Any]], dict[str, Any]]


def main() -> None:
    """Answer one request: {"measure": "module:function", "settings": {...}}."""
    request = json.load(sys.stdin)
    module, _, name = request["measure"].partition(":")
    try:
        # Libraries print as they like; what this process says on stdout is the answer alone.
        with contextlib.redirect_stdout(sys.stderr):
            measure: Measure = getattr(importlib.import_module(module), name)
            load = os.getloadavg()[0]
            answer = {**measure(request["settings"]), "load_average": load}
            answer.setdefault("peak_rss_bytes", peak_rss_bytes())
    except W2v2RayError as error:
        answer = {"error": error.message, "exit_code": error.exit_code}
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
