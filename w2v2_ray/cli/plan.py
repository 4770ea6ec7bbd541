"""`w2v2-ray plan`: what a job will do, before anything is trained."""

from __future__ import annotations

from typing import TYPE_CHECKING

from w2v2_ray.cli.options import JobArgument, JsonOption, SetOption

if TYPE_CHECKING:
    from rich.table import Table

    from w2v2_ray.spec.job import TrainJob
    from w2v2_ray.training.run_plan import RunPlan


def plan(job: JobArgument, overrides: SetOption = None, as_json: JsonOption = False) -> None:
    """Read a job's dataset index and print epochs, updates, worker shares, parameters and memory. Trains nothing."""
    from rich.console import Console

    from w2v2_ray.api import jobs
    from w2v2_ray.api.computing import computes_on
    from w2v2_ray.cli.output import print_json, print_warnings

    loaded = jobs.load_job(job, overrides or (), look_at_paths=True)
    result = jobs.plan(loaded)
    if as_json:
        print_json(
            {
                **result.as_dict(),
                "computes_on": computes_on(loaded.job),
                "warnings": [warning.as_dict() for warning in loaded.warnings],
            }
        )
        return
    print_warnings(loaded.warnings)
    console = Console(highlight=False, markup=False)
    console.print(_facts_table(result, loaded.job))
    console.print(_workers_table(result, loaded.job))


def _facts_table(result: RunPlan, job: TrainJob) -> Table:
    from rich.box import SIMPLE
    from rich.table import Table

    from w2v2_ray.api.computing import computes_on
    from w2v2_ray.cli.output import readable_bytes, readable_count
    from w2v2_ray.spec.symbols import visible

    data, batch = result.data, job.batch
    rows = [
        ("audio", f"{data.hours:.2f} h in {data.utterances:,} utterances"),
        *((("mixture", ", ".join(map(str, data.mixture))),) if len(data.mixture) > 1 else ()),
        ("kept", f"{data.kept:,} utterances"),
        *_lengths(result, job),
        ("sub-batches per epoch", readable_count(result.sub_batches_per_epoch)),
        ("micro-batches per epoch", f"{readable_count(result.micro_batches_per_epoch)} of {batch.concat} sub-batches"),
        (
            "updates per epoch",
            f"{readable_count(result.updates_per_epoch)} of {batch.sub_batches_per_update} sub-batches",
        ),
        ("computes on", computes_on(job)),
        ("at a fault", at_a_fault(job)),
        ("run", f"{result.updates:,} updates, {readable_count(result.epochs)} epochs"),
        ("audio per update", f"{result.audio_s_per_update:,.0f} s"),
        ("frames per update", readable_count(round(result.frames_per_update))),
        ("parameters", f"{result.total_parameters:,}"),
        ("checkpoint", f"{readable_bytes(result.checkpoint_bytes)} (fp32 weights and Adam moments)"),
    ]
    if result.masked_frames_per_update is not None:
        masked = f"{readable_count(round(result.masked_frames_per_update))} expected"
        rows.insert(-2, ("masked frames per update", masked))
    if result.symbols is not None:
        rows.insert(-2, ("symbols", f"{len(result.symbols)}: {' '.join(map(visible, result.symbols))}"))
    table = Table(title=result.name, show_header=False, title_justify="left", box=SIMPLE)
    for row in rows:
        table.add_row(*row)
    return table


def at_a_fault(job: TrainJob) -> str:
    """What the other workers do when one is lost or comes; `worker.gpus` may still be `auto`."""
    zero, on_fault = job.engine.zero_stage, job.elastic.on_fault
    if zero >= 2:
        return f"all workers start again from the last state, of which ZeRO {zero} leaves each a part"
    if on_fault == "restart":
        return "all workers start again from the last state (elastic.on_fault: restart)"
    if job.elastic.max_workers + job.elastic.spares == 1 and on_fault == "auto":
        return "its only worker starts again from the last state"
    going_on = "the others go on, and who comes gets the state from one of them"
    if on_fault == "go_on":
        return going_on
    if job.worker.gpus == "auto":
        return f"{going_on}; on GPUs all start again from the last state (elastic.on_fault: auto)"
    if job.worker.gpus:
        return "all workers start again from the last state, being on GPUs (elastic.on_fault: auto)"
    return going_on


def _lengths(result: RunPlan, job: TrainJob) -> list[tuple[str, str]]:
    """What is left out or cut because of its length or its transcript, and what an epoch then forwards."""
    from w2v2_ray.spec.data import BatchSpec
    from w2v2_ray.spec.model import SAMPLE_RATE

    data = result.data
    batch = job.batch
    if not isinstance(batch, BatchSpec):
        left_out = ", ".join(f"{name.replace('_', ' ')} {count:,}" for name, count in data.left_out.items())
        return [
            ("left out", left_out or "none"),
            ("forwarded per epoch", f"{data.hours_per_epoch:.2f} h with padding"),
        ]
    rate = SAMPLE_RATE
    shortest, longest = f"{batch.min_samples} ({batch.min_samples / rate:g} s)", batch.max_samples
    return [
        ("dropped", f"{data.dropped_short:,} shorter than min_samples: {shortest}"),
        ("cropped", f"{data.cropped_long:,} longer than max_samples: {longest} ({longest / rate:g} s)"),
        ("forwarded per epoch", f"{data.hours_per_epoch:.2f} h after cropping within micro-batches"),
    ]


def _workers_table(result: RunPlan, job: TrainJob) -> Table:
    from rich.box import SIMPLE
    from rich.table import Table

    from w2v2_ray.cli.output import readable_bytes

    engine = job.engine
    table = Table(
        title=f"Per worker ({engine.precision}, ZeRO {engine.zero_stage}; estimates without activations)",
        title_justify="left",
        box=SIMPLE,
        padding=(0, 1, 0, 0),
    )
    for column in ("workers", "micro-batches", "efficiency", "weights", "gradients", "optimizer", "sum"):
        table.add_column(column, justify="right", no_wrap=True)
    for share in result.workers:
        low, high = share.min_micro_batches, share.max_micro_batches
        table.add_row(
            str(share.workers),
            str(low) if low == high else f"{low} to {high}",
            f"{share.efficiency:.0%}",
            *(readable_bytes(share.weights_bytes), readable_bytes(share.gradients_bytes)),
            *(readable_bytes(share.optimizer_bytes), readable_bytes(share.state_bytes)),
        )
    return table
