"""What a GPU runs, followed without one: on the meta device, which has shapes but no values to wait for."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch.overrides import TorchFunctionMode

from w2v2_ray.data.mixture import open_mixture
from w2v2_ray.data.random_streams import RandomStreams
from w2v2_ray.training.objectives.cropped import build_plan
from w2v2_ray.training.objectives.drawing import filled
from w2v2_ray.training.objectives.pretraining.task import PretrainTask, build_model

META = torch.device("meta")


class NoWaiting(TorchFunctionMode):
    """Refuses copies to the device for which the host would wait; values read back fail on meta by themselves."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        to_device = str(kwargs.get("device", "cpu")) == "meta"
        if func in (torch.tensor, torch.as_tensor) and to_device:
            raise AssertionError(f"{func.__name__} copies {args[0]} to the device and waits")
        if func is torch.Tensor.to and args[0].device.type == "cpu" and META in (*args, kwargs.get("device")):
            assert kwargs.get("non_blocking"), f"a copy of {tuple(args[0].shape)} to the device waits"
        return func(*args, **kwargs)


@pytest.mark.parametrize("hourglass", [False, True])
@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_a_pre_training_step_never_waits_for_the_device(tiny_job, monkeypatch, hourglass, precision):
    monkeypatch.setattr(torch, "autocast", lambda device, enabled: nullcontext())  # meta knows none
    changes = {} if hourglass else {"model.encoder.hourglass": None}
    job = tiny_job({**changes, "batch.concat": 5, "model.normalize_waveform": True})
    assert (job.model.encoder.hourglass is not None) == hourglass
    data = open_mixture([(ref.path, ref.repeat) for ref in job.data.train], verify="none")
    streams = RandomStreams(job.seed)
    task = PretrainTask(job, data, build_plan(job, data.num_samples, streams), streams, META)
    model = build_model(job).to(META, precision).train()
    batch = task.micro_batch(0)
    with NoWaiting():
        loss, counts = task.forward(model, batch, 1)
        loss.backward()
    assert counts.shape == (len(task.sums),)
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_the_mode_sees_what_waits():
    cpu = torch.zeros(2)
    with NoWaiting():
        cpu.to(META, non_blocking=True)
        for waits in (
            lambda: cpu.to(META),
            lambda: cpu.to(device=META),
            lambda: torch.tensor([1.0], device=META),
        ):
            with pytest.raises(AssertionError, match="waits"):
                waits()
        with pytest.raises(RuntimeError):
            float(torch.zeros((), device=META))


def test_numbers_known_ahead_become_a_tensor():
    found = filled([3, 0, 2**40], torch.device("cpu"))
    assert found.dtype == torch.float64
    assert found.tolist() == [3, 0, 2**40]
