"""Product quantiser with straight-through Gumbel-softmax: frames to discrete targets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from w2v2_ray.model.linear import Linear

_LOG_EPS = 1e-7


class QuantizerOutput(NamedTuple):
    """What the quantiser makes of n frames in S sub-batches."""

    vectors: Tensor
    """Entries picked, concatenated over codebooks [n, code_dim]."""
    code_ids: Tensor
    """One integer per combination of entries [n]: frames have equal vectors where they have equal ids."""
    prob_perplexity: Tensor
    """Per sub-batch: sum over codebooks of exp(entropy of the mean softmax), fp32 [S]. Has a gradient."""
    code_perplexity: Tensor
    """Per sub-batch: the same of the share of frames that each entry is the likeliest of, fp32 [S]."""


class _StraightThroughLookup(torch.autograd.Function):
    """Codebook rows by index, with the gradient of (one-hot + probs - probs.detach()) @ codebook.

    The value of that product is the row itself, so nothing of size [n, G, V] is multiplied forward. Backward, the
    probabilities receive grad_out · codebookᵀ, and the rows picked receive grad_out.
    """

    @staticmethod
    def forward(ctx: Any, probs: Tensor, codebook: Tensor, indices: Tensor) -> Tensor:
        ctx.save_for_backward(codebook, indices)
        ctx.probs_dtype = probs.dtype
        return _lookup(codebook, indices)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, Tensor, None]:
        codebook, indices = ctx.saved_tensors
        G, V, dim = codebook.shape
        grad = grad_outputs[0].float()
        grad_probs = torch.einsum("ngd,gvd->ngv", grad, codebook.float()).to(ctx.probs_dtype)
        grad_rows = torch.zeros(G * V, dim, dtype=torch.float32, device=grad.device)
        grad_rows.index_add_(0, _flat_indices(indices, V).flatten(), grad.flatten(0, 1))
        return grad_probs, grad_rows.view(G, V, dim).to(codebook.dtype), None


class GumbelQuantizer(nn.Module):
    """Picks one of V entries from each of G codebooks (wav2vec 2.0, section 2; equation 1).

    In training the choice is the argmax of softmax((logits + Gumbel noise) / temperature), and gradients reach the
    logits through those probabilities (straight-through). In eval mode it is the argmax of the logits, and only the
    perplexity has a gradient to them. Softmax and perplexities are fp32. The noise comes from torch's global
    generator, which the caller seeds.

    Args:
        in_dim: C, channels of the frames.
        num_codebooks: G.
        num_entries: V, entries of each codebook.
        code_dim: Dimension of the concatenated entries; a multiple of G.
        depth: Linear layers from frames to logits, GELU between them (fairseq `quantizer_depth`). Those of a deeper
            one begin as torch's linear layers do, the only one of depth 1 from N(0, 1).
        factor: Width of the layers between, as a multiple of C (fairseq `quantizer_factor`).

    Raises:
        ValueError: If G does not divide code_dim, or V to the power G does not fit an int64.
    """

    def __init__(
        self, in_dim: int, num_codebooks: int, num_entries: int, code_dim: int, *, depth: int = 1, factor: int = 3
    ) -> None:
        super().__init__()
        if code_dim % num_codebooks:
            raise ValueError(f"num_codebooks: {num_codebooks} does not divide code_dim {code_dim}")
        if num_entries**num_codebooks >= 2**63:
            raise ValueError(f"{num_entries} entries in {num_codebooks} codebooks make more than 2^63 codes; use fewer")
        self.num_codebooks = num_codebooks
        self.num_entries = num_entries
        self.code_dim = code_dim
        widths = [in_dim, *[factor * in_dim] * (depth - 1)]
        self.hidden = nn.ModuleList(Linear(width, widths[1]) for width in widths[:-1])
        self.logits_proj = Linear(widths[-1], num_codebooks * num_entries)
        self.codebook = nn.Parameter(torch.empty(num_codebooks, num_entries, code_dim // num_codebooks))
        if depth == 1:
            nn.init.normal_(self.logits_proj.weight, mean=0.0, std=1.0)
            nn.init.zeros_(self.logits_proj.bias)
        nn.init.uniform_(self.codebook)

    @property
    def num_codes(self) -> int:
        """G · V, the perplexity that evenly used codebooks would have."""
        return self.num_codebooks * self.num_entries

    def forward(self, x: Tensor, temperature: float, split_frames: Sequence[int] | None = None) -> QuantizerOutput:
        """Quantise.

        Args:
            x: Frames.
            temperature: Of the Gumbel-softmax; used in training only.
            split_frames: Frames of each sub-batch, for the perplexities; None takes all as one.

        Shape: x [n, C].
        """
        logits = self._logits(x)
        likeliest = logits.argmax(2)
        if self.training:
            noise = -torch.empty_like(logits).exponential_().log()
            probs = ((logits + noise) / temperature).softmax(2)
            indices = probs.argmax(2)
            picked: Tensor = _StraightThroughLookup.apply(  # type: ignore[no-untyped-call]
                probs, self.codebook, indices
            )
        else:
            indices = likeliest
            picked = _lookup(self.codebook, indices)
        splits = [x.shape[0]] if split_frames is None else list(split_frames)
        return QuantizerOutput(
            vectors=picked.flatten(1),
            code_ids=self._code_ids(indices),
            prob_perplexity=torch.stack([_perplexity(part.softmax(2).mean(0)) for part in torch.split(logits, splits)]),
            code_perplexity=torch.stack([_perplexity(self._shares(part)) for part in torch.split(likeliest, splits)]),
        )

    def entries(self, x: Tensor) -> Tensor:
        """Return the likeliest entry of each codebook, which evaluation picks.

        Shape: x [n, C] -> [n, G].
        """
        return self._logits(x).argmax(2)

    def vectors_of(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """Return the vectors of chosen entries, concatenated over codebooks, and their code ids.

        Shape: indices [n, G] -> [n, code_dim], [n].
        """
        return _lookup(self.codebook, indices).flatten(1), self._code_ids(indices)

    def _logits(self, x: Tensor) -> Tensor:
        """Shape: [n, C] -> [n, G, V], fp32."""
        for layer in self.hidden:
            x = F.gelu(layer(x))
        logits: Tensor = self.logits_proj(x)
        return logits.float().view(-1, self.num_codebooks, self.num_entries)

    def _code_ids(self, indices: Tensor) -> Tensor:
        """Shape: [n, G] -> [n]."""
        ids = indices[:, 0]
        for group in range(1, self.num_codebooks):
            ids = ids * self.num_entries + indices[:, group]
        return ids

    def _shares(self, indices: Tensor) -> Tensor:
        """Return the share of frames that chose each entry.

        Shape: [n, G] -> [G, V].
        """
        counts = torch.zeros(self.num_codes, device=indices.device)
        flat = _flat_indices(indices, self.num_entries).flatten()
        # Not bincount, which would wait for the device to learn its output's size.
        counts.index_add_(0, flat, torch.ones_like(flat, dtype=counts.dtype))
        return counts.view(self.num_codebooks, self.num_entries) / indices.shape[0]


def _flat_indices(indices: Tensor, num_entries: int) -> Tensor:
    """Turn entries of each codebook into rows of all codebooks one below the other.

    Shape: [n, G] -> [n, G].
    """
    offsets = torch.arange(indices.shape[1], device=indices.device) * num_entries
    return indices + offsets


def _lookup(codebook: Tensor, indices: Tensor) -> Tensor:
    """Shape: codebook [G, V, d], indices [n, G] -> [n, G, d]."""
    rows = codebook.flatten(0, 1).index_select(0, _flat_indices(indices, codebook.shape[1]).flatten())
    return rows.view(*indices.shape, -1)


def _perplexity(probs: Tensor) -> Tensor:
    """Return exp(entropy), summed over codebooks.

    Shape: [G, V] -> [].
    """
    return torch.exp(-(probs * torch.log(probs + _LOG_EPS)).sum(1)).sum()
