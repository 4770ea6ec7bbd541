"""This package's model."""

from __future__ import annotations

from torch import Tensor

from w2v2_ray.bench.workload import DTYPES, NEGATIVES, StepInput, StepSettings, first_weights, model_spec
from w2v2_ray.model.factory import build_pretrain_model
from w2v2_ray.model.pretraining import PretrainOutput
from w2v2_ray.spec.model import ContrastiveLossSpec


class OurLoss:
    """`Wav2Vec2PretrainModel` on one micro-batch."""

    def __init__(self, settings: StepSettings, given: StepInput) -> None:
        spec = model_spec(settings)
        model = build_pretrain_model(spec, ContrastiveLossSpec(negatives=NEGATIVES))
        model.load_state_dict(first_weights(spec))
        self.model = model.to(settings.device, DTYPES[settings.precision]).train()
        self._waveform = given.waveform.to(settings.device)
        self._masks = given.masks.to(settings.device)
        self._negatives = [part.to(settings.device) for part in given.negatives]
        self._sizes = given.sub_batch_sizes

    def __call__(self) -> Tensor:
        """Forward."""
        out: PretrainOutput = self.model(
            self._waveform, self._sizes, self._masks, self._negatives, gumbel_temperature=2.0
        )
        return out.loss_sum


def build(settings: StepSettings, given: StepInput) -> OurLoss:
    """See `peers.build`."""
    return OurLoss(settings, given)
