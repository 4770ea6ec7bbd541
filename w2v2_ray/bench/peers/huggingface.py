"""`Wav2Vec2ForPreTraining` of transformers. It has no Hourglass and no penalty on the features."""

from __future__ import annotations

import torch
from torch import Tensor

from w2v2_ray.audio.torchaudio_compat import import_torchaudio
from w2v2_ray.bench.workload import DTYPES, NEGATIVES, StepInput, StepSettings, first_weights, model_spec
from w2v2_ray.errors import MissingExtraError, SpecError
from w2v2_ray.model.interop.huggingface_config import config_of
from w2v2_ray.model.interop.loaded_model import LoadedModel
from w2v2_ray.model.interop.module_names import HUGGINGFACE, to_modules
from w2v2_ray.spec.model import ContrastiveLossSpec


class HuggingFaceLoss:
    """`Wav2Vec2ForPreTraining` on one micro-batch; sub-batches cannot be told apart, so there is one."""

    def __init__(self, settings: StepSettings, given: StepInput) -> None:
        if settings.variant == "hourglass" or settings.concat > 1:
            raise SpecError("transformers has neither the Hourglass nor several sub-batches a forward pass")
        import_torchaudio()  # transformers imports it
        try:
            import transformers
        except ImportError:
            raise MissingExtraError(
                "the peer transformers is not installed: pip install 'transformers>=5,<6'"
            ) from None
        spec = model_spec(settings)
        weights = first_weights(spec)
        loaded = LoadedModel(spec, "pretrain", weights, loss=ContrastiveLossSpec(negatives=NEGATIVES))
        config = transformers.Wav2Vec2Config(**config_of(loaded))
        model = transformers.Wav2Vec2ForPreTraining(config)
        missing, unexpected = model.load_state_dict(to_modules(weights, HUGGINGFACE), strict=False)
        if missing or unexpected:
            raise SpecError(f"this transformers has other weights: {[*missing, *unexpected][:4]}")
        self.model = model.to(settings.device, DTYPES[settings.precision]).train()
        self._waveform = given.waveform.to(settings.device, DTYPES[settings.precision])
        self._masks = given.masks.to(settings.device)
        self._negatives = _among_all_frames(given.masks, given.negatives[0]).to(settings.device)
        model.set_gumbel_temperature(2.0)

    def __call__(self) -> Tensor:
        """Forward."""
        out = self.model(self._waveform, mask_time_indices=self._masks, sampled_negative_indices=self._negatives)
        loss: Tensor = out.loss
        return loss


def _among_all_frames(masks: Tensor, negatives: Tensor) -> Tensor:
    """Positions among all frames of the batch, from positions among the utterance's masked frames.

    Shape: masks [B, T], negatives [B, M, N] -> [B, T, N].
    """
    batch, frames = masks.shape
    found = torch.zeros(batch, frames, negatives.shape[2], dtype=torch.int64)
    for row in range(batch):
        positions = masks[row].nonzero()[:, 0]
        found[row, masks[row]] = positions[negatives[row]] + row * frames
    return found


def build(settings: StepSettings, given: StepInput) -> HuggingFaceLoss:
    """See `peers.build`."""
    return HuggingFaceLoss(settings, given)
