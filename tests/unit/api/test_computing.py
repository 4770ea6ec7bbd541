from __future__ import annotations

import pytest

from w2v2_ray.api.computing import computes_on


@pytest.mark.parametrize(
    ("changes", "seen", "usable", "says"),
    [
        ({}, 0, 0, "CPU (no GPU on this machine), fp32"),
        ({}, 2, 0, "CPU (2 GPUs here, but PyTorch was built without CUDA), fp32"),
        ({}, 1, 1, "GPU, 1 a worker (worker.gpus: auto; this machine has 1 GPU), fp32"),
        ({"worker.gpus": 0}, 2, 2, "CPU (worker.gpus: 0; GPUs of this machine that stay unused: 2), fp32"),
        ({"engine.device": "cpu"}, 1, 1, "CPU (engine.device: cpu; GPUs of this machine that stay unused: 1), fp32"),
        ({"engine.precision": "bf16"}, 0, 0, "CPU (no GPU on this machine), bf16 multiplied in fp32"),
        ({"engine.precision": "bf16"}, 1, 1, "GPU, 1 a worker (worker.gpus: auto; this machine has 1 GPU), bf16"),
        ({"worker.gpus": 2}, 2, 2, "GPU, 2 a worker, fp32"),
        (
            {"worker.gpus": 1, "elastic.min_workers": 2, "elastic.max_workers": 2},
            1,
            1,
            "GPU, 1 a worker, fp32; this machine has 1 that PyTorch can use, so train on a cluster, or with "
            "--set worker.gpus=0",
        ),
    ],
)
def test_what_a_job_computes_on_is_said_in_a_line(tiny_job, changes, seen, usable, says):
    assert computes_on(tiny_job(changes), seen, usable, bf16=False) == says
