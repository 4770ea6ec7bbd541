"""Hidden states and quantizer codes of waveforms, whatever the batch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from w2v2_ray.audio.samples import SAMPLE_RATE
from w2v2_ray.errors import CheckpointError
from w2v2_ray.extraction.layers import FEATURES, Layer, chosen_layers
from w2v2_ray.model.backbone import Wav2Vec2Backbone
from w2v2_ray.model.ctc import Wav2Vec2CtcModel
from w2v2_ray.model.hidden_states import at_full_rate, recorded, shorten_factors
from w2v2_ray.model.interop.loaded_model import LoadedModel
from w2v2_ray.model.precision import Precision, in_precision
from w2v2_ray.model.pretraining import Wav2Vec2PretrainModel
from w2v2_ray.model.waveforms import padded_batch, row_by_row

LayerFrames = dict[Layer, NDArray[np.float32]]
"""Frames by layer, each [T, D]."""


class Extractor:
    """A model in evaluation mode that gives what its layers and its quantizer make of speech.

    The first block's GroupNorm, attention and an Hourglass's shortening see valid samples only, so that what is given
    for a waveform does not depend on the others of its batch.

    Args:
        model: What was loaded, of any kind.
        device: Where to compute.
        precision: In which numbers.

    Attributes:
        spec: The network.
        frame_s: Seconds from one frame to the next.
        num_layers: Transformer layers.
        grid: Frames at whose multiples windows of long audio should begin: the Hourglass's factor.
    """

    def __init__(self, model: LoadedModel, device: torch.device, precision: Precision = "fp32") -> None:
        built = model.build()
        self._backbone = built if isinstance(built, Wav2Vec2Backbone) else built.backbone
        self._backbone.encoder.pos_conv.fold()
        in_precision(built, precision).to(device).eval()
        self._quantizer = built.quantizer if isinstance(built, Wav2Vec2PretrainModel) else None
        self._device = device
        self._head = built if isinstance(built, Wav2Vec2CtcModel) else None
        self._factors = shorten_factors(self._backbone)
        self.spec = model.spec
        self.source = model.source
        self.stride_samples = model.spec.feature_encoder.stride_samples
        self.frame_s = self.stride_samples / SAMPLE_RATE
        self.num_layers = len(self._factors) - 1
        self.grid = max(self._factors)

    def num_frames(self, num_samples: int) -> int:
        """Frames of so many samples; 0 when they are too few."""
        return self.spec.feature_encoder.num_frames(num_samples)

    def factor(self, layer: Layer) -> int:
        """Frames of the full rate that a frame of a layer stands for; the layer by its own number."""
        return self._factors[layer] if isinstance(layer, int) else 1

    def features(
        self, waveforms: Sequence[NDArray[np.int16]], layers: Sequence[Layer] | None = (-1,), *, shortened: bool = False
    ) -> list[LayerFrames]:
        """Give the frames of some layers.

        Args:
            waveforms: 16 kHz mono int16, each [S].
            layers: Which; None gives all. See `layers.Layer`.
            shortened: Give those of an Hourglass's middle layers at their own rate instead of repeated.

        Shape: for each waveform {layer: [T, D]}; none of [0, D] where it is too short for a frame.

        Raises:
            SpecError: When the model has no such layer.
        """
        wanted = chosen_layers(layers, self.num_layers)
        outputs: list[LayerFrames] = [{layer: self._nothing(layer) for layer in wanted} for _ in waveforms]
        heard = [row for row, waveform in enumerate(waveforms) if self.num_frames(len(waveform))]
        if not heard:
            return outputs
        x, lengths = self._batch([waveforms[row] for row in heard])
        with torch.inference_mode(), recorded(self._backbone) as kept:
            normed = self._backbone(x, lengths).normed_features
        for layer in wanted:
            factor = self.factor(layer)
            state = kept.states[layer] if isinstance(layer, int) else normed
            if not shortened:
                state = at_full_rate(state, factor, normed.shape[1])
            array = state.float().cpu().numpy()
            for number, row in enumerate(heard):
                frames = self.num_frames(len(waveforms[row]))
                outputs[row][layer] = array[number, : -(-frames // factor) if shortened else frames].copy()
        return outputs

    def codes(self, waveforms: Sequence[NDArray[np.int16]]) -> list[NDArray[np.int32]]:
        """Give the quantizer's choice for every frame: the likeliest entry of each codebook (wav2vec 2.0, section 2).

        Args:
            waveforms: 16 kHz mono int16, each [S].

        Shape: for each waveform [T, G].

        Raises:
            CheckpointError: When the model has no quantizer.
        """
        quantizer = self._quantizer
        if quantizer is None:
            raise CheckpointError(
                f"{self.source}: no quantizer, so no codes: fine-tuning leaves it out; give the pre-trained model"
            )

        def compute(batch: Sequence[NDArray[np.int16]]) -> NDArray[np.int32]:
            x, lengths = self._batch(batch)
            with torch.inference_mode():
                features = self._backbone.feature_norm(self._backbone.feature_encoder(x, lengths))
                entries = quantizer.entries(features.flatten(0, 1)).view(*features.shape[:2], -1)
            array: NDArray[np.int32] = entries.to(torch.int32).cpu().numpy()
            return array

        nothing = np.zeros((0, quantizer.num_codebooks), dtype=np.int32)
        return row_by_row(waveforms, self.num_frames, compute, nothing)

    def log_probs(self, waveforms: Sequence[NDArray[np.int16]]) -> list[NDArray[np.float32]]:
        """Give natural logarithms of a recogniser's outputs.

        Args:
            waveforms: 16 kHz mono int16, each [S].

        Shape: for each waveform [T, vocabulary].

        Raises:
            CheckpointError: When the model is no recogniser.
        """
        head = self._head
        if head is None:
            raise CheckpointError(
                f"{self.source}: no recogniser, so no log-probabilities; fine-tune it first (kind: finetune)"
            )

        def compute(batch: Sequence[NDArray[np.int16]]) -> NDArray[np.float32]:
            x, lengths = self._batch(batch)
            with torch.inference_mode():
                array: NDArray[np.float32] = head(x, lengths).log_probs.cpu().numpy()
            return array

        return row_by_row(waveforms, self.num_frames, compute, np.zeros((0, self.num_outputs), dtype=np.float32))

    @property
    def num_outputs(self) -> int:
        """Symbols of a recogniser; 0 of other models."""
        return self._head.head.out_features if self._head is not None else 0

    def _batch(self, waveforms: Sequence[NDArray[np.int16]]) -> tuple[Tensor, Tensor]:
        eps = self.spec.normalize_eps if self.spec.normalize_waveform else None
        return padded_batch(waveforms, self._device, eps)

    def _nothing(self, layer: Layer) -> NDArray[np.float32]:
        width = self.spec.feature_encoder.channels if layer == FEATURES else self.spec.encoder.dim
        return np.zeros((0, width), dtype=np.float32)
