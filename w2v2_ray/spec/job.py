"""Job specs: one YAML file, one kind, validated before anything starts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Literal, Self

from pydantic import Field

from w2v2_ray.spec.base import Finding, NonNegativeFloat, NonNegativeInt, PositiveInt, Spec, largest_divisor
from w2v2_ray.spec.cluster import ElasticSpec, FailureSpec, WorkerSpec
from w2v2_ray.spec.data import BatchSpec, DatasetRef, DataSpec, VirtualWorldSpec
from w2v2_ray.spec.engine import EngineSpec
from w2v2_ray.spec.logging import LoggingSpec
from w2v2_ray.spec.model import SAMPLE_RATE, ContrastiveLossSpec, ModelSpec
from w2v2_ray.spec.optim import OptimSpec
from w2v2_ray.spec.text import TextSpec
from w2v2_ray.spec.watchdog import WatchdogSpec

PUBLISHED_AUDIO_S_PER_UPDATE = {768: 5_600.0, 1024: 9_600.0}
"""Audio in one update of the published recipes by model dimension: sub-batches x tokens / sample rate. Below it users
report a loss stuck at 6.66 bits or collapsed codebooks (reference section 4); smaller models are not concerned."""


class ValidationSpec(Spec):
    """Held-out loss and accuracy while training."""

    every_updates: PositiveInt = 5_000
    """Updates between two validations; there is one more at the end."""
    max_sub_batches: PositiveInt = 64
    """Sub-batches per validation at most. They, their masks and their negatives are the same each time."""


class CheckpointSpec(Spec):
    """When training state is saved and what is kept."""

    every_updates: PositiveInt = 1_000
    """Updates between two checkpoints; there is one more at the end."""
    keep_last: PositiveInt = 3
    """Newest checkpoints that are kept."""
    milestone_updates: PositiveInt | None = 50_000
    """Checkpoints at multiples of this are kept for ever; null keeps none."""
    keep_best: bool = True
    """Keep the checkpoint with the lowest validation loss."""
    snapshot_updates: PositiveInt | None = 10
    """Least number of updates between two snapshots, of which the newest two are kept: what a failure costs at most.
    Training never waits for one; null takes none."""
    snapshot_s: NonNegativeFloat = 15.0
    """Least time between two snapshots."""


class Job(Spec):
    """What every job has, whatever it does."""

    kind: str
    """What the job does."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$", examples=["my-run"])
    """Name of the run: its folder under `storage_path`. Write letters, digits, dot, dash and underscore,
    128 at most, the first a letter or digit."""


