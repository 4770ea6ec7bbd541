"""Optuna's proposals, without those that the job schema refuses (Ray's searcher; the extra `tune`)."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from ray import tune
from ray.tune.search import Searcher

from w2v2_ray.errors import MissingExtraError
from w2v2_ray.orchestration.launch import with_absolute_paths
from w2v2_ray.spec.space import ParameterSpec
from w2v2_ray.spec.sweep_loading import LoadedSweep
from w2v2_ray.tune.folder import SweepFolder
from w2v2_ray.tune.points import Point, Rejected, make_point

METRICS = ["speed_up", "peak_memory_bytes"]
MODES = ["max", "min"]
_TRIES = 200
"""Proposals in a row that are refused, after which the search ends."""
_WORSE = 2.0
"""What a failed point is said to need: so many times the largest memory seen."""


def optuna_search(parameters: Mapping[str, ParameterSpec], seed: int) -> Any:
    """Ray's Optuna searcher over a space, for throughput and memory together.

    Raises:
        MissingExtraError: Optuna is not installed.
    """
    try:
        import optuna
        from ray.tune.search.optuna import OptunaSearch
    except ImportError as error:
        raise MissingExtraError(
            "search.method: optuna needs Optuna; install it with: pip install 'w2v2-ray[tune]'"
        ) from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    space = {path: _domain(parameter) for path, parameter in parameters.items()}
    return OptunaSearch(space, metric=METRICS, mode=MODES, seed=seed)


def _domain(parameter: ParameterSpec) -> Any:
    if parameter.choices is not None:
        return tune.choice(list(range(len(parameter.choices))))  # choices may be mappings, which Optuna cannot take
    low, high = parameter.low, parameter.high
    if parameter.whole:
        return tune.lograndint(low, high + 1) if parameter.log else tune.randint(low, high + 1)
    return tune.loguniform(low, high) if parameter.log else tune.uniform(low, high)


class ValidPoints(Searcher):
    """Passes on what another searcher proposes, once it is a valid job, and tells it how bad a failure was.

    Args:
        inner: Proposes.
        loaded: The sweep.
        folder: Where points are kept.
        baseline: Key of what every point is measured against.
    """

    def __init__(self, inner: Any, loaded: LoadedSweep, folder: str, baseline: str) -> None:
        super().__init__(metric=METRICS, mode=MODES)
        self._inner = inner
        self._loaded = loaded
        self._folder = folder
        self._baseline = baseline
        self._proposed = 0
        self._worst_bytes = 1.0
        self._names: dict[str, str] = {}
        self.rejected: list[Rejected] = []

    def suggest(self, trial_id: str) -> dict[str, Any] | None:
        """The next valid point."""
        for attempt in range(_TRIES):
            name = f"{trial_id}-{attempt}"
            proposal = self._inner.suggest(name)
            if proposal is None:
                return None
            point = self._point(proposal)
            if isinstance(point, Rejected):
                self._inner.on_trial_complete(name, error=True)
                if point not in self.rejected:
                    self.rejected.append(point)
                    SweepFolder(self._folder).keep_rejected(self.rejected)
                continue
            self._names[trial_id] = name
            self._proposed += 1
            labels = dict(zip(point.values, point.label.split(", "), strict=False))
            return {
                "configuration": point.label,
                "key": point.key,
                "baseline": self._baseline,
                "number": self._proposed - 1,
                "parameters": labels,
            }
        return None

    def _point(self, proposal: Mapping[str, Any]) -> Point | Rejected:
        values = {
            path: parameter.choices[proposal[path]] if parameter.choices is not None else proposal[path]
            for path, parameter in self._loaded.parameters.items()
        }
        point = make_point(self._loaded, values)
        if isinstance(point, Point):
            SweepFolder(self._folder).keep_point(point, with_absolute_paths(point.trial_job), self._proposed + 1)
        return point

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Tell the inner searcher; a point that failed is worse than all that did not."""
        name = self._names.pop(trial_id, None)
        if name is None:
            return
        if result is None or error or "status" not in result:
            self._inner.on_trial_complete(name, error=True)
            return
        told = {metric: float(result.get(metric, math.nan)) for metric in METRICS}
        if result["status"] == "ok" and all(map(math.isfinite, told.values())):
            self._worst_bytes = max(self._worst_bytes, told["peak_memory_bytes"])
        else:
            told = {"speed_up": 0.0, "peak_memory_bytes": _WORSE * self._worst_bytes}
        self._inner.on_trial_complete(name, {**result, **told})

    def save(self, checkpoint_path: str) -> None:
        """Everything, for `Tuner.restore`."""
        self._inner.save(f"{checkpoint_path}.optuna")
        state = {key: self.__dict__[key] for key in _STATE}
        with open(checkpoint_path, "w", encoding="utf-8") as file:
            json.dump(state, file, default=lambda value: value.__dict__)

    def restore(self, checkpoint_path: str) -> None:
        """Go on where another process stopped."""
        self._inner.restore(f"{checkpoint_path}.optuna")
        with open(checkpoint_path, encoding="utf-8") as file:
            state = json.load(file)
        self.rejected = [Rejected(**entry) for entry in state.pop("rejected")]
        self.__dict__.update(state)


_STATE = ("_proposed", "_worst_bytes", "_names", "rejected")
