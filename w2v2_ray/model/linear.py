"""The linear map."""

from __future__ import annotations

from torch import Tensor, nn

from w2v2_ray.model.cpu.half_products import to_be_widened, wide_linear


class Linear(nn.Linear):
    """`nn.Linear`, in bf16 as fast as in fp32 on processors that have no instructions for bf16."""

    def forward(self, x: Tensor) -> Tensor:
        """Shape: [..., in_features] -> [..., out_features]."""
        return wide_linear(x, self.weight, self.bias) if to_be_widened(x) else super().forward(x)
