"""What each CPU optimisation of the training step brings: Base's step with all of them, and without one at a time.

    python benchmarks/optimisations.py [--repeats 2] [--threads 1] [--variant plain]

Processor seconds and peak memory of forward and backward of 4 x 10 s in fp32, each in a fresh process, round by round.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from w2v2_ray.bench import step
from w2v2_ray.model import attention, layer, positional
from w2v2_ray.model.cpu import dropping
from w2v2_ray.model.feature_encoder import FeatureEncoder


def _modules_convolve() -> None:
    FeatureEncoder._by_rows = lambda self, waveform: False  # type: ignore[method-assign]


def _weights_kept() -> None:
    def attend(qkv: Tensor, mask: Tensor | None, dropout: float) -> Tensor:
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=dropout).transpose(1, 2).contiguous()

    attention.dropped_attention = attend  # type: ignore[attr-defined]


def _gelu_kept() -> None:
    layer.recomputed = lambda tensor, again: nullcontext()  # type: ignore[attr-defined,assignment,return-value]


def _draw_an_element() -> None:
    def kept(shape: Any, dtype: torch.dtype, probability: float, draws: torch.Generator) -> Tensor:
        return torch.empty(*shape, dtype=dtype).bernoulli_(1.0 - probability, generator=draws)

    dropping.kept = kept
    dropping._Dropout = SimpleNamespace(apply=lambda x, probability, seed: F.dropout(x, probability))  # type: ignore[assignment,misc]


def _direct_positions() -> None:
    positional._WIDE_KERNEL = 1 << 30


WITHOUT: dict[str, Callable[[], None]] = {
    "the feature encoder by rows": _modules_convolve,
    "attention weights computed again": _weights_kept,
    "the feed-forward's GELU computed again": _gelu_kept,
    "dropout from 16 bits an element": _draw_an_element,
    "positions by blocks of transforms": _direct_positions,
}


def main() -> None:
    """Measure, or be the process that measures one case."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--variant", action="append", choices=("plain", "hourglass"), help="Default: both.")
    parser.add_argument("--case", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.case is not None:
        _measure_here(asked.case)
        return
    cases = [f"{variant}|{name}" for variant in asked.variant or ("plain", "hourglass") for name in ("", *WITHOUT)]
    found: dict[str, list[dict[str, float]]] = {case: [] for case in cases}
    for _ in range(asked.repeats):
        for case in cases:
            environment = {**os.environ, "OMP_NUM_THREADS": str(asked.threads)}
            command = [sys.executable, __file__, "--case", case]
            done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
            found[case].append(json.loads(done.stdout))
            print(f"{case}: {found[case][-1]['cpu_s']:.1f} s", file=sys.stderr)
    _print_table(found)


def _measure_here(case: str) -> None:
    variant, name = case.split("|")
    if name:
        WITHOUT[name]()
    settings = {"implementation": "w2v2-ray", "variant": variant, "precision": "fp32", "rows": 4, "seconds": 10.0}
    print(json.dumps(step.measure({**settings, "steps": 1})))


def _print_table(found: dict[str, list[dict[str, float]]]) -> None:
    print(
        "| encoder | without | processor s a step | more than with | peak RSS GB |\n| --- | --- | ---: | ---: | ---: |"
    )
    for case, repeats in found.items():
        variant, name = case.split("|")
        times = [one["cpu_s"] for one in repeats]
        with_all = statistics.median(one["cpu_s"] for one in found[f"{variant}|"])
        more = f"{statistics.median(times) / with_all - 1:+.1%}" if name else ""
        spread = f"{statistics.median(times):.1f} ({min(times):.1f}..{max(times):.1f})"
        memory = statistics.median(one["peak_rss_bytes"] for one in repeats) / 1e9
        print(f"| {variant} | {name or 'nothing: all are on'} | {spread} | {more} | {memory:.2f} |")


if __name__ == "__main__":
    main()
