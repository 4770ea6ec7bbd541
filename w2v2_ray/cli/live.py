"""The live display of a training run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from w2v2_ray import errors

if TYPE_CHECKING:
    from w2v2_ray.run.folder import RunFolder
    from w2v2_ray.spec.job import TrainJob

_PLAIN_LINES = 20
"""Lines over a whole run when the output is not a terminal."""
_TROUBLE = {
    "waiting": "",
    "start_failed": "workers could not be started, tried again",
    "worker_lost": "a worker was lost",
    "worker_hung": "a worker hung and is replaced",
    "node_lost": "a node was lost",
    "oom": "a worker ran out of memory",
    "checkpoint_failed": "a checkpoint could not be written, training goes on",
    "checkpoint_damaged": "a checkpoint is damaged and passed over",
    "storage_failed": "the storage does not answer",
}
"""Events that are told with their reasons."""


def describe(record: dict[str, Any]) -> str:
    """One metrics record in a line."""
    if "code_perplexity" in record:
        learned = (
            f"loss {record['loss']:.3f} bits  accuracy {record['accuracy']:.3f}  perplexity "
            f"{record['code_perplexity']:.0f}/{record['prob_perplexity']:.0f}"
        )
    else:
        learned = f"loss {record['loss']:.2f}  gradient {record['grad_norm']:.2f}"
    speed = f"{record['frames_per_s']:,.0f} frames/s  workers {record['world_size']}"
    return f"{learned}  {speed}".replace(",", " ")


class EventLines:
    """Says in a line each what happened to a run that a person who watches wants to know.

    Args:
        best: Held-out score to beat: that of an earlier launch.
        keeps_best: The checkpoint of the best score is kept.
    """

    def __init__(self, best: float = float("inf"), *, keeps_best: bool = True) -> None:
        self._best = best
        self._keeps_best = keeps_best
        self._reported: dict[str, str] = {}

    def line(self, event: dict[str, Any]) -> str | None:
        """The line of an event; None when it is not worth one, or was told with the same reason just before."""
        name = str(event.get("event"))
        if name == "validation":
            return self._held_out(event)
        if name == "resize":
            return f"resized from {event.get('from')} to {event.get('to')} workers"
        if name == "going_on":
            return _going_on(event)
        if name not in _TROUBLE:
            if name in ("start", "resume", "recovered"):
                self._reported.clear()
            return None
        reason = str(event.get("reason") or event.get("error") or "")
        if self._reported.get(name) == reason or _ends_the_run(reason):
            return None
        self._reported[name] = reason
        return ": ".join(part for part in (_TROUBLE[name], reason) if part)

    def _held_out(self, event: dict[str, Any]) -> str:
        score = float(event.get("wer", event.get("loss", float("nan"))))
        figures = f"loss {float(event.get('loss', float('nan'))):.4g}"
        for key, label in (("wer", "WER"), ("cer", "CER"), ("accuracy", "accuracy")):
            if key in event:
                value = float(event[key])
                figures += f"  {label} {value:.3f}" if key == "accuracy" else f"  {label} {value:.2%}"
        line = f"held out at update {event.get('update')}: {figures}"
        if score < self._best:
            self._best = score
            return f"{line}  best so far{', its checkpoint is kept' if self._keeps_best else ''}"
        return f"{line}  (best {self._best:.2%})" if "wer" in event else f"{line}  (best {self._best:.4g})"


def _going_on(event: dict[str, Any]) -> str:
    """That the others went on without who was lost, or with who came."""
    changes = [
        f"{verb} {', '.join(names)}" for verb, names in (("without", event["gone"]), ("with", event["joined"])) if names
    ]
    how = " and ".join(changes) or "as before"
    return f"{event['to']} workers go on {how}, after {event['paused_s']:.2g} s"


def _ends_the_run(reason: str) -> bool:
    """Whether a worker ended with an error that no other attempt can mend: the command itself will say it."""
    kind = getattr(errors, reason.partition(":")[0], None)
    if not isinstance(kind, type) or not issubclass(kind, errors.W2v2RayError):
        return False
    return not issubclass(kind, errors.StorageUnavailableError)


@contextmanager
def show_training(job: TrainJob, run: RunFolder, console: Console) -> Iterator[None]:
    """Show update, loss, accuracy, perplexities, speed and time left while the block runs, and what happens meanwhile.

    On a terminal this is a live bar, elsewhere (a log file, `ray job logs`) a line every few per cent.
    """
    from w2v2_ray.orchestration.progress import EventsFollower, MetricsFollower
    from w2v2_ray.run.folder import read_lines

    columns = (
        TextColumn("update"),
        MofNCompleteColumn(),
        BarColumn(bar_width=20),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.description}"),
    )
    every = max(1, job.updates // _PLAIN_LINES)
    earlier = [event for event in read_lines(run.events) if event.get("event") == "validation"]
    scores = [float(event.get("wer", event.get("loss", "nan"))) for event in earlier]
    best = min((score for score in scores if score == score), default=float("inf"))
    lines = EventLines(best, keeps_best=job.checkpoint.keep_best)
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        bar = progress.add_task("starting workers", total=job.updates)

        def show(record: dict[str, Any]) -> None:
            progress.update(bar, completed=record["update"], description=describe(record))
            if not console.is_terminal and (record["update"] % every == 0 or record["update"] in (1, job.updates)):
                console.print(
                    f"update {record['update']}/{job.updates}  {describe(record)}", highlight=False, soft_wrap=True
                )

        def tell(event: dict[str, Any]) -> None:
            line = lines.line(event)
            if line is None:
                return
            if event["event"] == "waiting":
                progress.update(bar, description=line)
                if console.is_terminal:
                    return
            console.print(line, highlight=False, markup=False, soft_wrap=True)

        with MetricsFollower(run.metrics, show), EventsFollower(run, tell, interval_s=0.5):
            yield
