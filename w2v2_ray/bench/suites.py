"""Which cells each benchmark has, and how its table reads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from w2v2_ray.bench.machine import describe_machine, has_fast_bf16
from w2v2_ray.bench.report import Column, Ratio, Report
from w2v2_ray.bench.rounds import Cell, run_rounds
from w2v2_ray.errors import SpecError

Notify = Callable[[str], None]

_OURS = "w2v2-ray"
_GB = 1e-9


def step_report(
    *,
    peers: Sequence[str],
    peer_path: str | None,
    variants: Sequence[str],
    precisions: Sequence[str],
    common: dict[str, Any],
    repeats: int,
    command: str,
    notify: Notify,
) -> Report:
    """Measure training steps.

    Args:
        peers: Implementations beside ours.
        peer_path: Checkout of the NVIDIA reference.
        variants: "plain", "hourglass".
        precisions: "fp32", "bf16".
        common: Further fields of `StepSettings`.
        repeats: Rounds.
        command: For the report.
        notify: Is told what was just measured.

    Raises:
        UserError: A peer cannot be measured as asked.
    """
    if "nvidia" in peers and peer_path is None:
        raise SpecError("--peer nvidia: give its checkout with --peer-path")
    machine = describe_machine()
    notes = []
    if "bf16" in precisions and common["device"] == "cpu" and not has_fast_bf16():
        notes.append("this CPU has no bf16 instructions: torch's bf16 matrix products are loops, hence these figures")
        notify(f"warning: {notes[0]}")
    cells = []
    for variant in variants:
        for precision in precisions:
            for implementation in [_OURS, *peers]:
                if implementation == "transformers" and (variant == "hourglass" or common["concat"] > 1):
                    continue  # It has neither.
                labels = {"encoder": variant, "precision": precision, "implementation": implementation}
                settings = {**common, "implementation": implementation, "variant": variant, "precision": precision}
                cells.append(Cell(labels, "w2v2_ray.bench.step:measure", {**settings, "peer_path": peer_path}))
    results = run_rounds(cells, repeats, notify)
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
    return Report("step", command, machine, results, columns, ratios if peers else [], notes)
