"""Runs of `elastic.py` beside the undisturbed one, as figures, Markdown and a picture."""

from __future__ import annotations

import os
import platform
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from elastic_faults import Recovery

from w2v2_ray.engine.training_state import read_full_weights
from w2v2_ray.run.checkpoints.files import list_checkpoints
from w2v2_ray.run.folder import RunFolder, read_lines

APART = 1e-5
"""Relative difference of a loss from which two runs count as apart."""


@dataclass
class Comparison:
    """A run beside the undisturbed one.

    Attributes:
        name: What was done to it.
        loss: Largest relative difference of the loss over all updates.
        first_apart: First update whose loss differs by more than 1e-5; None when none does.
        weight: Largest absolute difference of a weight, over the largest absolute weight.
        updates: Updates that both logged once and in order.
        samples_equal: Every update used the same utterances.
        epochs: Finished epochs in which every utterance was used exactly once.
        lost_or_doubled: Utterances lost or doubled in them.
        world_sizes: Numbers of workers met.
    """

    name: str
    loss: float
    first_apart: int | None
    weight: float
    updates: int
    samples_equal: bool
    epochs: int
    lost_or_doubled: int
    world_sizes: list[int]


@dataclass
class Report:
    """What was measured."""

    precision: str
    updates: int
    comparisons: list[Comparison] = field(default_factory=list)
    recoveries: list[Recovery] = field(default_factory=list)
    faults: int = 0
    events: dict[str, int] = field(default_factory=dict)
    growth_s: list[float] = field(default_factory=list)
    load: float = 0.0


def compare(title: str, first: RunFolder, second: RunFolder, utterances: set[str]) -> Comparison:
    """Losses of every update, final weights, and the utterances used; `utterances` are the dataset's."""
    one, other = (list(read_lines(run.metrics)) for run in (first, second))
    if [r["update"] for r in one] != [r["update"] for r in other]:
        raise RuntimeError(f"{title}: {len(one)} and {len(other)} updates were logged, or not in order")
    losses = [abs(a["loss"] - b["loss"]) / abs(a["loss"]) for a, b in zip(one, other, strict=True)]
    apart = next((record["update"] for record, loss in zip(one, losses, strict=True) if loss > APART), None)
    weights = [read_full_weights(list_checkpoints(run.checkpoints)[-1]) for run in (first, second)]
    largest = max(float(weight.abs().max()) for weight in weights[0].values())
    weight = max(float((weights[0][name] - weights[1][name]).abs().max()) for name in weights[0])
    ledgers = [_ledger(run) for run in (first, second)]
    epochs, wrong = _accounted(ledgers[1], utterances)
    sizes = sorted({int(r["world_size"]) for r in other})
    return Comparison(
        title, max(losses), apart, weight / largest, len(other), ledgers[0] == ledgers[1], epochs, wrong, sizes
    )


def _ledger(run: RunFolder) -> dict[tuple[int, int], Counter[str]]:
    ledger: dict[tuple[int, int], Counter[str]] = {}
    for record in read_lines(run.samples):
        key = (int(record["update"]), int(record["epoch"]))
        ledger[key] = ledger.get(key, Counter()) + Counter(record["utterances"])
    return ledger


def _accounted(ledger: dict[tuple[int, int], Counter[str]], names: set[str]) -> tuple[int, int]:
    """Finished epochs, and utterances lost or doubled in them."""
    used: dict[int, Counter[str]] = {}
    for (_, epoch), utterances in ledger.items():
        used[epoch] = used.get(epoch, Counter()) + utterances
    finished = [epoch for epoch in used if epoch < max(used)]
    return len(finished), sum(abs(used[epoch][name] - 1) for epoch in finished for name in names)