class TrainJob(Job):
    """What every training job has."""

    storage_path: str = "runs"
    """Folder in which runs live, which every worker must see (a shared file system when there are several nodes), or a
    URI such as s3://bucket/runs."""
    seed: NonNegativeInt = 1
    """Every random draw of the run follows from this number."""
    data: DataSpec
    """Audio to learn from."""
    model: ModelSpec | None
    """The network; null where it is taken from elsewhere."""
    batch: VirtualWorldSpec = VirtualWorldSpec()
    """The virtual world."""
    optim: OptimSpec = OptimSpec()
    """Optimizer and learning rate."""
    updates: PositiveInt = 400_000
    """Optimizer steps of the whole run."""
    engine: EngineSpec = EngineSpec()
    """Precision, partitioning, device."""
    elastic: ElasticSpec = ElasticSpec()
    """How many workers."""
    worker: WorkerSpec = WorkerSpec()
    """What each of them needs."""
    failure: FailureSpec = FailureSpec()
    """What the run survives."""
    validation: ValidationSpec = ValidationSpec()
    """Held-out measurements; used when `data.validation` names a dataset."""
    checkpoint: CheckpointSpec = CheckpointSpec()
    """Saving."""
    logging: LoggingSpec = LoggingSpec()
    """Metrics and traces."""
    watchdog: WatchdogSpec = WatchdogSpec()
    """What is watched for and what is done about it."""
    like_reference: bool = False
    """Compute as the NVIDIA reference does where this project differs on purpose, for comparisons (docs/parity.md)."""

    def paths(self) -> dict[str, str | None]:
        """Files and folders that the job names, by field."""
        data = self.data
        refs = {"train": data.train, "validation": data.validation}
        return {
            "storage_path": self.storage_path,
            **{f"data.{part}[{n}].path": ref.path for part, some in refs.items() for n, ref in enumerate(some)},
            "data.cache_dir": data.cache_dir,
        }

    def with_inputs(self, change: Callable[[str], str]) -> Self:
        """The job with every path that it reads changed."""

        def refs(given: tuple[DatasetRef, ...]) -> tuple[DatasetRef, ...]:
            return tuple(ref.model_copy(update={"path": change(ref.path)}) for ref in given)

        data = self.data
        inner: dict[str, Any] = {"train": refs(data.train), "validation": refs(data.validation)}
        if data.cache_dir is not None:
            inner["cache_dir"] = change(data.cache_dir)
        return self.model_copy(update={"data": data.model_copy(update=inner)})

    @property
    def training_only(self) -> tuple[str, ...]:
        """Beginnings of the names of weights that serve training alone; using the model leaves them out."""
        return ()

    @property
    def contrastive_loss(self) -> ContrastiveLossSpec | None:
        """The objective, where that is pre-training's."""
        return None

    @property
    def head_dropout(self) -> float:
        """Dropout before the layer that is trained on top of the backbone."""
        return 0.0

    @property
    def transcripts(self) -> TextSpec | None:
        """How transcripts are written, where the job learns from them."""
        return None

    @property
    def audio_s_per_update(self) -> float:
        """Upper bound of the audio in one update, in seconds."""
        return self.batch.sub_batches_per_update * self.batch.max_tokens / SAMPLE_RATE

    @property
    def survivors_go_on(self) -> bool:
        """Whether the others train on when a worker is lost or comes; `worker.gpus` must be settled."""
        elastic = self.elastic
        if elastic.on_fault != "auto":
            return elastic.on_fault == "go_on"
        several = elastic.max_workers + elastic.spares > 1
        return several and self.engine.zero_stage < 2 and not self.worker.gpu_count

    @property
    def applied_optim(self) -> OptimSpec:
        """The optimizer as it is applied; the reference clips gradients in half precision alone."""
        if self.like_reference and self.engine.precision == "fp32":
            return self.optim.model_copy(update={"clip_norm": None})
        return self.optim

    def identity(self) -> dict[str, str]:
        """What a run's result depends on, beside its data, by name: a checkpoint of another identity is not resumed."""
        # What came later says nothing while it is off: checkpoints of before are those of the same run.
        later = {name for name in ("curriculum_epochs", "max_utterances") if not getattr(self.batch, name)}
        own = {"batch": self.batch.model_dump_json(exclude=later), "seed": str(self.seed)}
        return {**own, "like_reference": "true"} if self.like_reference else own

    def broken_rules(self) -> Iterator[Finding]:
        """Rules between the parts of any training job."""
        yield from self._schedule_rules()
        yield from self._resource_rules()

    def _schedule_rules(self) -> Iterator[Finding]:
        schedule = self.optim.schedule
        ramp = schedule.warmup_updates + schedule.hold_updates
        if schedule.warmup_updates >= self.updates:
            yield Finding(
                f"optim.schedule.warmup_updates: {schedule.warmup_updates} is not below updates: {self.updates}; the "
                f"learning rate would never reach its peak: use {self.updates * 8 // 100} (8 % as published)",
                ("optim.schedule.warmup_updates", "updates"),
            )
        elif ramp > self.updates:
            yield Finding(
                f"optim.schedule: warmup_updates + hold_updates = {ramp} is above updates: {self.updates}; "
                f"use hold_updates: {self.updates - schedule.warmup_updates} or less",
                ("optim.schedule.hold_updates", "updates", "optim.schedule.warmup_updates"),
            )

    def _resource_rules(self) -> Iterator[Finding]:
        if self.engine.precision == "fp16" and self.worker.gpus == 0 and self.engine.device != "cpu":
            yield Finding(
                "engine.precision: fp16 needs a GPU but worker.gpus: 0; use bf16 or fp32, or worker.gpus: 1",
                ("engine.precision", "worker.gpus"),
            )
        if self.engine.device == "cuda" and self.worker.gpus == 0:
            yield Finding(
                "engine.device: cuda but worker.gpus: 0; set worker.gpus: 1, or engine.device: auto",
                ("engine.device", "worker.gpus"),
            )
        if self.elastic.on_fault == "go_on" and self.engine.zero_stage >= 2:
            yield Finding(
                f"elastic.on_fault: go_on needs the whole state on every worker, and engine.zero_stage: "
                f"{self.engine.zero_stage} gives each a part of it; use zero_stage: 1, or on_fault: restart",
                ("elastic.on_fault", "engine.zero_stage"),
            )
        if self.elastic.spares and (self.elastic.on_fault == "restart" or self.engine.zero_stage >= 2):
            yield Finding(
                f"elastic.spares: {self.elastic.spares} would wait for ever, since all workers start again at a fault; "
                "use elastic.on_fault: go_on with engine.zero_stage: 1, or spares: 0",
                ("elastic.spares", "elastic.on_fault", "engine.zero_stage"),
            )
        workers, batch = self.elastic.max_workers, self.batch
        if workers > batch.micro_batches_per_update:
            concat = largest_divisor(batch.sub_batches_per_update, at_most=batch.sub_batches_per_update // workers or 1)
            remedy = (
                f"use batch.concat: {concat}, or elastic.max_workers: {batch.micro_batches_per_update}"
                if workers <= batch.sub_batches_per_update
                else f"use elastic.max_workers: {batch.micro_batches_per_update} or less"
            )
            yield Finding(
                f"elastic.max_workers: {workers} is above the {batch.micro_batches_per_update} micro-batches of an "
                f"update (batch.sub_batches_per_update: {batch.sub_batches_per_update} / concat: {batch.concat}); "
                f"the others would idle: {remedy}",
                ("elastic.max_workers", "batch.concat", "batch.sub_batches_per_update"),
            )

    def advice(self) -> Iterator[Finding]:
        """Where the result depends a little on the number of workers."""
        engine, elastic = self.engine, self.elastic
        if engine.zero_stage < 2 or elastic.min_workers == elastic.max_workers:
            return
        # Of two neighbours above 2 one is no power of two.
        odd = next((size for size in (elastic.max_workers, elastic.max_workers - 1) if size & (size - 1)), None)
        how = "adds up gradients in an order that depends on the number of workers: losses differ in the seventh digit"
        if engine.zero_stage == 3 and engine.precision != "fp32" and odd is not None:
            how = (
                f"with precision: {engine.precision} divides gradients by the number of workers; by one such as {odd}, "
                "no power of two, that rounds: losses differ in the fifth digit"
            )
        yield Finding(
            f"engine.zero_stage: {engine.zero_stage} {how}, and a model that learns fast carries that further; at 0 "
            "and 1 not a bit differs: use zero_stage: 1 where the model fits, or a fixed number of workers",
            ("engine.zero_stage", "engine.precision", "elastic.max_workers"),
        )


class MaskedJob(TrainJob):
    """A job that learns from crops of audio by predicting what is masked."""

    batch: BatchSpec = BatchSpec()
    """The virtual world."""
    model: ModelSpec = ModelSpec()
    """The network."""

    def broken_rules(self) -> Iterator[Finding]:
        """The shortest crop must have room for a masked span and a frame beside it."""
        yield from super().broken_rules()
        encoder, length = self.model.feature_encoder, self.model.masking.length_frames
        frames = encoder.num_frames(self.batch.min_samples)
        if frames < length + 1:
            yield Finding(
                f"batch.min_samples: {self.batch.min_samples} gives {frames} frames, fewer than one masked span and a "
                f"frame beside it ({length + 1}); use min_samples: {(length + 3) * encoder.stride_samples} or more, or "
                "a shorter model.masking.length_frames",
                ("batch.min_samples", "model.masking.length_frames", "model.feature_encoder.conv_layers"),
            )


class PretrainJob(MaskedJob):
    """Self-supervised pre-training (wav2vec 2.0, section 3). The defaults are the published Base recipe."""

    kind: Literal["pretrain"] = "pretrain"
    loss: ContrastiveLossSpec = ContrastiveLossSpec()
    """The objective."""
    pretrained: str | None = Field(default=None, min_length=1, examples=["runs/pretrain_base"])
    """Model to go on from, on other data or with another Hourglass: a run's folder, a checkpoint of it, or anything
    that `w2v2-ray import` reads. Its weights must fit `model`; quantizer and projections are taken where it has them.
    The optimizer, the schedule and the temperature begin anew. Null begins at random."""

    @property
    def contrastive_loss(self) -> ContrastiveLossSpec:
        """The objective."""
        return self.loss

    def paths(self) -> dict[str, str | None]:
        """The model to go on from too."""
        return {**super().paths(), "pretrained": self.pretrained}

    def with_inputs(self, change: Callable[[str], str]) -> Self:
        """The model to go on from too."""
        job = super().with_inputs(change)
        return job if job.pretrained is None else job.model_copy(update={"pretrained": change(job.pretrained)})

    def identity(self) -> dict[str, str]:
        """The network and the loss too."""
        return {"model": self.model.identity(), "loss": self.loss.identity(), **super().identity()}

    def advice(self) -> Iterator[Finding]:
        """Too little audio in an update (reference section 4)."""
        yield from super().advice()
        sizes = [dim for dim in PUBLISHED_AUDIO_S_PER_UPDATE if dim <= self.model.encoder.dim]
        published_s = PUBLISHED_AUDIO_S_PER_UPDATE[max(sizes)] if sizes else 0.0
        if self.audio_s_per_update < published_s:
            yield Finding(
                f"batch: an update sees at most {self.audio_s_per_update:.0f} s of audio (sub_batches_per_update: "
                f"{self.batch.sub_batches_per_update} x max_tokens: {self.batch.max_tokens}); the published recipe for "
                f"this model size has {published_s:.0f} s, and with less the loss is known to stay at 6.66 bits or the "
                "codebooks to collapse (fairseq issues 3661, 3687, 3718, 3744): raise sub_batches_per_update; "
                "that costs time per update, not memory",
                ("batch.sub_batches_per_update", "batch.max_tokens"),
            )
