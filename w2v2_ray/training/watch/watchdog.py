"""Tells from an update's figures that training is going wrong. A pure policy: it decides, the trainer acts.

Every worker runs it on the same figures and comes to the same verdicts. Its state is small JSON that travels with
each checkpoint, so a resumed run judges as one that never stopped, whatever its number of workers.
"""

from __future__ import annotations

import math
import statistics
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

from w2v2_ray.errors import CheckpointError
from w2v2_ray.spec.watchdog import WatchdogSpec
from w2v2_ray.training.watch.advice import Check, Incident, explain

CHECKS: tuple[Check, ...] = (
    "non_finite",
    "loss_scale_underflow",
    "loss_spike",
    "trivial_solution",
    "codebook_collapse",
    "vanishing_gradient",
    "flat_at_chance",
)
"""In the order in which they speak when several find something in one update."""

SUDDEN: frozenset[Check] = frozenset({"non_finite", "loss_scale_underflow", "loss_spike"})
"""Checks whose incident has offending updates that a rollback can pass over."""

_MAD_TO_SIGMA = 1.4826
_SEVERITY = {"stop": 2, "rollback": 1, "warn": 0}
_STATE_VERSION = 1


@dataclass(frozen=True)
class Verdict:
    """What the watchdog found.

    Attributes:
        check: Which check.
        action: What to do. A `rollback` still has to pass `Interventions.bound`.
        update: The update whose figures settled it.
        first_update: The update in which the incident began.
        message: What is seen, the likely cause, the remedy.
    """

    check: Check
    action: Literal["warn", "stop", "rollback"]
    update: int
    first_update: int
    message: str

    def event(self) -> dict[str, Any]:
        """The verdict for `events.jsonl`."""
        return asdict(self)


@dataclass
class _Episode:
    """A run of bad updates, in which a few good ones are forgiven.

    Attributes:
        first: Update in which it began; 0 when there is none.
        bad: Bad updates so far.
        good: Good updates since the last bad one.
        warned: It was warned of.
        acted: It was acted upon.
        last_warning: Update of the check's last warning, in this or an earlier episode; 0 when there was none.
    """

    first: int = 0
    bad: int = 0
    good: int = 0
    warned: bool = False
    acted: bool = False
    last_warning: int = 0

    def count(self, update: int, bad: bool, forgiven: int) -> None:
        """Take an update into account; `forgiven` good ones in a row do not end the episode, one more does."""
        if bad:
            self.first = self.first or update
            self.bad += 1
            self.good = 0
        elif self.first:
            self.good += 1
            if self.good > forgiven:
                self.first, self.bad, self.good, self.warned, self.acted = 0, 0, 0, False, False


