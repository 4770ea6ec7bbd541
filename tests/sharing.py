"""How `make test` shares the tests between two processes (`pytest -n 2 --dist loadscope`)."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

_ENGINE = "tests/unit/engine/"


class SharedByResource(LoadScopeScheduling):
    """What needs the same costly thing is run by one process, in the order in which it was collected.

    Clusters would fight for the cores, so that files with tests of Ray are one lot; the engine's files share process
    groups that take seconds to start; of any other file the fixtures stay together. By file, not by `xdist_group`: the
    suffix that xdist 3.8 gives to names of tests for it is lost with pytest 9.2.

    Args:
        config: Pytest's.
        log: xdist's.
    """

    def __init__(self, config: pytest.Config, log: Any) -> None:
        super().__init__(config, log)
        self._lot = cache(self._lot_of_file)

    def _split_scope(self, nodeid: str) -> str:
        return self._lot(nodeid.partition("::")[0])

    def _lot_of_file(self, file: str) -> str:
        if "mark.ray" in Path(self.config.rootpath, file).read_text(encoding="utf-8"):
            return "ray"
        return "engine" if file.startswith(_ENGINE) else file
