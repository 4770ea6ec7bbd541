"""The training loop: updates of the virtual world, validation, checkpoints. Runs on every worker alike.

Usable without Ray: `train(job, run)` in one process trains with one worker.
"""

from __future__ import annotations

import hashlib
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from w2v2_ray.data.batch_plan import assigned
from w2v2_ray.data.loader import Prefetcher
from w2v2_ray.engine.checkpoint_store import (
    CheckpointManifest,
    CheckpointStore,
    best_loss,
    check_identity,
    list_checkpoints,
    newest_good,
    none_is_usable,
    read_manifest,
    update_of,
)
from w2v2_ray.engine.distributed import broadcast_object, gather_objects
from w2v2_ray.engine.metrics import max_over_workers, peak_memory_bytes, sum_over_workers
from w2v2_ray.engine.pretraining_task import SUMS, PretrainMicroBatch, PretrainTask, summarise
from w2v2_ray.engine.recorder import Recorder
from w2v2_ray.engine.run_folder import RunFolder
from w2v2_ray.engine.schedules import gumbel_temperature, learning_rate
from w2v2_ray.engine.training_engine import TrainingEngine, UpdateResult
from w2v2_ray.engine.training_state import load_training_state, snapshot_training_state
from w2v2_ray.errors import CheckpointError
from w2v2_ray.spec.job import PretrainJob


class TrainerHooks(Protocol):
    """What surrounds the trainer and wants to know. All methods are called on every worker."""

    def on_update(self, update: int, record: dict[str, Any] | None) -> None:
        """An update is done; `record` is its metrics line where one was written."""

    def on_checkpoint(self, update: int) -> None:
        """A checkpoint of this update is being written in the background."""


class NoHooks:
    """Nothing surrounds the trainer."""

    def on_update(self, update: int, record: dict[str, Any] | None) -> None:
        """Ignore."""

    def on_checkpoint(self, update: int) -> None:
        """Ignore."""


@dataclass
class _Window:
    """Time and waiting since the last metrics line."""

    started: float
    wait_s: float


@dataclass
class _Found:
    """What a run that resumes finds: a checkpoint, none, or a reason not to go on."""

    folder: Path | None = None
    problem: str | None = None
    best_loss: float = float("inf")