def plot(undisturbed: RunFolder, disturbed: RunFolder, out: Path) -> None:
    """Loss of both runs, and the workers of the disturbed one below."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    calm, harmed = (list(read_lines(run.metrics)) for run in (undisturbed, disturbed))
    updates = [r["update"] for r in harmed]
    figure, (top, bottom) = plt.subplots(
        2, 1, figsize=(10, 5.2), sharex=True, height_ratios=(3, 1), constrained_layout=True
    )
    top.plot(updates, [r["loss"] for r in calm], lw=4, color="#b8c7d9", label="one worker, undisturbed")
    label = "workers killed, hung, added, removed"
    top.plot(updates, [r["loss"] for r in harmed], lw=0.9, color="#c0392b", label=label)
    top.set_ylabel("loss (bits per masked frame)")
    top.legend()
    top.grid(alpha=0.3)
    bottom.step(updates, [r["world_size"] for r in harmed], where="mid", color="#2c3e50", lw=1)
    for event in read_lines(disturbed.events):
        if event["event"] == "recovered":
            bottom.axvline(event["update"], color="#c0392b", lw=0.9, alpha=0.9)
    bottom.set_ylabel("workers")
    bottom.set_yticks([1, 2, 3])
    bottom.set_ylim(0.5, 3.5)
    bottom.set_xlabel("update (red lines: all workers started again)")
    out.parent.mkdir(exist_ok=True)
    figure.savefig(out, dpi=120)
    plt.close(figure)


def markdown(report: Report, command: str) -> str:
    """The report as a section of `ELASTIC.md`."""
    lines = [
        f"## {report.precision}: {report.updates} updates",
        "",
        f"`{command}`",
        "",
        f"{time.strftime('%Y-%m-%d', time.gmtime())}, {platform.machine()}, {os.cpu_count()} cores, load average "
        f"{report.load:.1f}, this run included.",
        "",
        "Each against one worker left in peace, in a process without Ray:",
        "",
        "| run | workers met | largest relative loss difference of any update | first above 1e-5 "
        "| largest weight difference, relative to "
        "the largest weight | same utterances in every update | finished epochs | utterances lost or doubled |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for c in report.comparisons:
        sizes = ", ".join(str(size) for size in c.world_sizes)
        lines.append(
            f"| {c.name} | {sizes} | {c.loss:.1e} | {c.first_apart or 'none'} "
            f"| {c.weight:.1e} | {'yes' if c.samples_equal else 'NO'} "
            f"| {c.epochs} | {c.lost_or_doubled} |"
        )
    if report.recoveries:
        lines += ["", f"{report.faults} faults. Seconds from the fault to the next update, and updates computed twice:"]
        lines += [
            "",
            "| fault | times | seconds (median) | seconds (worst) | of it, after it was noticed (median, worst) |",
        ]
        lines[-1] += " all were started again | updates computed twice (worst) |"
        lines += ["|---|---|---|---|---|---|---|"]
        for kind in dict.fromkeys(recovery.kind for recovery in report.recoveries):
            found = [recovery for recovery in report.recoveries if recovery.kind == kind]
            seconds = sorted(recovery.seconds for recovery in found)
            worst = max(recovery.recomputed for recovery in found)
            paused = [recovery.paused_s for recovery in found if recovery.paused_s is not None]
            noticed = f"{np.median(paused):.2f}, {max(paused):.2f}" if paused else "-"
            lines.append(
                f"| {kind} | {len(found)} | {np.median(seconds):.2f} | {seconds[-1]:.2f} | {noticed} "
                f"| {len(found) - len(paused)} | {worst} |"
            )
        if report.growth_s:
            lines += [
                "",
                f"{len(report.growth_s)} times workers joined: from their being let in to the next update "
                f"{np.median(report.growth_s):.2f} s in the median, {max(report.growth_s):.2f} s at worst.",
            ]
        counts = ", ".join(f"{name} {count}" for name, count in sorted(report.events.items()))
        lines += ["", f"Events written: {counts}."]
    return "\n".join(lines) + "\n"
