"""Which cells the benchmarks of the model have, and how their tables read; those of data are in `data_suites.py`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from w2v2_ray.bench.machine import describe_machine
from w2v2_ray.bench.report import BenchReport, Column, Ratio
from w2v2_ray.bench.rounds import Cell, run_rounds
from w2v2_ray.errors import SpecError

Notify = Callable[[str], None]
"""Is told what was just measured."""


@dataclass(frozen=True)
class Effort:
    """How much to measure, and for whom.

    Attributes:
        repeats: Rounds over all cells.
        command: For the report.
        notify: Is told what was just measured.
        notes: For the report.
    """

    repeats: int
    command: str
    notify: Notify
    notes: Sequence[str] = ()


_OURS = "w2v2-ray"
_GB = 1e-9


def step_report(
    *,
    peers: Sequence[str],
    peer_path: str | None,
    variants: Sequence[str],
    precisions: Sequence[str],
    common: dict[str, Any],
    effort: Effort,
) -> BenchReport:
    """Measure training steps.

    Args:
        peers: Implementations beside ours.
        peer_path: Checkout of the NVIDIA reference.
        variants: "plain", "hourglass".
        precisions: "fp32", "bf16".
        common: Further fields of `StepSettings`.
        effort: Rounds.

    Raises:
        UserError: A peer cannot be measured as asked.
    """
    if "nvidia" in peers and peer_path is None:
        raise SpecError("--peer nvidia: give its checkout with --peer-path")
    machine = describe_machine()
    check_device(common["device"])
    notes = [*effort.notes, *_bf16_warning(precisions, common["device"], effort)]
    cells = []
    for variant in variants:
        for precision in precisions:
            for implementation in [_OURS, *peers]:
                if implementation == "transformers" and (variant == "hourglass" or common["concat"] > 1):
                    continue  # It has neither.
                labels = {"encoder": variant, "precision": precision, "implementation": implementation}
                settings = {**common, "implementation": implementation, "variant": variant, "precision": precision}
                cells.append(Cell(labels, "w2v2_ray.bench.step:measure", {**settings, "peer_path": peer_path}))
    results = run_rounds(cells, effort.repeats, effort.notify)
    columns = [
        Column("audio s/s", "audio_s_per_s"),
        Column("CPU s/step", "cpu_s", digits=1),
        Column("frames/s", "frames_per_s", digits=0),
        Column("peak RSS GB", "peak_rss_bytes", _GB),
        Column("FLOPs, share of matmul", "model_flops_utilisation"),
        Column("load", "load_average", digits=1),
    ]
    if common["device"] == "cuda":
        columns.insert(3, Column("peak device GB", "peak_device_bytes", _GB))
    reference = "nvidia" if "nvidia" in peers else "transformers"
    memory = "peak_device_bytes" if common["device"] == "cuda" else "peak_rss_bytes"
    ratios = [
        Ratio(f"speed / {reference}", "audio_s_per_s", {"implementation": reference}),
        Ratio(f"CPU time / {reference}", "cpu_s", {"implementation": reference}),
        Ratio(f"memory / {reference}", memory, {"implementation": reference}),
    ]
    return BenchReport("step", effort.command, machine, results, columns, ratios if peers else [], notes)


def inference_report(
    *,
    batches: Sequence[int],
    variants: Sequence[str],
    precisions: Sequence[str],
    common: dict[str, Any],
    effort: Effort,
) -> BenchReport:
    """Measure a recogniser.

    Args:
        batches: Sizes of a batch.
        variants: "plain" (beside transformers), "hourglass".
        precisions: "fp32", "bf16".
        common: `seconds`, `layers`, `steps`, `device`.
        effort: Rounds.

    Raises:
        UserError: It cannot be measured as asked.
    """
    check_device(common["device"])
    machine = describe_machine()
    notes = [*effort.notes, *_bf16_warning(precisions, common["device"], effort)]
    cells = []
    for variant in variants:
        for precision in precisions:
            for batch in batches:
                for implementation in [_OURS, "transformers"] if variant == "plain" else [_OURS]:
                    labels = {"encoder": variant, "precision": precision, "batch": str(batch)}
                    settings = {"implementation": implementation, "variant": variant, "precision": precision}
                    cells.append(
                        Cell(
                            {**labels, "implementation": implementation},
                            "w2v2_ray.bench.inference:measure",
                            {**common, **settings, "batch": batch},
                        )
                    )
    results = run_rounds(cells, effort.repeats, effort.notify)
    columns = [
        Column("latency ms", "latency_ms", digits=0),
        Column("CPU ms", "cpu_ms", digits=0),
        Column("audio s/s", "audio_s_per_s", digits=1),
        Column("peak RSS GB", "peak_rss_bytes", _GB),
        Column("load", "load_average", digits=1),
    ]
    peer = {"implementation": "transformers"}
    ratios = [
        Ratio("latency / transformers", "latency_ms", peer),
        Ratio("CPU time / transformers", "cpu_ms", peer),
    ]
    return BenchReport("inference", effort.command, machine, results, columns, ratios, notes)


def checkpoint_report(*, common: dict[str, Any], effort: Effort) -> BenchReport:
    """Measure how long training stands still while its state is saved.

    Args:
        common: `layers`, `dim`, `work`.
        effort: Rounds.
    """
    machine = describe_machine()
    cells = [
        Cell({"method": method}, "w2v2_ray.bench.checkpoint:measure", {**common, "method": method})
        for method in ("async", "sync", "torch.save")
    ]
    results = run_rounds(cells, effort.repeats, effort.notify)
    columns = [
        Column("step stalled s", "stall_s", digits=3),
        Column("on the disk after s", "total_s", digits=3),
        Column("state MB", "state_bytes", 1e-6, digits=0),
        Column("M parameters", "parameters", 1e-6, digits=1),
        Column("load", "load_average", digits=1),
    ]
    ratios = [Ratio("stall / torch.save", "stall_s", {"method": "torch.save"})]
    return BenchReport("checkpoint", effort.command, machine, results, columns, ratios, effort.notes)


def check_device(device: str) -> None:
    """Refuse a GPU where there is none, before processes are started.

    Raises:
        SpecError: No GPU can be used.
    """
    import torch

    if device == "cuda" and not torch.cuda.is_available():
        raise SpecError("--device cuda: torch finds no GPU here; measure with --device cpu")


def _bf16_warning(precisions: Sequence[str], device: str, effort: Effort) -> list[str]:
    from w2v2_ray.model.cpu.half_products import has_fast_bf16

    if "bf16" not in precisions or device != "cpu" or has_fast_bf16():
        return []
    note = (
        "this CPU has no bf16 instructions: torch's bf16 matrix products are loops, which others compute by and ours, "
        "which multiplies in fp32 here, does not; with such instructions figures will be others"
    )
    effort.notify(f"warning: {note}")
    return [note]
