"""What to tell the user about each of the watchdog's findings: the numbers, the likely cause, the remedy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Check = Literal[
    "non_finite",
    "loss_scale_underflow",
    "loss_spike",
    "trivial_solution",
    "codebook_collapse",
    "vanishing_gradient",
    "flat_at_chance",
]
"""The checks, by their names in the spec."""


@dataclass(frozen=True)
class Incident:
    """What is known when a check speaks.

    Attributes:
        update: Update of the figures.
        first_update: Update in which it began.
        bad_updates: Updates since then that were bad.
        figures: The update's figures.
        usual_loss: Median of the loss before; NaN when unknown.
        chance_bits: Contrastive loss at chance, log2(N + 1); NaN without a contrastive loss.
        codebooks: G; 0 without a quantizer.
    """

    update: int
    first_update: int
    bad_updates: int
    figures: Mapping[str, float]
    usual_loss: float
    chance_bits: float
    codebooks: int

    def show(self, name: str) -> str:
        """A figure by name, short."""
        value = self.figures.get(name)
        return f"{name} {value:.4g}" if value is not None else f"{name} unknown"

    @property
    def span(self) -> str:
        """When."""
        updates = "update" if self.bad_updates == 1 else "updates"
        return f"update {self.update}, for {self.bad_updates} {updates} since {self.first_update}"


def explain(check: Check, incident: Incident) -> str:
    """One paragraph: what is seen, the likely cause, the remedy."""
    return f"watchdog: {check} ({incident.span}): {_seen(check, incident)}. {_REMEDIES[check]}"


def _seen(check: Check, i: Incident) -> str:
    if check == "non_finite":
        return f"{i.show('loss')}, {i.show('grad_norm')}"
    if check == "loss_scale_underflow":
        return f"the fp16 loss scale fell to {i.figures['loss_scale']:.3g} and gradients still overflow or vanish"
    if check == "loss_spike":
        return f"the loss is {i.figures['loss']:.4g} where {i.usual_loss:.4g} was usual ({i.show('grad_norm')})"
    if check == "trivial_solution":
        return (
            f"{i.show('accuracy')} with a contrastive loss of {i.figures['loss_contrastive']:.3g} bits "
            f"({i.show('code_perplexity')}, {i.show('grad_norm')}): the task is solved without learning speech"
        )
    if check == "codebook_collapse":
        return (
            f"{i.show('code_perplexity')}, {i.show('prob_perplexity')}; {i.codebooks} would mean that each of the "
            f"{i.codebooks} codebooks uses a single entry"
        )
    if check == "vanishing_gradient":
        return f"{i.show('grad_norm')}, {i.show('loss')}: nothing is learned any more"
    return (
        f"the contrastive loss is {i.figures['loss_contrastive']:.4g} bits, and {i.chance_bits:.4g} is chance, "
        f"log2 of negatives + 1 ({i.show('accuracy')}, {i.show('grad_norm')})"
    )


_REMEDIES: dict[Check, str] = {
    "non_finite": (
        "Such a gradient is not applied, so one alone does no harm; several mean that the weights have diverged or "
        "that audio is broken. Lower optim.lr or lengthen optim.schedule.warmup_updates, set optim.clip_norm, use "
        "engine.precision: bf16 or fp32, and look for constant or silent audio where model.normalize_waveform divides "
        "by its deviation"
    ),
    "loss_scale_underflow": (
        "Activations or gradients are too large for fp16, usually because training diverges. Use engine.precision: "
        "bf16 where the GPU has it, or lower optim.lr and set optim.clip_norm"
    ),
    "loss_spike": (
        "Usually the learning rate is too high for the audio in an update, or a stretch of data is unlike the rest "
        "(music, noise, silence). Lower optim.lr, raise batch.sub_batches_per_update or "
        "optim.schedule.warmup_updates, and check that data (fairseq issues 3661, 4948)"
    ),
    "trivial_solution": (
        "All negatives of a frame have its own code, or targets are told apart by position (fairseq issue 3687, "
        "transformers issue 14387). Raise batch.sub_batches_per_update (64 as published), lower optim.lr, raise "
        "loss.diversity_weight, keep loss.features_penalty_weight at 10 for a group-normed feature encoder, and "
        "remove silent, constant (DC) or repeated audio. The weights are of no further use: start from a checkpoint "
        "before this"
    ),
    "codebook_collapse": (
        "All frames get the same few codes (fairseq issues 1850, 3687, 4530). Raise batch.sub_batches_per_update (64 "
        "as published), lower optim.lr, raise loss.diversity_weight, let model.quantizer.temperature_decay be closer "
        "to 1, and remove silent or constant (DC) audio. It does not mend itself: start from a checkpoint before this"
    ),
    "vanishing_gradient": (
        "Either the codebooks have collapsed or the context vectors have become constant (fairseq issue 3109, "
        "transformers issue 14387), or everything that is trained is frozen. Start from an earlier checkpoint with a "
        "lower optim.lr and more batch.sub_batches_per_update; check the audio for silence"
    ),
    "flat_at_chance": (
        "The model does not tell a frame's target from others (fairseq issues 3661, 3718, 3744). Raise "
        "batch.sub_batches_per_update to the published 64 (it costs time per update, not memory), lower optim.lr "
        "(1e-4 cured it in 3718), check that the audio is speech at 16 kHz and not silence, and keep "
        "loss.features_penalty_weight at 10 for Base. If the run is meant to start this slowly, raise "
        "watchdog.flat_at_chance.grace_updates"
    ),
}
