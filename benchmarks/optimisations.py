"""What each optimisation of the training step brings: Base's step with all of them, and with one at a time otherwise.

    python benchmarks/optimisations.py [--repeats 2] [--variant plain]
    python benchmarks/optimisations.py --device cuda --precision bf16 --rows 40 --seconds 15 --steps 10

Time and peak memory of forward and backward, each case in a fresh process, round by round. On a CPU processor seconds
and resident memory, with one thread; on a GPU seconds of the clock and its memory. What is tried otherwise depends on
`--device`; `--as-device cuda` tries on the CPU what is tried on a GPU, to see that it runs.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from types import ModuleType, SimpleNamespace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from w2v2_ray.bench import step
from w2v2_ray.bench.peers import ours
from w2v2_ray.model import attention, feature_encoder, layer, positional
from w2v2_ray.model.cpu import dropping, half_products
from w2v2_ray.model.factory import build_pretrain_model
from w2v2_ray.model.feature_encoder import FeatureEncoder


def _modules_convolve() -> None:
    FeatureEncoder._by_rows = lambda self, waveform: False  # type: ignore[method-assign]


def _weights_kept() -> None:
    def attend(qkv: Tensor, mask: Tensor | None, dropout: float) -> Tensor:
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=dropout).transpose(1, 2).contiguous()

    attention.dropped_attention = attend  # type: ignore[attr-defined]


def _gelu_kept(module: ModuleType) -> None:
    module.recomputed = lambda layer, x, again: layer(x)  # type: ignore[attr-defined]


def _draw_an_element() -> None:
    def kept(shape: Any, dtype: torch.dtype, probability: float, draws: torch.Generator) -> Tensor:
        return torch.empty(*shape, dtype=dtype).bernoulli_(1.0 - probability, generator=draws)

    dropping.kept = kept
    dropping._Dropout = SimpleNamespace(apply=lambda x, probability, seed: F.dropout(x, probability))  # type: ignore[assignment,misc]


def _direct_positions() -> None:
    positional.transforms_pay = lambda x, kernel: False


def _bf16_in_loops() -> None:
    half_products.has_fast_bf16 = lambda: True  # type: ignore[assignment]


def _positions_by_transforms() -> None:
    positional.transforms_pay = lambda x, kernel: True


def _compile_encoder(*, dynamic: bool) -> None:
    def compiled(*args: Any, **options: Any) -> nn.Module:
        model = build_pretrain_model(*args, **options)
        model.backbone.encoder.compile(dynamic=dynamic)
        return model

    ours.build_pretrain_model = compiled  # type: ignore[attr-defined,assignment]


OTHERWISE: dict[str, dict[str, Callable[[], None]]] = {
    "cpu": {
        "without the feature encoder by rows": _modules_convolve,
        "without attention weights computed again": _weights_kept,
        "without the feed-forward's GELU computed again": partial(_gelu_kept, layer),
        "without dropout from 16 bits an element": _draw_an_element,
        "without positions by blocks of transforms": _direct_positions,
        "without bf16 multiplied in fp32": _bf16_in_loops,
    },
    "cuda": {
        "without the feature encoder's GELU computed again": partial(_gelu_kept, feature_encoder),
        "without the feed-forward's GELU computed again": partial(_gelu_kept, layer),
        "with positions by blocks of transforms": _positions_by_transforms,
        "with the encoder compiled for this length": partial(_compile_encoder, dynamic=False),
        "with the encoder compiled for any length": partial(_compile_encoder, dynamic=True),
    },
}


def main() -> None:
    """Measure, or be the process that measures one case."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--variant", action="append", choices=("plain", "hourglass"), help="Default: both.")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--as-device", choices=("cpu", "cuda"), help="Try what is tried there. Default: --device.")
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    parser.add_argument("--rows", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--steps", type=int, default=1, help="Measured in each process, after one to warm up.")
    parser.add_argument("--case", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    otherwise = OTHERWISE[asked.as_device or asked.device]
    settings = {name: getattr(asked, name) for name in ("device", "precision", "rows", "seconds", "layers", "steps")}
    if asked.case is not None:
        variant, name = asked.case.split("|")
        if name:
            otherwise[name]()
        print(json.dumps(step.measure({"implementation": "w2v2-ray", "variant": variant, **settings})))
        return
    cases = [f"{variant}|{name}" for variant in asked.variant or ("plain", "hourglass") for name in ("", *otherwise)]
    found: dict[str, list[dict[str, float]]] = {case: [] for case in cases}
    time_of, memory_of = ("cpu_s", "peak_rss_bytes") if asked.device == "cpu" else ("step_s", "peak_device_bytes")
    for _ in range(asked.repeats):
        for case in cases:
            environment = {**os.environ, "OMP_NUM_THREADS": str(asked.threads)}
            command = [sys.executable, __file__, *sys.argv[1:], "--case", case]
            done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
            found[case].append(json.loads(done.stdout))
            print(f"{case}: {found[case][-1][time_of]:.3g} s", file=sys.stderr)
    _print_table(found, time_of, memory_of)


def _print_table(found: dict[str, list[dict[str, float]]], time_of: str, memory_of: str) -> None:
    print(f"| encoder | case | {time_of} | against the first | {memory_of}, GB |\n| --- | --- | ---: | ---: | ---: |")
    for case, repeats in found.items():
        variant, name = case.split("|")
        times = [one[time_of] for one in repeats]
        with_all = statistics.median(one[time_of] for one in found[f"{variant}|"])
        more = f"{statistics.median(times) / with_all - 1:+.1%}" if name else ""
        spread = f"{statistics.median(times):.3g} ({min(times):.3g}..{max(times):.3g})"
        memory = statistics.median(one[memory_of] for one in repeats) / 1e9
        print(f"| {variant} | {name or 'as it is'} | {spread} | {more} | {memory:.2f} |")


if __name__ == "__main__":
    main()
