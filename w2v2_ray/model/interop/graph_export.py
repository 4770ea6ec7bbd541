"""A recogniser as a graph: ONNX, or a program of torch.export. Both hold an Hourglass."""

from __future__ import annotations

import copy
import importlib.util
import io
import json
import logging
import warnings
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from w2v2_ray.errors import CheckpointError, MissingExtraError
from w2v2_ray.model.ctc import Wav2Vec2CtcModel
from w2v2_ray.model.hourglass import HourglassStack, LinearShorten, LinearUpsample
from w2v2_ray.model.interop.loaded_model import LoadedModel
from w2v2_ray.places.new_files import new_file

INPUTS = ("waveform", "lengths")
OUTPUTS = ("log_probs", "frame_lengths")
_ONNX_PACKAGES = ("onnx", "onnxscript")
_ONNX_LIMIT_BYTES = (2 << 30) - (64 << 20)
_EXAMPLE_FRAMES = 50


class RecogniserGraph(nn.Module):
    """A recogniser whose inputs and outputs are tensors, without branches on their sizes.

    The weight norm is folded, so outputs may differ from the model's in the last bit.
    """

    def __init__(self, model: Wav2Vec2CtcModel) -> None:
        super().__init__()
        self.model = copy.deepcopy(model).eval()
        encoder = self.model.backbone.encoder
        encoder.pos_conv.fold()
        if isinstance(encoder.stack, HourglassStack):
            encoder.stack = _ShapeFreeHourglass(encoder.stack)  # type: ignore[assignment]

    def forward(self, waveform: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Compute log-probabilities.

        Shape: waveform [B, S] fp32, lengths [B] int64 in samples -> [B, T, vocabulary], [B].
        """
        out = self.model(waveform, lengths)
        return out.log_probs, out.frame_lengths


class _ShapeFreeHourglass(nn.Module):
    """The Hourglass in operations that a tracer follows for any length.

    The original cuts and reshapes by whether k divides the length. Convolutions with stride k do the same
    shortening without asking, and picking frames by index the same upsampling.
    """

    def __init__(self, stack: HourglassStack) -> None:
        super().__init__()
        self.original = stack
        self.norm_first = False

    @property
    def num_layers(self) -> int:
        return self.original.num_layers

    def forward(self, x: Tensor, padding_mask: Tensor, layer_keep: None = None) -> Tensor:
        """Shape: x [B, T, D], padding_mask [B, T] -> [B, T, D]."""
        stack, k = self.original, self.original.shorten_factor
        residual: Tensor = stack.pre(x, padding_mask)
        padded = F.pad(residual.masked_fill(padding_mask[..., None], 0.0).transpose(1, 2), (0, k - 1))
        valid = F.pad((~padding_mask).to(x.dtype)[:, None], (0, k - 1))
        short_mask = _means(valid, k)[:, 0] == 0
        y = stack.middle(self._shorten(padded, k), short_mask)
        frames = torch.arange(residual.shape[1], device=x.device)
        out: Tensor = stack.post(self._upsample(y, frames, k) + residual, padding_mask)
        return out

    def _shorten(self, x: Tensor, k: int) -> Tensor:
        """Shape: [B, D, T + k - 1] -> [B, U, D]."""
        shorten = self.original.shorten
        if not isinstance(shorten, LinearShorten):
            return _means(x, k).transpose(1, 2)
        # A linear map of k frames stacked is a convolution with stride k.
        weight = shorten.linear.weight.reshape(x.shape[1], k, -1).transpose(1, 2)
        return F.conv1d(x, weight, shorten.linear.bias, stride=k).transpose(1, 2)

    def _upsample(self, x: Tensor, frames: Tensor, k: int) -> Tensor:
        """Shape: x [B, U, D], frames [T] -> [B, T, D]."""
        upsample = self.original.upsample
        if not isinstance(upsample, LinearUpsample):
            return x.index_select(1, frames // k)
        # A linear map of one frame to k is a transposed convolution with stride k, but for the bias.
        weight = upsample.linear.weight.reshape(k, -1, x.shape[2]).permute(2, 1, 0)
        y = F.conv_transpose1d(x.transpose(1, 2), weight, stride=k).transpose(1, 2)
        bias = upsample.linear.bias.reshape(k, -1).index_select(0, frames % k)
        return y.index_select(1, frames) + bias


def _means(x: Tensor, k: int) -> Tensor:
    """Mean of every k elements, as a convolution: of pooling torch 2.11 traces one for lengths k does not divide.

    Shape: [B, C, T] -> [B, C, T // k].
    """
    channels = x.shape[1]
    return F.conv1d(x, x.new_full((channels, 1, k), 1.0 / k), stride=k, groups=channels)


def trace(model: LoadedModel) -> torch.export.ExportedProgram:
    """Trace a recogniser; batch and length stay free.

    Raises:
        CheckpointError: When the model is not a recogniser.
    """
    network = model.build()
    if not isinstance(network, Wav2Vec2CtcModel):
        raise CheckpointError(f"{model.source}: a {model.kind} model; only recognisers (ctc) export to a graph")
    # Found out by the tracer: for named dimensions it demands proofs that it cannot make for an Hourglass.
    samples = torch.export.Dim.AUTO(min=_least_samples(model))
    batch = torch.export.Dim.AUTO(min=1)
    example = _example(model)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.export.export(
            RecogniserGraph(network),
            example,
            dynamic_shapes={"waveform": {0: batch, 1: samples}, "lengths": {0: batch}},
            strict=False,
        )


def _example(model: LoadedModel) -> tuple[Tensor, Tensor]:
    stride = model.spec.feature_encoder.stride_samples
    samples = _least_samples(model) + _EXAMPLE_FRAMES * stride
    # Two rows of different lengths: sizes of 1, or equal ones, would be taken for constants.
    return torch.zeros(2, samples), torch.tensor([samples, samples - stride])


def _least_samples(model: LoadedModel) -> int:
    """Samples that give two frames, shortened ones too: fewer make sizes of 1, which a tracer takes for constants."""
    encoder, hourglass = model.spec.feature_encoder, model.spec.encoder.hourglass
    samples = 2 if hourglass is None else hourglass.shorten_factor + 1
    for _, kernel, stride in reversed(encoder.conv_layers):
        samples = (samples - 1) * stride + kernel
    return samples


def export_program(model: LoadedModel, path: Path) -> tuple[Path, ...]:
    """Write a program for `torch.export.load`, and the vocabulary beside it.

    Returns:
        The files written.
    """
    program = trace(model)
    with new_file(path) as temporary, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        buffer = io.BytesIO()
        torch.export.save(program, buffer)
        temporary.write_bytes(buffer.getbuffer())
    return (path, *_write_vocabulary(model, path))


def export_onnx(model: LoadedModel, path: Path) -> tuple[Path, ...]:
    """Write an ONNX model with inputs `waveform` and `lengths`, and the vocabulary beside it.

    Returns:
        The files written.

    Raises:
        MissingExtraError: Without the packages that write ONNX.
        CheckpointError: When the model is not a recogniser, or too large for one file.
    """
    missing = [name for name in _ONNX_PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise MissingExtraError(
            f"exporting to ONNX needs {' and '.join(missing)}; install with: pip install 'w2v2-ray[onnx]'"
        )
    if model.num_parameters * 4 > _ONNX_LIMIT_BYTES:
        raise CheckpointError(f"{model.source}: larger than the 2 GiB that one ONNX file holds; export to torch-export")
    program = trace(model)
    with new_file(path) as temporary:
        _save_onnx(program, temporary)
    return (path, *_write_vocabulary(model, path))


def _save_onnx(program: torch.export.ExportedProgram, path: Path) -> None:
    # The exporter logs which packages for images are not installed, and its progress, whatever it is told.
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            written: Any = torch.onnx.export(
                program, dynamo=True, input_names=INPUTS, output_names=OUTPUTS, external_data=False, verbose=False
            )
            written.save(str(path), external_data=False)
    finally:
        logger.setLevel(level)


def _write_vocabulary(model: LoadedModel, path: Path) -> tuple[Path, ...]:
    if model.vocabulary is None:
        return ()
    beside = path.with_name(f"{path.stem}.vocab.json")
    with new_file(beside) as temporary:
        temporary.write_text(json.dumps(list(model.vocabulary), ensure_ascii=False, indent=0) + "\n", encoding="utf-8")
    return (beside,)
