"""The training loop: updates of the virtual world, validation, checkpoints. Runs on every worker alike.

Usable without Ray: `session.start_session(job, run)` puts one worker together in this process.
"""

from __future__ import annotations

import contextlib
import hashlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from w2v2_ray.data.loader import Prefetcher
from w2v2_ray.data.schema import SAMPLE_RATE
from w2v2_ray.engine.distributed import broadcast_object, gather_objects
from w2v2_ray.engine.training_engine import TrainingEngine, UpdateResult
from w2v2_ray.engine.training_state import load_training_state, read_extra_state
from w2v2_ray.errors import CheckpointError
from w2v2_ray.run.checkpoints.fence import Fence
from w2v2_ray.run.checkpoints.files import read_manifest
from w2v2_ray.run.folder import RunFolder, read_lines
from w2v2_ray.spec.finetune import EarlyStoppingSpec
from w2v2_ray.spec.job import TrainJob
from w2v2_ray.training.checkpointer import Checkpointer, Found, Signals
from w2v2_ray.training.early_stopping import held_out_scores, should_stop
from w2v2_ray.training.hooks import NoHooks, TrainerHooks
from w2v2_ray.training.metrics import max_over_workers, peak_memory_bytes, sum_over_workers
from w2v2_ray.training.objectives.task import MicroBatch, Task
from w2v2_ray.training.recorder import Recorder
from w2v2_ray.training.schedules import learning_rate
from w2v2_ray.training.step import Step
from w2v2_ray.training.validation import Validator
from w2v2_ray.training.watch.guard import Guard, RollbackNeeded
from w2v2_ray.training.watch.watchdog import Verdict
from w2v2_ray.training.watch.watched import NOTHING_WATCHED, Watched


@dataclass
class _Window:
    """What was computed since the last metrics line, or since this attempt began."""

    started: float
    wait_s: float
    updates: int = 0


