"""Fine-tuning with CTC: what the transcripts look like, what the network hides and forgets, and when it thaws."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Literal, Self

from pydantic import Field

from w2v2_ray.spec.augmentation import AugmentationSpec
from w2v2_ray.spec.base import (
    DropProbability,
    Finding,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveInt,
    Probability,
    Spec,
)
from w2v2_ray.spec.data import PaddedBatchSpec
from w2v2_ray.spec.job import TrainJob
from w2v2_ray.spec.model import MaskingSpec, ModelSpec
from w2v2_ray.spec.optim import ExpSchedule, OptimSpec
from w2v2_ray.spec.text import TextSpec, VocabularySpec


class RegularisationSpec(Spec):
    """Dropout while fine-tuning; it replaces what the model was pre-trained with (reference section 5)."""

    dropout: DropProbability = 0.0
    """After attention, after the feed-forward block and after the positional convolution."""
    attention_dropout: DropProbability = 0.0
    """On attention weights."""
    activation_dropout: DropProbability = 0.1
    """Inside the feed-forward block."""
    dropout_input: DropProbability = 0.0
    """On the encoder's input."""
    final_dropout: DropProbability = 0.0
    """Before the linear layer to the vocabulary."""
    layer_drop: DropProbability = 0.1
    """Probability that a layer is skipped for a micro-batch in training (LayerDrop)."""
    feature_gradient_scale: Probability = 0.0
    """Factor on gradients that flow into the feature encoder; 0 freezes it, as published."""
    consistency: NonNegativeFloat = 0.0
    """Weight of the divergence between what two masked views of an utterance are heard as (CR-CTC, Yao et al. 2024,
    equations 3 and 4, where it is 0.2). 0 computes one view; two cost the encoder twice, the feature encoder once."""

    @property
    def views(self) -> int:
        """Views of each utterance in an update."""
        return 2 if self.consistency else 1

    def identity(self) -> str:
        """What a run's result depends on, as it was before there was `consistency`."""
        return self.model_dump_json(exclude=None if self.consistency else {"consistency"})


class FinetuneMaskingSpec(MaskingSpec):
    """Masking of frames and channels while fine-tuning; the defaults are Base 960 h."""

    probability: Probability = 0.5
    """Share of frames chosen as span starts times the span length (reference: `mask_prob`)."""
    channel_probability: Probability = 0.1
    """The same for channels (reference: `mask_channel_prob`)."""


class EarlyStoppingSpec(Spec):
    """End a run whose held-out WER no longer falls."""

    patience: PositiveInt = 5
    """Validations in a row without a new best WER after which the run ends."""
    min_updates: NonNegativeInt = 0
    """Updates before which it never ends."""


class FinetuneJob(TrainJob):
    """Fine-tuning with CTC (wav2vec 2.0, section 3.3). The defaults are the published Base 960 h recipe."""

    kind: Literal["finetune"] = "finetune"
    pretrained: str | None = Field(default=None, min_length=1, examples=["runs/pretrain_base"])
    """What to start from: a run's folder, a checkpoint of it, or anything that `w2v2-ray import` reads. Null starts
    from random weights and needs `model`."""
    model: ModelSpec | None = None
    """The network; leave it out to take that of `pretrained`. Where both are given they must agree; dropout, masking
    and the gradient scale are set by the fields below."""
    batch: PaddedBatchSpec = PaddedBatchSpec()
    """The virtual world."""
    text: TextSpec = TextSpec()
    """Normalisation of transcripts."""
    vocabulary: VocabularySpec = VocabularySpec()
    """Symbols."""
    optim: OptimSpec = OptimSpec(
        lr=1e-4,
        schedule=ExpSchedule(warmup_updates=32_000, hold_updates=128_000),
        eps=1e-8,
        weight_decay=0.0,
        clip_norm=None,
    )
    """Optimizer and learning rate."""
    updates: PositiveInt = 320_000
    """Optimizer steps of the whole run."""
    masking: FinetuneMaskingSpec = FinetuneMaskingSpec()
    """What is hidden from the encoder."""
    regularisation: RegularisationSpec = RegularisationSpec()
    """Dropout and freezing of the feature encoder."""
    augmentation: AugmentationSpec = AugmentationSpec()
    """What is done to the training audio; nothing, as published."""
    freeze_updates: NonNegativeInt = 0
    """Updates during which only the linear layer learns (reference: `freeze_finetune_updates`)."""
    early_stopping: EarlyStoppingSpec | None = None
    """When to stop before the last update; null never does."""

    @property
    def longest_samples(self) -> int:
        """Audio above it is left out; the reference leaves out what fits no sub-batch."""
        return self.batch.max_tokens if self.like_reference else self.batch.max_samples

    @property
    def head_dropout(self) -> float:
        """Before the linear layer to the vocabulary."""
        return self.regularisation.final_dropout

    @property
    def transcripts(self) -> TextSpec:
        """How they are written."""
        return self.text

    def paths(self) -> dict[str, str | None]:
        """What to start from too; a vocabulary is a small file that travels with the spec."""
        return {**super().paths(), "pretrained": self.pretrained}

    def with_inputs(self, change: Callable[[str], str]) -> Self:
        """What to start from and the vocabulary too."""
        changes: dict[str, Any] = {}
        if self.pretrained is not None:
            changes["pretrained"] = change(self.pretrained)
        if self.vocabulary.path is not None:
            changes["vocabulary"] = self.vocabulary.model_copy(update={"path": change(self.vocabulary.path)})
        return super().with_inputs(change).model_copy(update=changes)

    def identity(self) -> dict[str, str]:
        """The network, the text and what is hidden too; the initial weights and symbols are kept in the run."""
        return {
            "model": self.model.identity() if self.model is not None else "",
            "text": self.text.identity(),
            "regularisation": self.regularisation.identity(),
            "freeze_updates": str(self.freeze_updates),
            **(
                {} if self.augmentation == AugmentationSpec() else {"augmentation": self.augmentation.model_dump_json()}
            ),
            **super().identity(),
        }

    def broken_rules(self) -> Iterator[Finding]:
        """There must be a network, and what is frozen must not decay."""
        yield from super().broken_rules()
        if self.pretrained is None and self.model is None:
            yield Finding(
                "pretrained: missing; name a run, checkpoint or model file to start from, or give `model:` to start "
                "from random weights",
                ("pretrained", "model"),
            )
        if self.freeze_updates and self.optim.weight_decay:
            yield Finding(
                f"freeze_updates: {self.freeze_updates} with optim.weight_decay: {self.optim.weight_decay}: "
                "decay would shrink the frozen weights; use weight_decay: 0 (as published), or freeze_updates: 0",
                ("freeze_updates", "optim.weight_decay"),
            )
        if self.early_stopping is not None and not self.data.validation:
            yield Finding(
                "early_stopping needs held-out data; set data.validation, or early_stopping: null",
                ("early_stopping", "data.validation"),
            )
