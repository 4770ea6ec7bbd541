"""What is watched for while training, and what is done about it.

The defaults stay silent on runs that follow the published recipes. Figures they were set against: healthy Base runs
keep code perplexities above 15 (fairseq 2981, 3391), gradient norms above 0.02 and pretext accuracies below 0.8;
collapsed ones sit at a perplexity of exactly G and a norm below 1e-18 (transformers 14387).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from pydantic import Field

from w2v2_ray.spec.base import Finding, Float, Int, NonNegativeInt, PositiveFloat, PositiveInt, Probability, Spec

WatchAction = Literal["warn", "stop", "rollback", "off"]
"""What follows a finding. `stop` and `rollback` are preceded by a warning at half the patience."""


class NonFiniteCheck(Spec):
    """NaN or infinite loss or gradient. The engine never applies such a gradient, so one of them only warns."""

    action: WatchAction = "rollback"
    """`warn`, `stop`, `rollback` or `off`."""
    patience_updates: PositiveInt = 3
    """Updates in a row that must be so. fp16's overflows of the gradient alone do not count."""


class LossScaleUnderflowCheck(Spec):
    """The loss scale of fp16 keeps falling. An overflow now and then is how scaling works and is no finding."""

    action: WatchAction = "rollback"
    """`warn`, `stop`, `rollback` or `off`."""
    patience_updates: PositiveInt = 5
    """Updates in a row that overflow at a scale below 1, or run at `scale` or below."""
    scale: PositiveFloat = 2.0**-7
    """Scale at which fp16 gradients themselves begin to vanish."""


class LossSpikeCheck(Spec):
    """The loss jumps above its running median and stays there."""

    action: WatchAction = "rollback"
    """`warn`, `stop`, `rollback` or `off`."""
    patience_updates: PositiveInt = 8
    """Updates in a row that must be so; a single bad batch is harmless, as its gradient is clipped."""
    window_updates: Int = Field(default=200, ge=20)
    """Updates over which the median and its deviation are taken; nothing is judged before they are there."""
    deviations: PositiveFloat = 8.0
    """Robust standard deviations (1.48 times the median absolute deviation) above the median."""
    rise: PositiveFloat = 0.2
    """Share of the median by which the loss must also be above it."""


class VanishingGradientCheck(Spec):
    """The gradient norm goes to zero: nothing is learned any more."""

    action: WatchAction = "stop"
    """`warn`, `stop`, `rollback` or `off`."""
    patience_updates: PositiveInt = 200
    """Updates in a row that must be so."""
    norm: PositiveFloat = 1e-5
    """Gradient norm below which it has vanished."""


class CodebookCollapseCheck(Spec):
    """All frames get the same few codes: code or softmax perplexity near G, the number of codebooks."""

    action: WatchAction = "stop"
    """`warn`, `stop`, `rollback` or `off`."""
    patience_updates: PositiveInt = 300
    """Updates in a row that must be so."""
    ratio: Float = Field(default=1.5, ge=1.0)
    """Perplexity per codebook below which it has collapsed (1 = one entry only); less where entries are few."""
    grace_updates: NonNegativeInt | None = None
    """Updates at the start that are not judged; null is 1/32 of the warm-up, 200 at least."""


class TrivialSolutionCheck(Spec):
    """The task is solved without learning: accuracy 1 and contrastive loss 0."""

    action: WatchAction = "stop"
    """`warn`, `stop`, `rollback` or `off`."""
    patience_updates: PositiveInt = 100
    """Updates in a row that must be so."""
    accuracy: Probability = 0.99
    """Accuracy above which the task counts as solved; published models reach 0.63 (Base) to 0.78."""
    loss_share: Probability = 0.03
    """Contrastive loss below which it counts as zero, as a share of chance, log2(N + 1) bits."""


class FlatAtChanceCheck(Spec):
    """The contrastive loss stays at chance, log2(N + 1) bits: 6.66 for 100 negatives.

    Accuracy is not asked: in fairseq 3109 and 3718 it wandered between 0.2 and 0.8 while the loss stood at 6.658.
    """

    action: WatchAction = "stop"
    """`warn`, `stop`, `rollback` or `off`. There is nothing good to roll back to, unless the run had learned before."""
    tolerance: Probability = 0.01
    """The loss is at chance while it is above 1 minus this share of it."""
    grace_updates: PositiveInt | None = None
    """Updates at the start that are not judged. A run at chance for as many again is warned, and for twice as many
    stopped. Null is half the warm-up or 1/40 of all updates, 2000 at least: Base warns at 32 k and stops at 48 k."""


class WatchdogSpec(Spec):
    """Signs that a run is going wrong. Each has an action, and a patience that keeps passing troubles apart."""

    enabled: bool = True
    """Watch at all."""
    non_finite: NonFiniteCheck = NonFiniteCheck()
    """NaN and infinity."""
    loss_scale_underflow: LossScaleUnderflowCheck = LossScaleUnderflowCheck()
    """fp16 alone."""
    loss_spike: LossSpikeCheck = LossSpikeCheck()
    """The loss jumps up and stays."""
    vanishing_gradient: VanishingGradientCheck = VanishingGradientCheck()
    """The gradient norm goes to zero."""
    codebook_collapse: CodebookCollapseCheck = CodebookCollapseCheck()
    """Pre-training alone."""
    trivial_solution: TrivialSolutionCheck = TrivialSolutionCheck()
    """Pre-training alone."""
    flat_at_chance: FlatAtChanceCheck = FlatAtChanceCheck()
    """Pre-training alone."""
    max_rollbacks: NonNegativeInt = 3
    """Rollbacks of one run; the next finding that asks for one stops it."""
    lr_factor: Float = Field(default=0.5, gt=0.0, le=1.0)
    """Every rollback multiplies the learning rate of all updates after its checkpoint by this; 1 leaves it. Three
    halvings reach the fivefold reduction by which users cured divergence (fairseq 3718)."""
    skip_updates: bool = True
    """After a rollback, pass over the updates of the incident: their micro-batches are neither read nor applied. This
    concerns `non_finite`, `loss_scale_underflow` and `loss_spike`; the others have no single offending batch."""
    quiet_updates: NonNegativeInt = 1_000
    """Updates after a warning in which the same check does not warn again."""

    def broken_rules(self) -> Iterator[Finding]:
        """A rollback must change something, or training would walk into the same trouble again."""
        if not self.enabled or self.lr_factor < 1.0:
            return
        lasting = ("vanishing_gradient", "codebook_collapse", "trivial_solution", "flat_at_chance")
        sudden = () if self.skip_updates else ("non_finite", "loss_scale_underflow", "loss_spike")
        for name in (*sudden, *lasting):
            if getattr(self, name).action == "rollback":
                remedy = "lr_factor: 0.5" + (" or skip_updates: true" if name in sudden else "")
                yield Finding(
                    f"{name}.action: rollback with lr_factor: 1.0 would repeat the same updates at the same learning "
                    f"rate and end where it was: use {remedy}, or {name}.action: stop",
                    (f"{name}.action", "lr_factor", "skip_updates"),
                )

    def advice(self) -> Iterator[Finding]:
        """Nobody watches."""
        if not self.enabled:
            yield Finding(
                "enabled: false: a run that diverges or collapses goes on to its last update; leave it on, "
                "with action: warn where a check should not interfere",
                ("enabled",),
            )