class Trainer:
    """One worker's part of a run.

    Args:
        job: The spec.
        engine: Steps the weights.
        task: Training micro-batches and their loss.
        validation: The same for held-out audio, or None.
        run: Where everything is written.
        hooks: Who wants to know.
    """

    def __init__(
        self,
        job: PretrainJob,
        engine: TrainingEngine,
        task: PretrainTask,
        validation: PretrainTask | None,
        run: RunFolder,
        *,
        fingerprint: str,
        hooks: TrainerHooks | None = None,
    ) -> None:
        self._job = job
        self._engine = engine
        self._task = task
        self._validation = validation
        self._run = run
        self._hooks = hooks or NoHooks()
        self._identity = run_identity(job, fingerprint)
        self._device = engine.device
        self._per_update = job.batch.micro_batches_per_update
        self._first = engine.world_rank == 0
        self._recorder: Recorder | None = None
        self._best_loss = float("inf")

    def train(self) -> None:
        """Train to the last update, from the newest good checkpoint when there is one. Collective.

        Raises:
            CheckpointError: When the run's checkpoints belong to another spec or dataset.
            RunFailedError: When a checkpoint could not be written.
        """
        start = self._resume()
        attempt = broadcast_object(uuid.uuid4().hex[:8])
        store = CheckpointStore(
            self._run.checkpoints,
            self._job.checkpoint,
            attempt=attempt,
            world_rank=self._engine.world_rank,
            world_size=self._engine.world_size,
            on_commit=self._committed,
        )
        if self._first:
            self._recorder = Recorder(self._run, self._job.logging, start)
        batches = Prefetcher(
            self._task.micro_batch, self._my_micro_batches(start), depth=self._job.data.prefetch_micro_batches
        )
        counts = Prefetcher(self._my_masked_frames, range(start + 1, self._job.updates + 1), depth=2)
        try:
            self._loop(start, batches, counts, store)
            store.close()
            self._event("end", update=self._job.updates)
        finally:
            store.abandon()
            batches.close()
            counts.close()
            if self._recorder is not None:
                self._recorder.close()

    def _loop(
        self, start: int, batches: Prefetcher[PretrainMicroBatch], counts: Prefetcher[int], store: CheckpointStore
    ) -> None:
        window = _Window(time.perf_counter(), batches.wait_s)
        last_saved = start
        for update in range(start + 1, self._job.updates + 1):
            result, totals = self._update(update, batches, counts)
            record = None
            if update % self._job.logging.every_updates == 0 or update == self._job.updates:
                record = self._log(update, result, totals, batches, window)
                window = _Window(time.perf_counter(), batches.wait_s)
            self._hooks.on_update(update, record)
            figures = self._validate_if_due(update)
            if self._checkpoint_due(update, figures) and last_saved != update:
                self._save(update, figures, store)
                last_saved = update
                self._hooks.on_checkpoint(update)

    def _update(
        self, update: int, batches: Prefetcher[PretrainMicroBatch], counts: Prefetcher[int]
    ) -> tuple[UpdateResult, list[float]]:
        """One optimizer step over this worker's share of the update's micro-batches."""
        engine = self._engine
        share = len(assigned(self._per_update, update, engine.world_rank, engine.world_size))
        (normaliser,) = sum_over_workers(torch.tensor([float(next(counts))], dtype=torch.float64, device=self._device))
        # Keyed by micro-batch, since a ZeRO stage may run one again with weight zero to keep workers in step.
        sums: dict[int, Tensor] = {}
        used: dict[int, PretrainMicroBatch] = {}

        def forward(batch: PretrainMicroBatch) -> Tensor:
            loss, sums[batch.index] = self._task.forward(engine.module, batch, update)
            if self._job.logging.trace_samples:
                used[batch.index] = batch
            return loss

        engine.train()
        result = engine.update(
            islice(batches, share),
            count=share,
            max_count=-(-self._per_update // engine.world_size),
            forward=forward,
            normaliser=normaliser,
            lr=learning_rate(self._job.optim, self._job.updates, update),
        )
        zero = torch.zeros(len(SUMS), dtype=torch.float64, device=self._device)
        totals = sum_over_workers(sum(sums.values(), zero))
        if self._job.logging.trace_samples:
            self._trace(update, list(used.values()))
        return result, totals

    def _log(
        self,
        update: int,
        result: UpdateResult,
        totals: list[float],
        batches: Prefetcher[PretrainMicroBatch],
        window: _Window,
    ) -> dict[str, Any]:
        elapsed_s = time.perf_counter() - window.started
        wait_s = batches.wait_s - window.wait_s
        slowest_s, waiting, memory = max_over_workers(
            [elapsed_s, wait_s / elapsed_s, peak_memory_bytes(self._device)], self._device
        )
        updates = 1 if self._job.logging.every_updates == 1 else (update - 1) % self._job.logging.every_updates + 1
        per_s = updates / slowest_s
        counted = dict(zip(SUMS, totals, strict=True))
        record: dict[str, Any] = {
            "update": update,
            "epoch": self._task.plan.epoch_of((update - 1) * self._per_update),
            **summarise(totals),
            "world_size": self._engine.world_size,
            "lr": learning_rate(self._job.optim, self._job.updates, update),
            "grad_norm": float(result.grad_norm),
            "gumbel_temperature": gumbel_temperature(self._job.model.quantizer, update),
            "masked_frames": int(counted["masked_frames"]),
            "frames_per_s": counted["frames"] * per_s,
            "masked_frames_per_s": counted["masked_frames"] * per_s,
            "audio_s_per_s": counted["samples"] / self._job.model.sample_rate * per_s,
            "update_s": slowest_s / updates,
            "data_wait_fraction": waiting,
            "peak_memory_bytes": int(memory),
            "time": round(time.time(), 3),
        }
        if self._job.engine.precision == "fp16":
            record |= {"loss_scale": result.loss_scale, "skipped": result.overflow}
        if self._recorder is not None:
            self._recorder.metrics(record)
        return record

    def _trace(self, update: int, batches: list[PretrainMicroBatch]) -> None:
        mine = []
        for batch in batches:
            ids = iter(self._task.utterance_ids(batch))
            for size, epoch in zip(batch.sub_batch_sizes, batch.epochs, strict=True):
                mine += [(epoch, utterance) for utterance in islice(ids, size)]
        everyone = gather_objects(mine)
        if self._recorder is not None:
            self._recorder.samples(update, [entry for part in everyone for entry in part])

    def _validate_if_due(self, update: int) -> dict[str, float] | None:
        spec = self._job.validation
        if self._validation is None or (update % spec.every_updates and update != self._job.updates):
            return None
        figures = self.validate(update)
        if self._recorder is not None:
            self._recorder.validation(update, figures)
        return figures

    def validate(self, update: int) -> dict[str, float]:
        """Loss, accuracy and perplexities on held-out audio: the same crops, masks and negatives each time. Collective.

        Raises:
            ValueError: When the job has no validation data.
        """
        if self._validation is None:
            raise ValueError("the job has no validation data")
        task, engine = self._validation, self._engine
        total = min(task.plan.sub_batches_per_epoch, self._job.validation.max_sub_batches)
        mine = list(assigned(total, 1, engine.world_rank, engine.world_size))
        # ZeRO 3 gathers weights layer by layer, so every worker must forward equally often; repeats count once.
        padding = -(-total // engine.world_size) - len(mine)
        padded = mine + [mine[-1] if mine else 0] * padding
        sums = torch.zeros(len(SUMS), dtype=torch.float64, device=self._device)
        batches = Prefetcher(task.micro_batch, padded, depth=self._job.data.prefetch_micro_batches)
        engine.eval()
        try:
            with torch.no_grad():
                for position, batch in enumerate(batches):
                    _, counts = task.forward(engine.module, batch, update)
                    if position < len(mine):
                        sums += counts
        finally:
            batches.close()
            engine.train()
        return summarise(sum_over_workers(sums))

    def _checkpoint_due(self, update: int, figures: dict[str, float] | None) -> bool:
        spec = self._job.checkpoint
        improved = figures is not None and figures["loss"] < self._best_loss
        if improved and figures is not None:
            self._best_loss = figures["loss"]
        return update % spec.every_updates == 0 or update == self._job.updates or (improved and spec.keep_best)

    def _save(self, update: int, figures: dict[str, float] | None, store: CheckpointStore) -> None:
        snapshot = snapshot_training_state(self._engine)
        manifest = CheckpointManifest(
            update=update,
            epoch=self._task.plan.epoch_of(update * self._per_update),
            world_size=self._engine.world_size,
            identity=self._identity,
            validation=figures,
        )
        store.save(manifest, snapshot.write)

    def _resume(self) -> int:
        """Load the newest good checkpoint; returns its update, or 0 for a run that begins."""
        found = _Found()
        if self._first:
            found = self._find_checkpoint()
        found = broadcast_object(found)
        if found.problem is not None:
            raise CheckpointError(found.problem)
        folder, self._best_loss = found.folder, found.best_loss
        if folder is None:
            self._event("start", world_size=self._engine.world_size)
            return 0
        manifest = read_manifest(folder)
        load_training_state(self._engine, folder)
        self._event("resume", update=manifest.update, world_size=self._engine.world_size)
        return manifest.update

    def _find_checkpoint(self) -> _Found:
        """What there is to go on from. On worker 0."""

        def report(path: Path, error: CheckpointError) -> None:
            self._run.event("checkpoint_damaged", checkpoint=path.name, reason=error.message)

        folder = newest_good(self._run.checkpoints, report)
        if folder is None:
            damaged = list_checkpoints(self._run.checkpoints)
            return _Found(problem=none_is_usable(self._run.checkpoints, len(damaged)) if damaged else None)
        try:
            check_identity(read_manifest(folder).identity, self._identity, self._run.path)
        except CheckpointError as error:
            return _Found(problem=error.message)
        return _Found(folder, best_loss=best_loss(self._run.checkpoints, update_of(folder)))

    def _committed(self, manifest: CheckpointManifest, path: Path, seconds: float) -> None:
        self._run.event("checkpoint", update=manifest.update, path=path.name, write_s=round(seconds, 3))

    def _event(self, name: str, **details: Any) -> None:
        if self._first:
            self._run.event(name, **details)

    def _my_micro_batches(self, start: int) -> Iterator[int]:
        for update in range(start + 1, self._job.updates + 1):
            yield from assigned(self._per_update, update, self._engine.world_rank, self._engine.world_size)

    def _my_masked_frames(self, update: int) -> int:
        mine = assigned(self._per_update, update, self._engine.world_rank, self._engine.world_size)
        return sum(self._task.masked_frames(index) for index in mine)


def run_identity(job: PretrainJob, fingerprint: str) -> dict[str, str]:
    """Digests of what a run's result depends on; a checkpoint of another identity is not resumed."""
    parts = {
        "model": job.model.model_dump_json(),
        "loss": job.loss.model_dump_json(),
        "batch": job.batch.model_dump_json(),
        "seed": str(job.seed),
    }
    digests = {name: hashlib.sha256(text.encode()).hexdigest()[:16] for name, text in parts.items()}
    return {**digests, "dataset": fingerprint}
