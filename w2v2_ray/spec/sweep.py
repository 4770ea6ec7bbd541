"""Sweeps: one job spec measured or trained at many points of a search space, and compared."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

from pydantic import Field, field_validator

from w2v2_ray.spec.base import Finding, Int, NonNegativeInt, PositiveFloat, PositiveInt, Spec
from w2v2_ray.spec.job import Job
from w2v2_ray.spec.space import ParameterSpec, as_parameters


class BaseRef(Spec):
    """The job that every point changes: a file, or a job written out here."""

    file: str | None = Field(default=None, min_length=1, examples=["jobs/pretrain_base.yaml"])
    """A job spec."""
    job: dict[str, Any] | None = None
    """A job spec written out: `kind`, `preset`, `data` and so on."""
    set: dict[str, Any] = Field(default_factory=dict)
    """Fields to change, dotted path to value; they are part of the winning job too."""

    def broken_rules(self) -> Iterator[Finding]:
        """One source."""
        if (self.file is None) == (self.job is None):
            yield Finding("write either `file: PATH` or `job: {kind: pretrain, ...}`", ("file", "job"))


class SpaceRef(Spec):
    """What the sweep varies: a file of `tune_spaces/`, or parameters written out here."""

    file: str | None = Field(default=None, min_length=1, examples=["tune_spaces/hourglass_factors.yaml"])
    """A search space."""
    parameters: dict[str, ParameterSpec] = Field(default_factory=dict)
    """Parameters beside, or instead of, those of the file; one that both name is taken from here."""

    @field_validator("parameters", mode="before")
    @classmethod
    def _short_forms(cls, value: Any) -> Any:
        return as_parameters(value)

    def broken_rules(self) -> Iterator[Finding]:
        """Something must vary."""
        if self.file is None and not self.parameters:
            yield Finding("nothing varies; write `file: PATH` or `parameters: {PATH: [VALUE, ...]}`", ("file",))


class SearchSpec(Spec):
    """Which points of the space are visited."""

    method: Literal["grid", "random", "optuna"] = "grid"
    """`grid`: all; `random`: a seeded sample; `optuna`: proposed one after the other for throughput and memory
    together (needs the extra `tune`)."""
    samples: PositiveInt = 16
    """Points of `random` and `optuna`, beside the baseline."""
    seed: NonNegativeInt = 1
    """Draws the sample and the order of the trials."""
    max_points: PositiveInt = 200
    """A grid with more points is refused."""


class ThroughputSpec(Spec):
    """How speed and memory are measured."""

    warmup_updates: NonNegativeInt = 2
    """Updates before the clock starts."""
    timed_updates: PositiveInt = 5
    """Updates that are timed."""
    workers: PositiveInt | None = 1
    """Processes of a trial, all on one node; null takes the point's `elastic.max_workers`."""
    audio: Literal["auto", "noise", "dataset"] = "auto"
    """`dataset`: the job's own; `noise`: made up, so that nothing but the model matters; `auto`: noise where the
    dataset is not there."""
    noise_s: tuple[PositiveFloat, PositiveFloat] | None = None
    """Shortest and longest utterance of the noise; null makes all `batch.max_samples` long."""
    memory_limit_bytes: PositiveInt | None = None
    """A trial that wants more memory than this above its start runs out of memory: a smaller machine tried out."""
    timeout_s: PositiveFloat = 1_800.0
    """A trial that takes longer is ended and noted."""
    set: dict[str, Any] = Field(default_factory=dict)
    """Fields of the job to change for measuring only, such as fewer sub-batches in an update; the winning job is
    written without them."""


class AshaSpec(Spec):
    """Stop points early that fall behind (ASHA; Li et al. 2020)."""

    grace_updates: PositiveInt = 100
    """Updates that every point gets."""
    reduction_factor: Int = Field(default=3, ge=2)
    """One in so many goes on at each rung."""


class QualitySpec(Spec):
    """How points are trained for comparison."""

    budget_updates: PositiveInt | None = None
    """Updates of each point; null: until `budget_s`, or the job's own `updates`. Schedules stay those of the job."""
    budget_s: PositiveFloat | None = None
    """Training time of each point; start, validation and saving not counted."""
    report_updates: PositiveInt = 20
    """Updates between two reports to Ray Tune."""
    asha: AshaSpec | None = AshaSpec()
    """Early stopping, or null to train all to the end."""


class FindConcatSpec(Spec):
    """How the largest `batch.concat` that fits is looked for."""

    largest: PositiveInt | None = None
    """Highest value to try; null: `batch.sub_batches_per_update`."""


class SweepSpec(Job):
    """Which configuration is worth its time and memory."""

    kind: Literal["sweep"] = "sweep"
    storage_path: str = "sweeps"
    """Folder in which sweeps live; every node must see it."""
    base: BaseRef = Field(examples=["jobs/pretrain_base.yaml"])
    """The job; a path alone is short for {file: ...}."""
    space: SpaceRef = Field(examples=["tune_spaces/hourglass_factors.yaml"])
    """What varies; a path alone is short for {file: ...}."""
    mode: Literal["throughput", "quality", "find_concat"] = "throughput"
    """`throughput`: speed and memory of a few updates; `quality`: train, compare the loss at equal time and at equal
    updates; `find_concat`: the largest `batch.concat` that fits, at every point."""
    baseline: dict[str, Any] | None = None
    """What everything is compared with, as dotted paths and values; null: the first point of the space."""
    search: SearchSpec = SearchSpec()
    """Which points."""
    repeats: PositiveInt = 3
    """Measurements of each point, taken in turns with all others, so that a machine that drifts favours none."""
    concurrency: PositiveInt = 1
    """Trials at once. On one machine more than one disturb each other's times."""
    throughput: ThroughputSpec = ThroughputSpec()
    """Used by the modes `throughput` and `find_concat`."""
    quality: QualitySpec = QualitySpec()
    """Used by the mode `quality`."""
    find_concat: FindConcatSpec = FindConcatSpec()
    """Used by the mode `find_concat`."""

    @field_validator("base", "space", mode="before")
    @classmethod
    def _short_forms(cls, value: Any) -> Any:
        return {"file": value} if isinstance(value, str) else value

    def broken_rules(self) -> Iterator[Finding]:
        """Modes and searches that go together."""
        if self.search.method == "optuna" and self.mode != "throughput":
            yield Finding(
                f"search.method: optuna weighs throughput against memory, and mode: {self.mode} has no two such "
                "figures for a trial; use grid or random, or mode: throughput",
                ("search.method", "mode"),
            )
        if self.mode == "find_concat" and "batch.concat" in self.space.parameters:
            yield Finding(
                "mode: find_concat looks for batch.concat itself; take batch.concat out of the space",
                ("space.parameters", "mode"),
            )

    def advice(self) -> Iterator[Finding]:
        """Where the comparison would be worth less than it looks."""
        if self.mode == "throughput" and self.repeats == 1:
            yield Finding(
                "repeats: 1 gives a difference without a spread; use 3 or more to know whether it is one",
                ("repeats",),
            )
        if self.mode == "throughput" and self.concurrency > 1:
            yield Finding(
                f"concurrency: {self.concurrency}: trials on the same node take cores and memory bandwidth from each "
                "other; use 1 unless every trial has a node or a GPU of its own",
                ("concurrency",),
            )