class Watchdog:
    """Watches a run's figures.

    A check finds something when an update is bad. It acts once `patience_updates` bad updates came in a row; one good
    update in twenty is forgiven, so a patience below 20 forgives none. Where the action is `stop` or `rollback`, a
    warning precedes it at half the patience. A warning is given once an episode, and not again within
    `quiet_updates`; an episode ends with the first good update (or more, where some are forgiven).

    Args:
        spec: What to watch for.
        codebooks: G; None where there is no quantizer (fine-tuning), whose checks are then silent.
        entries: V.
        negatives: N of the contrastive loss; None where there is none.
        warmup_updates: Of the learning rate; graces scale with it.
        updates: Of the whole run.
    """

    def __init__(
        self,
        spec: WatchdogSpec,
        *,
        codebooks: int | None,
        entries: int | None,
        negatives: int | None,
        warmup_updates: int,
        updates: int,
    ) -> None:
        self._spec = spec
        self._codebooks = codebooks
        self._chance_bits = math.log2(negatives + 1) if negatives is not None else None
        self._collapsed = 0.0
        if codebooks is not None and entries is not None:
            # Few entries cannot have a large perplexity: two have at most 2, four at most 4.
            self._collapsed = codebooks * min(spec.codebook_collapse.ratio, entries**0.25)
        grace = spec.codebook_collapse.grace_updates
        self._collapse_grace = max(200, warmup_updates // 32) if grace is None else grace
        grace = spec.flat_at_chance.grace_updates
        self._flat_grace = max(2_000, warmup_updates // 2, updates // 40) if grace is None else grace
        self._patience: dict[Check, int] = {
            "flat_at_chance": 2 * self._flat_grace,
            **{check: getattr(spec, check).patience_updates for check in CHECKS if check != "flat_at_chance"},
        }
        self._rules: dict[Check, Callable[[int, Mapping[str, float]], bool | None]] = {
            "non_finite": self._is_non_finite,
            "loss_scale_underflow": self._underflows,
            "loss_spike": self._spikes,
            "trivial_solution": self._is_trivial,
            "codebook_collapse": self._is_collapsed,
            "vanishing_gradient": self._vanishes,
            "flat_at_chance": self._is_flat,
        }
        self._episodes: dict[Check, _Episode] = {check: _Episode() for check in CHECKS}
        self._losses: deque[float] = deque(maxlen=spec.loss_spike.window_updates)
        self._last_update = 0

    def observe(self, update: int, figures: Mapping[str, float]) -> Verdict | None:
        """Judge an update. Call it once for every update that ran, in order; not for updates passed over.

        Args:
            update: Its number.
            figures: `loss`, `grad_norm` and, where they exist, `loss_contrastive`, `accuracy`, `prob_perplexity`,
                `code_perplexity` as in a metrics line; in fp16 (and only there) `loss_scale` and `skipped`. Others
                are ignored, and a check whose figures are missing is silent.

        Returns:
            The gravest finding, or None. Lesser warnings of the same update follow with the next ones.

        Raises:
            ValueError: If updates do not come in order, as after a rollback without `load_state_dict`.
        """
        if not self._spec.enabled:
            return None
        if update <= self._last_update:
            raise ValueError(f"watchdog: update {update} after update {self._last_update}; restore its state first")
        self._last_update = update
        due: list[tuple[Check, Literal["warn", "stop", "rollback"]]] = []
        for check in CHECKS:
            if getattr(self._spec, check).action == "off":
                continue
            bad = self._rules[check](update, figures)
            if bad is not None:
                self._episodes[check].count(update, bad, self._patience[check] // 20)
                action = self._due(check, update) if bad else None
                if action is not None:
                    due.append((check, action))
        self._remember(figures)
        if not due:
            return None
        return self._speak(*max(due, key=lambda item: _SEVERITY[item[1]]), update, figures)

    @property
    def uneasy(self) -> bool:
        """An incident that may end in a rollback has begun: a checkpoint now may already be ill.

        Saving none meanwhile (a few updates) keeps the few that are kept from before the incident.
        """
        return any(
            self._episodes[check].first > 0 and getattr(self._spec, check).action == "rollback" for check in SUDDEN
        )

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint must hold: plain JSON, a few kilobytes."""
        return {
            "version": _STATE_VERSION,
            "last_update": self._last_update,
            "losses": list(self._losses),
            "episodes": {check: asdict(episode) for check, episode in self._episodes.items()},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from `state_dict()`. A changed spec keeps what still fits.

        Raises:
            CheckpointError: If it is not such a state.
        """
        names = {field.name for field in fields(_Episode)}
        try:
            if state["version"] != _STATE_VERSION:
                raise ValueError(f"version {state['version']}")
            episodes = {check: state["episodes"].get(check, {}) for check in CHECKS}
            if any(set(episode) - names for episode in episodes.values()):
                raise ValueError("unknown keys")
            losses, last_update = [float(loss) for loss in state["losses"]], int(state["last_update"])
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise CheckpointError(f"the checkpoint's watchdog state cannot be used ({error!r})") from error
        self._last_update = last_update
        self._losses = deque(losses, maxlen=self._losses.maxlen)
        self._episodes = {check: _Episode(**episode) for check, episode in episodes.items()}

    def _due(self, check: Check, update: int) -> Literal["warn", "stop", "rollback"] | None:
        episode, patience, wanted = self._episodes[check], self._patience[check], getattr(self._spec, check).action
        if wanted != "warn" and episode.bad >= patience and not episode.acted:
            return "rollback" if wanted == "rollback" else "stop"
        warn_at = patience if wanted == "warn" else max(1, patience // 2)
        quiet = episode.last_warning and update - episode.last_warning <= self._spec.quiet_updates
        return "warn" if episode.bad >= warn_at and not episode.warned and not episode.acted and not quiet else None

    def _speak(
        self, check: Check, action: Literal["warn", "stop", "rollback"], update: int, figures: Mapping[str, float]
    ) -> Verdict:
        episode = self._episodes[check]
        if action == "warn":
            episode.warned, episode.last_warning = True, update
        else:
            episode.acted = True
        incident = Incident(
            update=update,
            first_update=episode.first,
            bad_updates=episode.bad,
            figures=figures,
            usual_loss=statistics.median(self._losses) if self._losses else math.nan,
            chance_bits=self._chance_bits or math.nan,
            codebooks=self._codebooks or 0,
        )
        return Verdict(check, action, update, episode.first, explain(check, incident))

    def _remember(self, figures: Mapping[str, float]) -> None:
        """Add the loss to the window that spikes are measured against, unless it is one."""
        loss, episode = figures.get("loss", math.nan), self._episodes["loss_spike"]
        # A level that was warned of and stays is the new usual one; otherwise it would be a spike for ever.
        accepted = self._spec.loss_spike.action == "warn" and episode.bad >= self._patience["loss_spike"]
        if math.isfinite(loss) and (episode.first == 0 or accepted):
            self._losses.append(loss)

    def _is_non_finite(self, update: int, figures: Mapping[str, float]) -> bool | None:
        # A gradient that overflows in fp16 is the loss scaler's business; a loss that does is not.
        names = ["loss", "loss_contrastive"] + ([] if "loss_scale" in figures else ["grad_norm"])
        return any(not math.isfinite(figures[name]) for name in names if name in figures)

    def _underflows(self, update: int, figures: Mapping[str, float]) -> bool | None:
        scale = figures.get("loss_scale")
        if scale is None:
            return None
        return scale <= self._spec.loss_scale_underflow.scale or (bool(figures.get("skipped")) and scale < 1.0)

    def _spikes(self, update: int, figures: Mapping[str, float]) -> bool | None:
        loss, spec = _finite(figures, "loss"), self._spec.loss_spike
        if loss is None or len(self._losses) < spec.window_updates:
            return None
        median = statistics.median(self._losses)
        if loss <= median + spec.rise * abs(median):
            return False
        deviation = _MAD_TO_SIGMA * statistics.median(abs(value - median) for value in self._losses)
        return loss > median + spec.deviations * deviation

    def _is_trivial(self, update: int, figures: Mapping[str, float]) -> bool | None:
        loss, accuracy, spec = (
            _finite(figures, "loss_contrastive"),
            figures.get("accuracy"),
            self._spec.trivial_solution,
        )
        if loss is None or accuracy is None or self._chance_bits is None:
            return None
        return accuracy >= spec.accuracy and loss <= spec.loss_share * self._chance_bits

    def _is_collapsed(self, update: int, figures: Mapping[str, float]) -> bool | None:
        found = [_finite(figures, name) for name in ("code_perplexity", "prob_perplexity")]
        perplexities = [value for value in found if value is not None]
        if update <= self._collapse_grace or not perplexities or self._codebooks is None:
            return None
        return min(perplexities) < self._collapsed

    def _vanishes(self, update: int, figures: Mapping[str, float]) -> bool | None:
        norm = _finite(figures, "grad_norm")
        return None if norm is None else norm < self._spec.vanishing_gradient.norm

    def _is_flat(self, update: int, figures: Mapping[str, float]) -> bool | None:
        loss = _finite(figures, "loss_contrastive")
        if update <= self._flat_grace or loss is None or self._chance_bits is None:
            return None
        return loss >= (1.0 - self._spec.flat_at_chance.tolerance) * self._chance_bits


def _finite(figures: Mapping[str, float], name: str) -> float | None:
    value = figures.get(name)
    return value if value is not None and math.isfinite(value) else None
