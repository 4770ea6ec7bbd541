"""A Ray Train run that its driver can end at once."""

from __future__ import annotations

import contextlib
from typing import Any

import ray
from ray.train.torch import TorchTrainer

_ABORT_S = 4.0


class StoppableTrainer(TorchTrainer):
    """A TorchTrainer that is ended by `stop`, from any thread."""

    _controller: Any = None

    def stop(self) -> None:
        """End the workers, for a driver that was interrupted. Never waits long.

        Ray would ask the controller from within the signal's handler and wait for its answer, which never comes while
        it waits for a node. States are whole whenever their workers end.
        """
        if self._controller is None:
            return
        with contextlib.suppress(Exception):  # it may have ended, or the cluster with it
            ray.get(self._controller.abort.remote(), timeout=_ABORT_S)
        with contextlib.suppress(Exception):
            ray.kill(self._controller)

    def _register_sigint_handler(self, controller: Any) -> None:
        """Leave Ctrl-C to the driver, which calls `stop`."""
        self._controller = controller
