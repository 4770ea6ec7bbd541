"""What the workers of `engine_worlds` are asked to do: runs that fall ill in the ways the watchdog knows."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import torch
from elastic_cases import LeavingHooks, train_poisoned
from torch import Tensor, nn
from trainer_cases import Hooks, train

from w2v2_ray.engine.training_engine import TrainingEngine, UpdateResult
from w2v2_ray.training.objectives.pretraining import task as pretraining
from w2v2_ray.training.objectives.pretraining.task import PretrainMicroBatch, PretrainTask, build_model


def train_without_gradient(job: dict[str, Any], first_update: int, **how: Any) -> Hooks:
    """Train; from an update on the loss is as it would be, but nothing depends on the weights any more."""
    honest = PretrainTask.forward

    def forward(task: PretrainTask, module: nn.Module, batch: PretrainMicroBatch, update: int) -> tuple[Tensor, Tensor]:
        loss, counts = honest(task, module, batch, update)
        return (loss * 0.0 if update >= first_update else loss), counts

    with patch.object(PretrainTask, "forward", forward):
        return train(job, **how)


def train_collapsed(job: dict[str, Any], **how: Any) -> Hooks:
    """Train a model whose quantizer gives every frame the first entry of each codebook."""

    def collapse(model: nn.Module) -> None:
        quantizer = model.quantizer
        with torch.no_grad():
            quantizer.logits_proj.bias.view(quantizer.num_codebooks, -1)[:, 0] += 1e3

    with _built_with(collapse):
        return train(job, **how)


def train_at_chance(job: dict[str, Any], **how: Any) -> Hooks:
    """Train a model whose context vectors say nothing: every candidate is as likely as any other."""

    def silence(model: nn.Module) -> None:
        model.context_proj.register_forward_hook(lambda module, inputs, output: output * 0.0)

    with _built_with(silence):
        return train(job, **how)


@contextmanager
def _built_with(change: Callable[[Any], None]) -> Iterator[None]:
    def build(job: Any) -> nn.Module:
        model = build_model(job)
        change(model)
        return model

    with patch.object(pretraining, "build_model", build):
        yield


def train_overflowing(job: dict[str, Any], updates: list[int], scale: float, **how: Any) -> Hooks:
    """Train a job of fp16, computed in fp32 for want of a GPU; these updates overflow, at a loss scale."""
    begin, step = TrainingEngine.__init__, TrainingEngine.update
    numbers = _Numbers()

    def in_fp32(self: TrainingEngine, model: nn.Module, **given: Any) -> None:
        begin(self, model, **given | {"engine": given["engine"].model_copy(update={"precision": "fp32"})})

    def update(self: TrainingEngine, micro_batches: Iterable[Any], **given: Any) -> UpdateResult:
        if numbers.current not in updates:
            return step(self, micro_batches, **given)
        batches = iter(micro_batches)
        for _ in range(given["count"]):
            given["forward"](next(batches))
        return UpdateResult(math.inf, True, scale)

    with (
        patch("w2v2_ray.training.session.pick_device", lambda spec, local_rank: torch.device("cpu")),
        patch.object(TrainingEngine, "__init__", in_fp32),
        patch.object(TrainingEngine, "update", update),
        numbers.noted(),
    ):
        return train(job, **how)


class _Numbers:
    """Number of the update that is being computed, which the engine is not told."""

    def __init__(self) -> None:
        self.current = 0

    @contextmanager
    def noted(self) -> Iterator[None]:
        from w2v2_ray.training.trainer import Trainer

        honest = Trainer._make

        def update(trainer: Trainer, number: int, *rest: Any) -> Any:
            self.current = number
            return honest(trainer, number, *rest)

        with patch.object(Trainer, "_make", update):
            yield


def train_by_the_second(job: dict[str, Any], poisoned: list[int], leave_at: int = 0) -> int:
    """Train by a clock on which every update that is computed takes one second, and everything else no time.

    The losses of `poisoned` updates are NaN. With `leave_at` a state is saved there and the run ends, as for a drained
    node; returns where it left.
    """
    honest = TrainingEngine.update
    clock = 0.0

    def update(engine: TrainingEngine, micro_batches: Iterable[Any], **given: Any) -> UpdateResult:
        nonlocal clock
        clock += 1.0
        return honest(engine, micro_batches, **given)

    fake = SimpleNamespace(perf_counter=lambda: clock, time=lambda: 1e9 + clock)
    with (
        patch.object(TrainingEngine, "update", update),
        patch("w2v2_ray.training.trainer.time", fake),
        patch("trainer_cases.Hooks", lambda *args: LeavingHooks(*args, leave_at=leave_at)),
    ):
        hooks = train_poisoned(job, poisoned, math.nan)
    assert isinstance(hooks, LeavingHooks)
    return hooks.left_at
