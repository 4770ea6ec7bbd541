"""The feature encoder's convolutions as matrix products, one utterance at a time, with little kept for backward.

What autograd makes of conv -> norm -> GELU keeps three tensors a block, over a gigabyte for 40 s of audio. Here a
block keeps the convolution's output alone, and the first block, the widest by far, nothing: norms and GELUs are
computed again in the backward pass, which costs little beside the products. Frames lie one after the other, [T, C]:
then a strided convolution is a product of overlapping rows, without the copies into and out of other layouts that
convolution libraries make. For CPUs; results differ from the plain path's by float rounding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from w2v2_ray.model.cpu.half_products import to_be_widened

_gelu_backward = torch.ops.aten.gelu_backward
_layer_norm = torch.ops.aten.native_layer_norm
_layer_norm_backward = torch.ops.aten.native_layer_norm_backward


@dataclass(frozen=True)
class ConvRow:
    """One block.

    Attributes:
        kernel: Of the convolution.
        stride: Of the convolution.
        norm: After it: over time and channel by channel, over channels, or none. The first only in the first block.
        eps: Of the norm.
    """

    kernel: int
    stride: int
    norm: Literal["group", "layer"] | None
    eps: float


@dataclass(frozen=True)
class BlockWeights:
    """A block's parameters, or the gradients of them.

    Shape:
        conv [C, C_in, k]; the others, where there are any, [C]
    """

    conv: Tensor
    conv_bias: Tensor | None
    norm: Tensor | None
    norm_bias: Tensor | None

    def float(self) -> BlockWeights:
        """The same in fp32."""
        parts = (self.conv, self.conv_bias, self.norm, self.norm_bias)
        return BlockWeights(*(None if part is None else part.float() for part in parts))  # type: ignore[arg-type]


def encode_rows(
    waveform: Tensor, blocks: Sequence[ConvRow], weights: Sequence[BlockWeights], first_lengths: Sequence[int] | None
) -> Tensor:
    """Run all blocks.

    Args:
        waveform: Samples, in the dtype of the weights; it gets no gradient.
        blocks: Blocks.
        weights: Theirs.
        first_lengths: For each row, how many frames of the first block are valid and make up its group norm's
            statistics; None means all.

    Shape: waveform [B, S] -> [B, T, C].
    """
    if to_be_widened(waveform):
        wide = [one.float() for one in weights]
        return encode_rows(waveform.float(), blocks, wide, first_lengths).to(waveform.dtype)
    flat = [tensor for w in weights for tensor in (w.conv, w.conv_bias, w.norm, w.norm_bias)]
    if torch.is_grad_enabled() and any(tensor is not None and tensor.requires_grad for tensor in flat):
        out: Tensor = _EncodeRows.apply(waveform, blocks, first_lengths, *flat)  # type: ignore[no-untyped-call]
        return out
    pass_ = _Pass(blocks, weights, waveform, first_lengths)
    return torch.stack([pass_.forward(row, None) for row in range(len(waveform))])


class _EncodeRows(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, waveform: Tensor, blocks: Sequence[ConvRow], first_lengths: Sequence[int] | None, *flat: Tensor
    ) -> Tensor:
        pass_ = _Pass(blocks, _grouped(flat), waveform, first_lengths)
        kept = pass_.empty_outputs()
        features = torch.stack([pass_.forward(row, kept) for row in range(len(waveform))])
        ctx.blocks, ctx.first_lengths = blocks, first_lengths
        ctx.save_for_backward(waveform, *kept, *flat)
        return features

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        waveform, *rest = ctx.saved_tensors
        kept, flat = rest[: len(ctx.blocks) - 1], rest[len(ctx.blocks) - 1 :]
        pass_ = _Pass(ctx.blocks, _grouped(flat), waveform, ctx.first_lengths)
        gradients = [_Gradients(block, weights) for block, weights in zip(ctx.blocks, pass_.weights, strict=True)]
        for row in range(len(waveform)):
            pass_.backward(row, kept, grad_outputs[0][row].contiguous(), gradients)
        return (None, None, None, *(tensor for one in gradients for tensor in one.flat()))


def _grouped(flat: Sequence[Any]) -> list[BlockWeights]:
    return [BlockWeights(*flat[at : at + 4]) for at in range(0, len(flat), 4)]


class _Gradients:
    """Sums over utterances, in fp32 at least."""

    def __init__(self, block: ConvRow, weights: BlockWeights) -> None:
        self._weights = weights
        out, inner, kernel = weights.conv.shape
        dtype = torch.promote_types(weights.conv.dtype, torch.float32)
        # As the products make it: [k · C_in, C], a kernel position after the other.
        self.conv = weights.conv.new_zeros(kernel * inner, out, dtype=dtype)
        self.conv_bias, self.norm, self.norm_bias = (
            None if tensor is None else tensor.new_zeros(out, dtype=dtype)
            for tensor in (weights.conv_bias, weights.norm, weights.norm_bias)
        )

    def flat(self) -> tuple[Tensor | None, ...]:
        weights = self._weights
        out, inner, kernel = weights.conv.shape
        conv = self.conv.view(kernel, inner, out).permute(2, 1, 0).to(weights.conv.dtype).contiguous()
        others = (self.conv_bias, self.norm, self.norm_bias)
        return (conv, *(None if part is None else part.to(weights.conv.dtype) for part in others))


class _Pass:
    """Forward and backward of single utterances."""

    def __init__(
        self,
        blocks: Sequence[ConvRow],
        weights: Sequence[BlockWeights],
        waveform: Tensor,
        first_lengths: Sequence[int] | None,
    ) -> None:
        self.blocks = blocks
        self.weights = weights
        self._waveform = waveform.contiguous()
        self._first_lengths = first_lengths
        self._matrices = [w.conv.permute(2, 1, 0).flatten(0, 1) for w in weights]

    def empty_outputs(self) -> list[Tensor]:
        """Where the convolutions' outputs are kept, for all blocks but the first. Shapes [B, T, C]."""
        kept, length = [], self._waveform.shape[1]
        for index, (block, weights) in enumerate(zip(self.blocks, self.weights, strict=True)):
            length = (length - block.kernel) // block.stride + 1
            if index:
                kept.append(self._waveform.new_empty(len(self._waveform), length, weights.conv.shape[0]))
        return kept

    def forward(self, row: int, kept: list[Tensor] | None) -> Tensor:
        """Features of one utterance; `kept` receives the convolutions' outputs.

        Shape: returns [T, C].
        """
        x = F.gelu(self._first(row).before_gelu)
        for index in range(1, len(self.blocks)):
            z = self._convolve(index, x, None if kept is None else kept[index - 1][row])
            x = F.gelu(self._normed(index, z)[0])
        return x

    def backward(self, row: int, kept: list[Tensor], grad: Tensor, gradients: list[_Gradients]) -> None:
        """Add the gradients of one utterance.

        Shape: grad [T, C].
        """
        first = self._first(row)
        before = first.before_gelu
        for index in range(len(self.blocks) - 1, 0, -1):
            grad = self._norm_backward(index, grad, kept[index - 1][row], gradients[index])
            below = before if index == 1 else self._normed(index - 1, kept[index - 2][row])[0]
            grad = self._convolve_backward(index, grad, F.gelu(below), gradients[index])
        self._first_backward(first, grad, gradients[0])

    def _taps(self, index: int, x: Tensor, frames: int) -> list[Tensor]:
        """The input as matrices that overlap by whole strides, so that none is copied.

        Shape: x [T_in, C_in] -> one [T, w · C_in] for every `stride` positions w of the kernel.
        """
        block, channels = self.blocks[index], x.shape[1]
        step = block.stride * channels
        widths = [min(block.stride, block.kernel - at) * channels for at in range(0, block.kernel, block.stride)]
        return [
            x.as_strided((frames, width), (step, 1), x.storage_offset() + tap * step)
            for tap, width in enumerate(widths)
        ]

    def _split(self, index: int, matrix: Tensor) -> list[Tensor]:
        """A matrix [k · C_in, C] in the parts that go with `_taps`."""
        block, weights = self.blocks[index], self.weights[index]
        return list(torch.split(matrix, block.stride * weights.conv.shape[1]))

    def _convolve(self, index: int, x: Tensor, out: Tensor | None) -> Tensor:
        """Shape: x [T_in, C_in] -> [T, C]."""
        block, weights = self.blocks[index], self.weights[index]
        frames = (len(x) - block.kernel) // block.stride + 1
        z = x.new_empty(frames, weights.conv.shape[0]) if out is None else out
        for tap, (part, matrix) in enumerate(
            zip(self._taps(index, x, frames), self._split(index, self._matrices[index]), strict=True)
        ):
            if tap:
                z.addmm_(part, matrix)
            elif weights.conv_bias is None:
                torch.mm(part, matrix, out=z)
            else:
                torch.addmm(weights.conv_bias, part, matrix, out=z)
        return z

    def _convolve_backward(self, index: int, grad: Tensor, x: Tensor, gradients: _Gradients) -> Tensor:
        """Add the gradients of the weights; return that of the input.

        Shape: grad [T, C], x [T_in, C_in] -> [T_in, C_in].
        """
        frames = len(grad)
        if gradients.conv_bias is not None:
            gradients.conv_bias += grad.sum(0)
        for total, part in zip(self._split(index, gradients.conv), self._taps(index, x, frames), strict=True):
            _add_product(total, part.t(), grad)
        block = self.blocks[index]
        # The first tap writes a whole stride of each frame, unless the kernel is shorter than that.
        covered = frames * block.stride if block.kernel >= block.stride else 0
        result = torch.empty_like(x)
        result[covered:] = 0
        matrices = self._split(index, self._matrices[index])
        for tap, (part, matrix) in enumerate(zip(self._taps(index, result, frames), matrices, strict=True)):
            if tap:
                part.addmm_(grad, matrix.t())
            else:
                torch.mm(grad, matrix.t(), out=part)
        return result

    def _normed(self, index: int, z: Tensor) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """What goes into the GELU; mean and inverse deviation of a layer norm."""
        if self.blocks[index].norm is None:
            return z, None, None
        weights = self.weights[index]
        found: tuple[Tensor, Tensor, Tensor] = _layer_norm(
            z, z.shape[1:], weights.norm, weights.norm_bias, self.blocks[index].eps
        )
        return found

    def _norm_backward(self, index: int, grad: Tensor, z: Tensor, gradients: _Gradients) -> Tensor:
        """Through GELU and layer norm, to the convolution's output.

        Shape: [T, C].
        """
        h, mean, inverse_deviation = self._normed(index, z)
        grad = _gelu_backward(grad, h)
        weights = self.weights[index]
        if self.blocks[index].norm is None:
            return grad
        grad, norm, norm_bias = _layer_norm_backward(
            grad, z, z.shape[1:], mean, inverse_deviation, weights.norm, weights.norm_bias, [True, True, True]
        )
        gradients.norm += norm
        gradients.norm_bias += norm_bias
        return grad

    def _first(self, row: int) -> _First:
        """The first block, to before its GELU."""
        block, weights = self.blocks[0], self.weights[0]
        samples = self._waveform[row]
        frames = (len(samples) - block.kernel) // block.stride + 1
        windows = samples.as_strided((frames, block.kernel), (block.stride, 1)).contiguous()
        if block.norm != "group":
            z = self._convolve(0, samples[:, None], None)
            return _First(windows, z, self._normed(0, z)[0])
        # Mean and variance over time of a linear map of the windows follow from the windows' own.
        valid = len(windows) if self._first_lengths is None else max(1, self._first_lengths[row])
        exact = windows.double()
        mean = exact[:valid].mean(0)
        exact -= mean
        covariance = exact[:valid].t() @ exact[:valid] / valid
        conv = weights.conv[:, 0].double()
        inverse_deviation = ((conv @ covariance * conv).sum(1) + block.eps).rsqrt()
        assert weights.norm is not None
        assert weights.norm_bias is not None
        scale = weights.norm.double() * inverse_deviation
        centred = exact.to(windows.dtype)
        before_gelu = torch.addmm(weights.norm_bias, centred, (conv * scale[:, None]).to(windows.dtype).t())
        return _First(centred, None, before_gelu, covariance, inverse_deviation)

    def _first_backward(self, first: _First, grad: Tensor, gradients: _Gradients) -> None:
        """Add the gradients of the first block's parameters.

        Shape: grad [T, C].
        """
        weights = self.weights[0]
        if first.covariance is None or first.inverse_deviation is None:
            assert first.conv_output is not None
            grad = self._norm_backward(0, grad, first.conv_output, gradients)
            if gradients.conv_bias is not None:
                gradients.conv_bias += grad.sum(0)
            _add_product(gradients.conv, first.windows.t(), grad)
            return
        grad = _gelu_backward(grad, first.before_gelu)
        assert gradients.norm is not None
        assert gradients.norm_bias is not None
        assert weights.norm is not None
        gradients.norm_bias += grad.sum(0)
        # before_gelu = gamma · r · conv · window + beta with r = (conv C conv + eps)^-1/2, C the windows' covariance. A
        # bias of the convolution drops out.
        conv, r = weights.conv[:, 0].double(), first.inverse_deviation
        by_window = (grad.t() @ first.windows).double()
        along = (conv * by_window).sum(1)
        gradients.norm += (r * along).to(gradients.norm.dtype)
        inner = by_window - (r.square() * along)[:, None] * (conv @ first.covariance)
        gradients.conv += ((weights.norm.double() * r)[:, None] * inner).t().to(gradients.conv.dtype)


@dataclass(frozen=True)
class _First:
    """The first block of one utterance.

    Shape:
        windows [T, k] (centred under a group norm), conv_output and before_gelu [T, C], covariance [k, k] and
        inverse_deviation [C] in fp64
    """

    windows: Tensor
    conv_output: Tensor | None
    before_gelu: Tensor
    covariance: Tensor | None = None
    inverse_deviation: Tensor | None = None


def _add_product(total: Tensor, a: Tensor, b: Tensor) -> None:
    """Shape: total [m, n] += a [m, k] · b [k, n]."""
    if total.dtype == a.dtype:
        total.addmm_(a, b)
    else:
        total += a @ b
