"""What a training step on a GPU keeps between its forward and its backward pass, counted without a GPU.

    [PYTHONPATH=STANDINS] python benchmarks/kept_for_backward.py [--peer-path CHECKOUT] [--seconds 15]

Ours takes the way it takes on a GPU, on torch's meta device: shapes without values, so that nothing is computed.
Others, whose steps look at values, run on the CPU. Attention counts everywhere as what flash attention keeps: queries,
keys, values, its output and one number a query; dropout as what torch's kernel keeps: one byte an element. What a batch
of three keeps more than a batch of two: bytes grow in proportion with the batch, weights and what is made of them do
not.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from contextlib import nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from w2v2_ray.bench import peers
from w2v2_ray.bench.workload import StepSettings, model_spec, step_input


class _Flash(torch.autograd.Function):
    """Keeps what flash attention keeps; its result has the shape of attention's, not the values."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        out = v.transpose(1, 2).contiguous().transpose(1, 2)  # frames before heads, as flash attention lays it out
        ctx.save_for_backward(q, k, v, out, q.new_empty(q.shape[:-1], dtype=torch.float32))
        return out


class _MaskOfBytes(torch.autograd.Function):
    """Keeps what dropout on a GPU keeps; drops nothing."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(torch.empty(x.shape, dtype=torch.bool, device=x.device))
        return x.clone()


def _dropout(x: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    out: Tensor = _MaskOfBytes.apply(x) if training and p else x  # type: ignore[no-untyped-call]
    return out


def _flash(q: Tensor, k: Tensor, v: Tensor, *args: Any, **options: Any) -> Tensor:
    out: Tensor = _Flash.apply(q, k, v)  # type: ignore[no-untyped-call]
    return out


def main() -> None:
    """Count, or be the process that counts one implementation."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer-path", help="Checkout of the NVIDIA reference, as for `w2v2-ray bench step`.")
    parser.add_argument("--seconds", type=float, default=15.0)
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--precision", action="append", choices=("fp32", "bf16"), help="Default: both.")
    parser.add_argument("--case", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.case is not None:
        two, three = (count(StepSettings.parse({**json.loads(asked.case), "rows": rows})) for rows in (2, 3))
        print(three - two)
        return
    others = ["nvidia"] if asked.peer_path else []
    print("| encoder | precision | implementation | MB an utterance | / NVIDIA |\n| --- | --- | --- | ---: | ---: |")
    for variant in ("plain", "hourglass"):
        for precision in asked.precision or ("fp32", "bf16"):
            found: dict[str, float] = {}
            for name in [*others, "w2v2-ray", *(["transformers"] if variant == "plain" else [])]:
                settings = {
                    "implementation": name,
                    "variant": variant,
                    "precision": precision,
                    "seconds": asked.seconds,
                    "layers": asked.layers,
                    "device": "meta" if name == "w2v2-ray" else "cpu",
                    "peer_path": asked.peer_path,
                }
                command = [sys.executable, __file__, "--case", json.dumps(settings)]
                found[name] = float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
                beside = f"{found[name] / found['nvidia']:.2f}" if "nvidia" in found else ""
                print(f"| {variant} | {precision} | {name} | {found[name] / 1e6:.0f} | {beside} |", flush=True)


def count(settings: StepSettings) -> int:
    """Bytes that one forward pass keeps."""
    F.scaled_dot_product_attention = _flash  # type: ignore[assignment]
    F.dropout = _dropout  # type: ignore[assignment]
    if settings.device == "meta":
        torch.autocast = lambda device, enabled: nullcontext()  # type: ignore[assignment,misc] # meta knows none
    given = step_input(settings, model_spec(settings))
    loss_of = peers.build(settings, given)
    not_kept = {tensor.untyped_storage()._cdata for tensor in [*loss_of.model.parameters(), *loss_of.model.buffers()]}
    kept: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in not_kept:
            kept[storage._cdata] = storage.nbytes()
        return tensor

    with saved_tensors_hooks(pack, lambda tensor: tensor):
        loss = loss_of()
    assert loss.requires_grad  # the graph lives, and with it everything counted
    return sum(kept.values())


if __name__ == "__main__":
    main()
