"""The training loop: updates of the virtual world, validation, checkpoints. Runs on every worker alike.

Usable without Ray: `session.start_session(job, run)` puts one worker together in this process.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from w2v2_ray.audio.samples import SAMPLE_RATE
from w2v2_ray.engine.training_engine import TrainingEngine
from w2v2_ray.engine.training_state import load_training_state, read_extra_state
from w2v2_ray.errors import CheckpointError
from w2v2_ray.run.checkpoints.files import read_manifest
from w2v2_ray.run.folder import RunFolder, read_lines
from w2v2_ray.spec.finetune import EarlyStoppingSpec
from w2v2_ray.spec.job import TrainJob
from w2v2_ray.training.checkpointer import Checkpointer, Found, Signals
from w2v2_ray.training.crews.crew import Crew, Made
from w2v2_ray.training.desk import Desk
from w2v2_ray.training.early_stopping import held_out_scores, should_stop
from w2v2_ray.training.hooks import NoHooks, TrainerHooks
from w2v2_ray.training.identity import run_identity
from w2v2_ray.training.metrics import max_over_workers, peak_memory_bytes
from w2v2_ray.training.objectives.task import Task
from w2v2_ray.training.schedules import learning_rate
from w2v2_ray.training.validation import Validator
from w2v2_ray.training.watch.guard import Guard, RollbackNeeded
from w2v2_ray.training.watch.interventions import Interventions
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
        crew: This worker and the others.
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
        crew: Crew,
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
        self._crew = crew
        self._hooks = hooks or NoHooks()
        self._device = engine.device
        self._per_update = job.batch.micro_batches_per_update
        self._guard = Guard(job, watched, run.path, self._event)
        self._checkpoints = Checkpointer(
            job, engine, run, run_identity(job, fingerprint), self._epoch_after, self._event, task.state
        )
        self._desk = Desk(run, job.logging, crew, self._checkpoints)
        self._start = 0
        self._resumed: Found | None = None
        self._last_validation: dict[str, float] | None = None

    def train(self) -> None:
        """Train to the last update, from the newest good state when there is one. Collective.

        Raises:
            CheckpointError: When the run's checkpoints belong to another spec or dataset.
            RunFailedError: When the last checkpoint could not be written, or the watchdog ended the run.
            SupersededError: When a newer attempt has the run.
        """
        try:
            self._train()
        finally:
            self._desk.close()

    def _train(self) -> None:
        if self._crew.writes:
            self._desk.open()
        given = self._crew.enter(self._find, self._begin_from)
        start = self._start
        self._desk.take(start, beginning=not given)
        snapshots = self._job.watchdog.enabled and self._job.checkpoint.snapshot_updates is not None
        if start == 0 and not given and snapshots and self._crew.writes:
            # The watchdog may want to go back to the beginning.
            self._checkpoints.save(0, "snapshot", None, self._guard)
        # Where an earlier launch stopped early, nothing is left to do.
        ended = not given and self._stops_early(start)
        last = start if ended else self._train_from(start)
        self._crew.see_to(f"finished-{last}", lambda: self._finish(last))
        self._crew.end()

    def _finish(self, last: int) -> None:
        """See the run to its end, on whoever writes."""
        self._desk.take(last)
        self._checkpoints.finish(last, self._last_validation, self._guard)
        self._event("end", update=last, stopped_early=last < self._job.updates)

    def _train_from(self, start: int) -> int:
        """Train on from an update, and back where the watchdog says so; returns the last one."""
        while True:
            self._crew.begin(self._updates_after, start)
            try:
                return self._loop(start)
            except RollbackNeeded as needed:
                verdict = needed.verdict
            finally:
                self._crew.rest()
            start = self._roll_back(verdict)

    def _loop(self, start: int) -> int:
        window = _Window(time.perf_counter(), self._crew.wait_s)
        self._last_validation = None
        signals = Signals()
        for update in range(start + 1, self._job.updates + 1):
            record = None
            if not self._guard.interventions.skips(update):
                made = self._make(update)
                signals = made.signals
                window.updates += 1
                if update % self._job.logging.every_updates == 0 or update == self._job.updates:
                    record = self._log(update, made, window)
                    window = _Window(time.perf_counter(), self._crew.wait_s)
                self._tell_recovered(update)
                self._guard.observe(update, self._judged(made))
            self._hooks.on_update(update, record)
            figures = self._last_validation = self._validate_if_due(update)
            last = update == self._job.updates or (figures is not None and self._stops_early(update))
            if self._checkpoints.save_if_due(update, figures, signals, self._guard, last=last):
                self._hooks.on_checkpoint(update)
            self._start = update
            if last:
                return update
            if signals.leave:
                self._leave(update)
        return start

    def _stops_early(self, update: int) -> bool:
        """Whether the spec wants no more updates. Collective."""
        spec = self._early_stopping
        if spec is None or update == 0:
            return False

        def judge() -> bool:
            self._desk.take(update)
            return should_stop(spec, held_out_scores(read_lines(self._run.events), update), update)

        return bool(self._crew.word(f"stop-{update}-{len(self._guard.interventions.rollbacks)}", judge))

    def _leave(self, update: int) -> None:
        """Give the node back, now that the state is safe."""
        problem = self._checkpoints.settle()
        if not self._crew.leave():
            self._event("left", update=update, problem=problem)
        self._hooks.leave(update)

    def _judged(self, made: Made) -> dict[str, float]:
        """What the watchdog is shown, the same on every worker."""
        result = made.result
        figures = {**self._task.figures(made.totals), "grad_norm": float(result.grad_norm)}
        if self._job.engine.precision == "fp16":
            figures |= {"loss_scale": result.loss_scale, "skipped": float(result.overflow)}
        return figures

    def _roll_back(self, verdict: Verdict) -> int:
        """Go back to a state from before the incident. Collective."""
        checkpoints, guard = self._checkpoints, self._guard
        checkpoints.settle()

        def choose() -> dict[str, Any]:
            self._desk.take(verdict.update)
            good = checkpoints.good_states(guard.interventions)
            target = guard.choose(verdict, good)
            return {"update": target, "state": None if target is None else good[target].name}

        chosen = self._crew.word(f"rollback-{len(guard.interventions.rollbacks)}", choose)
        target = guard.go_back(verdict, chosen["update"])
        self._load(chosen["state"])
        self._desk.rewind(target)
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
            world_size=self._crew.size,
            seconds_to_next_update=round(time.time() - found.last_time, 3),
            updates_recomputed=max(0, found.last_update - update + 1),
        )

    def _make(self, update: int) -> Made:
        """One optimizer step over the update's micro-batches."""
        busy, failed, due = self._checkpoints.signals()
        mine = Signals(busy, failed, due, float(self._hooks.wants_state()), float(self._hooks.must_leave()))
        trace = self._job.logging.trace_samples
        made = self._crew.make(update, self._learning_rate(update), mine, trace=trace)
        self._desk.take(update - 1)
        self._checkpoints.give_up_failed(made.signals)
        if trace:
            self._desk.samples(update, [entry for index in made.used for entry in self._task.used(index)])
        return made

    def _learning_rate(self, update: int) -> float:
        scale = self._guard.interventions.lr_scale(update)
        job = self._job
        return learning_rate(job.optim, job.updates, update, like_reference=job.like_reference) * scale

    def _log(self, update: int, made: Made, window: _Window) -> dict[str, Any]:
        result, totals = made.result, made.totals
        elapsed_s = time.perf_counter() - window.started
        wait_s = self._crew.wait_s - window.wait_s
        slowest_s, waiting, memory = max_over_workers(
            [elapsed_s, wait_s / elapsed_s, peak_memory_bytes(self._device)], self._device
        )
        per_s = window.updates / slowest_s
        record: dict[str, Any] = {
            "update": update,
            "epoch": self._task.plan.epoch_of((update - 1) * self._per_update),
            **self._task.figures(totals),
            "world_size": self._crew.size,
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
        self._desk.metrics(record)
        return record

    def _validate_if_due(self, update: int) -> dict[str, float] | None:
        if self._validator is None or not self._validator.is_due(update):
            return None
        figures = self._validator.measure(update)
        self._desk.take(update)
        self._desk.validation(update, figures)
        return figures

    def _epoch_after(self, update: int) -> int:
        return self._task.plan.epoch_of(update * self._per_update)

    def _find(self) -> dict[str, Any]:
        """What there is to begin from, on the leader."""
        self._desk.open()
        return self._checkpoints.find(self._guard).to_json()

    def _begin_from(self, document: dict[str, Any]) -> None:
        """Begin from what the leader found: the newest good state, or the initial weights."""
        found = Found.from_json(document)
        if found.problem is not None:
            raise CheckpointError(found.problem)
        self._resumed = found
        self._guard.interventions = found.interventions
        self._checkpoints.best_score = found.best_score
        if found.state is None:
            self._event("start", world_size=self._crew.size)
            return
        # Of a shared folder the first worker has compared every checksum when it looked for the newest good state.
        self._load(found.state, verified=self._run.store.is_here)
        self._event("resume", update=self._start, world_size=self._crew.size, path=found.state)

    def describe(self) -> dict[str, Any]:
        """What a worker that joins needs of this one's, besides tensors, in the midst of the update after `update`."""
        return {
            "update": self._start,
            "best_score": self._checkpoints.best_score,
            "watchdog": self._guard.state,
            "interventions": self._guard.interventions.to_json(),
        }

    def take_over(self, description: dict[str, Any]) -> None:
        """Go on where the worker is that described itself."""
        self._start = description["update"]
        self._checkpoints.best_score = description["best_score"]
        self._guard.restore(description["watchdog"])
        self._guard.interventions = Interventions.from_json(description["interventions"])

    def _load(self, name: str, *, verified: bool = False) -> None:
        """Go to a state: weights, moments, what the objective and the watchdog keep. Collective."""
        folder = self._run.fetch_state(self._run.checkpoints / name)
        manifest = read_manifest(folder)
        load_training_state(self._engine, folder, verified=verified)
        self._task.load_state(read_extra_state(folder))
        self._guard.restore(manifest.watchdog)
        self._start = manifest.update

    def _event(self, name: str, **details: Any) -> None:
        if self._crew.leads:
            # The storage may be away or full; training does not end of an event that is not written down.
            with contextlib.suppress(OSError):
                self._run.event(name, **details)

    def _updates_after(self, start: int) -> Iterator[int]:
        """Updates to be computed; the others are passed over after a rollback."""
        skips = self._guard.interventions.skips
        return (update for update in range(start + 1, self._job.updates + 1) if not skips(update))
