"""The random projection quantizer: a label for every frame of audio, with nothing to learn."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from w2v2_ray.audio.samples import SAMPLE_RATE
from w2v2_ray.audio.torchaudio_compat import import_torchaudio
from w2v2_ray.data.random_streams import Purpose, RandomStreams
from w2v2_ray.spec.best_rq import RandomProjectionSpec
from w2v2_ray.spec.model import FeatureEncoderSpec

_PROJECTION, _CODEBOOK = 1, 2
"""Positions in the stream of initial weights; the network itself has none."""
_LEAST_ENERGY = 1e-10
_LEAST_DEVIATION = 1e-5


class RandomProjectionQuantizer:
    """Labels of frames: log-mel energies, normalised, projected, and the nearest of random vectors.

    A frame's energies are those of the samples that the feature encoder's frame sees, so labels and frames are in
    step whatever its strides.

    Args:
        spec: Sizes.
        encoder: Whose frames are labelled.
        seed: Of the job; projection and codebook follow from it.
        device: Where to compute.
    """

    def __init__(
        self, spec: RandomProjectionSpec, encoder: FeatureEncoderSpec, seed: int, device: torch.device
    ) -> None:
        streams = RandomStreams(seed)
        # Xavier initialisation for the projection, the standard normal for the codebook (section 3.1).
        bound = math.sqrt(6.0 / (spec.mel_bins + spec.dim))
        projection = streams.generator(Purpose.WEIGHTS, _PROJECTION).uniform(-bound, bound, (spec.mel_bins, spec.dim))
        codebook = streams.generator(Purpose.WEIGHTS, _CODEBOOK).standard_normal((spec.entries, spec.dim))
        self._projection = torch.from_numpy(projection).float().to(device)
        self._codebook = F.normalize(torch.from_numpy(codebook).float(), dim=1).to(device)
        self._stride = encoder.stride_samples
        self._field = receptive_field(encoder)
        self._bins = 2 ** math.ceil(math.log2(self._field))
        self._window = torch.hann_window(self._field, periodic=False, device=device)
        filters = import_torchaudio().functional.melscale_fbanks(
            self._bins // 2 + 1, 0.0, SAMPLE_RATE / 2, spec.mel_bins, SAMPLE_RATE
        )
        self._filters: Tensor = filters.to(device)

    def labels(self, waveform: Tensor) -> Tensor:
        """The label of every frame: argmin_i || norm(c_i) - norm(A x) || (equation 1).

        Args:
            waveform: Samples of crops of one length.

        Shape: [B, S] -> int64 [B, T].
        """
        with torch.no_grad(), torch.autocast(waveform.device.type, enabled=False):
            projected = F.normalize(self.energies(waveform) @ self._projection, dim=2)
            # Of unit vectors the nearest is the one with the largest product.
            labels: Tensor = (projected @ self._codebook.T).argmax(2)
        return labels

    def energies(self, waveform: Tensor) -> Tensor:
        """Log-mel energies with mean 0 and deviation 1 over each crop's frames, bin by bin.

        Without that the projections fall into few entries (section 3.1).

        Shape: [B, S] -> [B, T, mel_bins].
        """
        frames = waveform.float().unfold(1, self._field, self._stride) * self._window
        power = torch.fft.rfft(frames, self._bins).abs().square()
        energies = (power @ self._filters).clamp_min(_LEAST_ENERGY).log()
        mean = energies.mean(1, keepdim=True)
        deviation = energies.std(1, keepdim=True, correction=0)
        normalised: Tensor = (energies - mean) / deviation.clamp_min(_LEAST_DEVIATION)
        return normalised


def receptive_field(encoder: FeatureEncoderSpec) -> int:
    """Samples that a frame of the feature encoder sees (wav2vec 2.0: 400, or 25 ms)."""
    field, stride = 1, 1
    for _, kernel, step in encoder.conv_layers:
        field += (kernel - 1) * stride
        stride *= step
    return field
