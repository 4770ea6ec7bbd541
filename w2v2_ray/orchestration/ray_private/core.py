"""Of Ray's core. Imports Ray only inside functions."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

TOKEN_LOGGER = "ray._private.authentication.authentication_token_setup"
"""Says in every run that a Ray started here lets in nobody without the user's token."""
UPLOAD_LOGGERS = ("ray._private.runtime_env.packaging", "ray._private.runtime_env.working_dir")
"""Tell about an upload in many lines what we tell in one."""
_LEAN: dict[str, Any] = {"dashboard_agent_listen_port": 0, "no_monitor": True, "include_log_monitor": False}
_LEGACY_STATUS = b"__autoscaling_status"


def nodes_here() -> set[str]:
    """Ids of the cluster nodes that run on this machine.

    `ray.init` looks for one for a minute before it says that there is none.
    """
    from ray._private.services import find_node_ids

    return set(find_node_ids())


def noted_address() -> str | None:
    """The cluster that `ray start` left a note of on this machine; `ray.init("auto")` finds it without naming it."""
    from ray._private.utils import read_ray_address

    found: str | None = read_ray_address()
    return found


@contextmanager
def lean_head() -> Iterator[None]:
    """Within the block, a Ray that `ray.init` starts here starts without what a cluster for one command never uses.

    They are parameters of `ray start` (`--dashboard-agent-listen-port 0 --no-monitor --include-log-monitor False`) that
    `ray.init` does not take. With one fixed port, the second Ray of a machine waits 3.3 s for the first to give it up,
    and goes on without. The monitor is the autoscaler, which has nothing to start here; the log monitor sends workers'
    output to drivers that want it. A parameter that Ray no longer knows is left alone.
    """
    from ray._private import parameter

    class LeanParams(parameter.RayParams):
        def __init__(self, *given: Any, **named: Any) -> None:
            super().__init__(*given, **named)
            for name, value in _LEAN.items():
                if hasattr(self, name):
                    setattr(self, name, value)

    with patch.object(parameter, "RayParams", LeanParams):
        yield


def draining_nodes() -> set[str]:
    """Ids of nodes that are about to be taken away; no public function tells."""
    import ray

    return set(ray._private.state.state.get_draining_nodes() or {})


def control_channel(address: str) -> Any:
    """A gRPC channel to a control store, with the token that Ray's own processes would send.

    Public clients wait for a minute where nothing answers, and tell neither of an autoscaler nor what it could not
    start.
    """
    from ray._private.grpc_utils import init_grpc_channel

    return init_grpc_channel(address, asynchronous=False)


def first_autoscaler_report() -> bytes | None:
    """The report that an autoscaler of version 1 leaves; the requests of version 2 do not tell of it."""
    from ray.experimental.internal_kv import _internal_kv_get, _internal_kv_initialized

    report: bytes | None = _internal_kv_get(_LEGACY_STATUS) if _internal_kv_initialized() else None
    return report


def walk_upload(folder: Path, excludes: Sequence[str], visit: Callable[[Path], object]) -> None:
    """Walk a working directory as an upload does, so that what is measured is what is sent.

    Args:
        folder: Absolute.
        excludes: Patterns beside Ray's own, .gitignore and .rayignore.
        visit: Called with every file and folder that is sent.

    Raises:
        OSError: When something cannot be read.
    """
    from ray._private.ray_constants import get_runtime_env_default_excludes
    from ray._private.runtime_env.packaging import _dir_travel, _get_excludes

    quiet = logging.getLogger(f"{__name__}.quiet")
    quiet.setLevel(logging.CRITICAL)
    _dir_travel(
        folder,
        [_get_excludes(folder, [*get_runtime_env_default_excludes(), *excludes])],
        visit,
        include_gitignore=os.environ.get("RAY_RUNTIME_ENV_IGNORE_GITIGNORE", "0") != "1",
        logger=quiet,
    )