class Trainer:
    """One worker's part of a run.

    Args:
        job: The spec.
        engine: Steps the weights.
        task: Training micro-batches and their loss.
        validator: Measures on held-out audio, or None.
        run: Where everything is written.
        fingerprint: Identity of the training data.
        hooks: Who wants to know.
        early_stopping: When to end before the last update.
        watched: What of the objective may go wrong, for the watchdog.
    """

    def __init__(
        self,
        job: TrainJob,
        engine: TrainingEngine,
        task: Task[Any],
        validator: Validator | None,
        run: RunFolder,
        *,
        fingerprint: str,
        hooks: TrainerHooks | None = None,
        early_stopping: EarlyStoppingSpec | None = None,
        watched: Watched = NOTHING_WATCHED,
    ) -> None:
        self._job = job
        self._engine = engine
        self._task = task
        self._validator = validator
        self._early_stopping = early_stopping
        self._run = run
        self._hooks = hooks or NoHooks()
        self._device = engine.device
        self._per_update = job.batch.micro_batches_per_update
        self._step = Step(engine, task, self._per_update)
        self._first = engine.world_rank == 0
        self._recorder: Recorder | None = None
        self._guard = Guard(job, watched, run.path, self._event)
        self._checkpoints = Checkpointer(
            job, engine, run, run_identity(job, fingerprint), self._epoch_after, self._event, task.state
        )
        self._resumed: Found | None = None
        self._last_validation: dict[str, float] | None = None

    def train(self) -> None:
        """Train to the last update, from the newest good state when there is one. Collective.

        Raises:
            CheckpointError: When the run's checkpoints belong to another spec or dataset.
            RunFailedError: When the last checkpoint could not be written, or the watchdog ended the run.
            SupersededError: When a newer attempt has the run.
        """
        fence = Fence.take(self._run.notes) if self._first else None
        fence = Fence(self._run.notes, broadcast_object(fence.token if fence else None) or "")
        follow = self._run.follow(fence) if self._first else contextlib.nullcontext(lambda: None)
        with follow as before_commit:
            self._train(fence, before_commit)

    def _train(self, fence: Fence, before_commit: Callable[[], object]) -> None:
        start = self._resume()
        best = self._resumed.best_score if self._resumed else float("inf")
        self._checkpoints.open(fence, best, start, before_commit)
        try:
            if start == 0 and self._job.watchdog.enabled and self._job.checkpoint.snapshot_updates is not None:
                # The watchdog may want to go back to the beginning.
                self._checkpoints.save(0, "snapshot", None, self._guard)
            while True:
                try:
                    last = self._train_from(start, fence)
                    break
                except RollbackNeeded as needed:
                    start = self._roll_back(needed.verdict)
            self._checkpoints.finish(last, self._last_validation, self._guard)
            self._event("end", update=last, stopped_early=last < self._job.updates)
        finally:
            self._checkpoints.abandon()

    def _train_from(self, start: int, fence: Fence) -> int:
        """Train on from an update; returns the last one."""
        if self._first:
            self._recorder = Recorder(self._run, self._job.logging, start, fence)
        batches = Prefetcher(
            self._task.micro_batch, self._my_micro_batches(start), depth=self._job.data.prefetch_micro_batches
        )
        counts = Prefetcher(self._step.weight, self._updates_after(start), depth=2)
        try:
            return self._loop(start, batches, counts)
        finally:
            batches.close()
            counts.close()
            if self._recorder is not None:
                self._recorder.close()

    def _loop(self, start: int, batches: Prefetcher[MicroBatch], counts: Prefetcher[int]) -> int:
        window = _Window(time.perf_counter(), batches.wait_s)
        self._last_validation = None
        signals = Signals()
        if self._stops_early(start):  # An earlier launch ended here.
            return start
        for update in range(start + 1, self._job.updates + 1):
            record = None
            if not self._guard.interventions.skips(update):
                result, totals, signals = self._update(update, batches, counts)
                window.updates += 1
                if update % self._job.logging.every_updates == 0 or update == self._job.updates:
                    record = self._log(update, result, totals, batches, window)
                    window = _Window(time.perf_counter(), batches.wait_s)
                self._tell_recovered(update)
                self._guard.observe(update, self._judged(result, totals))
            self._hooks.on_update(update, record)
            figures = self._last_validation = self._validate_if_due(update)
            last = update == self._job.updates or (figures is not None and self._stops_early(update))
            if self._checkpoints.save_if_due(update, figures, signals, self._guard, last=last):
                self._hooks.on_checkpoint(update)
            if last:
                return update
            if signals.leave:
                self._leave(update)
        return start

    def _stops_early(self, update: int) -> bool:
        """Whether the spec wants no more updates. Collective."""
        if self._early_stopping is None or update == 0:
            return False
        scores = held_out_scores(read_lines(self._run.events), update) if self._first else {}
        return broadcast_object(should_stop(self._early_stopping, scores, update))

    def _leave(self, update: int) -> None:
        """Give the node back, now that the state is safe."""
        problem = self._checkpoints.settle()
        self._event("left", update=update, problem=problem)
        self._hooks.leave(update)

    def _judged(self, result: UpdateResult, totals: dict[str, float]) -> dict[str, float]:
        """What the watchdog is shown, the same on every worker."""
        figures = {**self._task.figures(totals), "grad_norm": float(result.grad_norm)}
        if self._job.engine.precision == "fp16":
            figures |= {"loss_scale": result.loss_scale, "skipped": float(result.overflow)}
        return figures

    def _roll_back(self, verdict: Verdict) -> int:
        """Go back to a state from before the incident. Collective."""
        checkpoints = self._checkpoints
        checkpoints.settle()
        good = checkpoints.good_states(self._guard.interventions) if self._first else {}
        target = self._guard.decide(verdict, good, self._first)
        folder = self._state(broadcast_object(good[target].name if self._first else None))
        load_training_state(self._engine, folder)
        self._task.load_state(read_extra_state(folder))
        self._guard.restore(read_manifest(folder).watchdog)
        if self._first:
            checkpoints.forget_after(target)
        checkpoints.rewound(target)
        return target

    def _tell_recovered(self, update: int) -> None:
        """At the first update after a restart: how long it took, and what had to be computed again."""
        found, self._resumed = self._resumed, None
        if found is None or not found.last_update:
            return
        self._event(
            "recovered",
            update=update,
            world_size=self._engine.world_size,
            seconds_to_next_update=round(time.time() - found.last_time, 3),
            updates_recomputed=max(0, found.last_update - update + 1),
        )

    def _update(
        self, update: int, batches: Prefetcher[MicroBatch], counts: Prefetcher[int]
    ) -> tuple[UpdateResult, dict[str, float], Signals]:
        """One optimizer step over this worker's share of the update's micro-batches."""
        normaliser, signals = self._agree(next(counts))
        used: dict[int, MicroBatch] | None = {} if self._job.logging.trace_samples else None
        result, totals = self._step.make(
            update, batches, normaliser=normaliser, lr=self._learning_rate(update), used=used
        )
        if used is not None:
            self._trace(update, list(used.values()))
        return result, totals, signals

    def _agree(self, weight: int) -> tuple[float, Signals]:
        """The update's normaliser, and what the workers have to tell each other, in one sum."""
        busy, failed, due = self._checkpoints.signals()
        mine = Signals(busy, failed, due, float(self._hooks.wants_state()), float(self._hooks.must_leave()))
        summed = torch.tensor([float(weight), *mine.as_list()], dtype=torch.float64, device=self._device)
        normaliser, *rest = sum_over_workers(summed)
        signals = Signals.from_list(rest)
        self._checkpoints.give_up_failed(signals)
        return normaliser, signals

    def _learning_rate(self, update: int) -> float:
        scale = self._guard.interventions.lr_scale(update)
        return learning_rate(self._job.optim, self._job.updates, update) * scale

    def _log(
        self,
        update: int,
        result: UpdateResult,
        totals: dict[str, float],
        batches: Prefetcher[MicroBatch],
        window: _Window,
    ) -> dict[str, Any]:
        elapsed_s = time.perf_counter() - window.started
        wait_s = batches.wait_s - window.wait_s
        slowest_s, waiting, memory = max_over_workers(
            [elapsed_s, wait_s / elapsed_s, peak_memory_bytes(self._device)], self._device
        )
        per_s = window.updates / slowest_s
        record: dict[str, Any] = {
            "update": update,
            "epoch": self._task.plan.epoch_of((update - 1) * self._per_update),
            **self._task.figures(totals),
            "world_size": self._engine.world_size,
            "lr": self._learning_rate(update),
            "grad_norm": float(result.grad_norm),
            **self._task.settings(update),
            **{name: int(totals[name]) for name in ("masked_frames",) if name in totals},
            **{f"{name}_per_s": totals[name] * per_s for name in ("frames", "masked_frames") if name in totals},
            "audio_s_per_s": totals["samples"] / SAMPLE_RATE * per_s,
            "update_s": 1.0 / per_s,
            "data_wait_fraction": waiting,
            "peak_memory_bytes": int(memory),
            "time": round(time.time(), 3),
        }
        if self._job.engine.precision == "fp16":
            record |= {"loss_scale": result.loss_scale, "skipped": result.overflow}
        if self._recorder is not None:
            self._recorder.metrics(record)
        return record

    def _trace(self, update: int, batches: list[MicroBatch]) -> None:
        everyone = gather_objects([entry for batch in batches for entry in self._task.used(batch)])
        if self._recorder is not None:
            self._recorder.samples(update, [entry for part in everyone for entry in part])

    def _validate_if_due(self, update: int) -> dict[str, float] | None:
        if self._validator is None or not self._validator.is_due(update):
            return None
        figures = self._validator.measure(update)
        if self._recorder is not None:
            with contextlib.suppress(OSError):
                self._recorder.validation(update, figures)
        return figures

    def _epoch_after(self, update: int) -> int:
        return self._task.plan.epoch_of(update * self._per_update)

    def _resume(self) -> int:
        """Load the newest good state; returns its update, or 0 for a run that begins."""
        found = broadcast_object(self._checkpoints.find(self._guard) if self._first else None)
        if found.problem is not None:
            raise CheckpointError(found.problem)
        self._resumed = found
        self._guard.interventions = found.interventions
        if found.folder is None:
            self._event("start", world_size=self._engine.world_size)
            return 0
        folder = self._state(found.folder.name)
        manifest = read_manifest(folder)
        # Of a shared folder the first worker has compared every checksum when it looked for the newest good state.
        load_training_state(self._engine, folder, verified=self._run.store.is_here)
        self._task.load_state(read_extra_state(folder))
        self._guard.restore(manifest.watchdog)
        self._event("resume", update=manifest.update, world_size=self._engine.world_size, path=found.folder.name)
        return manifest.update

    def _state(self, name: str) -> Path:
        """A state's folder on this node, with its files."""
        return self._run.fetch_state(self._run.checkpoints / name)

    def _event(self, name: str, **details: Any) -> None:
        if self._first:
            # The storage may be away or full; training does not end of an event that is not written down.
            with contextlib.suppress(OSError):
                self._run.event(name, **details)

    def _updates_after(self, start: int) -> Iterator[int]:
        """Updates to be computed; the others are passed over after a rollback."""
        skips = self._guard.interventions.skips
        return (update for update in range(start + 1, self._job.updates + 1) if not skips(update))

    def _my_micro_batches(self, start: int) -> Iterator[int]:
        for update in self._updates_after(start):
            yield from self._step.share(update)


def run_identity(job: TrainJob, fingerprint: str) -> dict[str, str]:
    """Digests of what a run's result depends on; a checkpoint of another identity is not resumed."""
    digests = {name: hashlib.sha256(text.encode()).hexdigest()[:16] for name, text in job.identity().items()}
    return {**digests, "dataset": fingerprint}
