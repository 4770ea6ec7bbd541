from __future__ import annotations

import pytest
import torch

from w2v2_ray.engine.device import pick_device
from w2v2_ray.errors import SpecError
from w2v2_ray.spec.engine import EngineSpec


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch):
    def pretend(count: int) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: count)

    return pretend


def test_auto_takes_a_gpu_where_there_is_one(gpus) -> None:
    gpus(0)
    assert pick_device(EngineSpec(), 0) == torch.device("cpu")
    gpus(1)
    assert pick_device(EngineSpec(), 0) == torch.device("cuda", 0)
    assert pick_device(EngineSpec(device="cpu"), 0) == torch.device("cpu")


def test_local_rank_chooses_among_visible_gpus_and_one_visible_gpu_serves_any(gpus) -> None:
    gpus(4)
    assert pick_device(EngineSpec(device="cuda"), 2) == torch.device("cuda", 2)
    gpus(1)
    assert pick_device(EngineSpec(device="cuda"), 2) == torch.device("cuda", 0)


def test_more_workers_than_gpus_on_a_node_are_refused(gpus) -> None:
    gpus(2)
    with pytest.raises(SpecError, match="worker 2 of this node finds only 2"):
        pick_device(EngineSpec(), 2)


def test_cuda_without_a_gpu_is_refused(gpus) -> None:
    gpus(0)
    with pytest.raises(SpecError, match="device: cuda"):
        pick_device(EngineSpec(device="cuda"), 0)


def test_fp16_on_the_cpu_is_refused(gpus) -> None:
    gpus(0)
    with pytest.raises(SpecError, match="fp16 needs a GPU"):
        pick_device(EngineSpec(precision="fp16"), 0)
    gpus(1)
    assert pick_device(EngineSpec(precision="fp16"), 0).type == "cuda"
