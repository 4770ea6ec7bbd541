from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import engine_cases as cases
import pytest
from engine_worlds import Worlds

from w2v2_ray.engine import distributed


@pytest.mark.parametrize("size", [1, 3])
def test_collectives_agree_on_every_rank(worlds: Worlds, size: int) -> None:
    for rank, found in enumerate(worlds[size].run(cases.collectives_case)):
        assert found["gathered"] == [f"rank {rank}" for rank in range(size)]
        assert found["broadcast"] == {"from": 0}
        assert found["world"] == (rank, size)
        assert found["local_size"] is None


def test_without_a_process_group_the_helpers_work_alone() -> None:
    assert distributed.gather_objects("x") == ["x"]
    assert distributed.broadcast_object(3) == 3
    assert (distributed.world_rank(), distributed.world_size()) == (0, 1)
    distributed.barrier()


ALONE = """
import torch
from w2v2_ray.engine.distributed import destroy_process_group, init_process_group
for _ in range(2):
    print(init_process_group(torch.device("cpu")))
    destroy_process_group()
"""


def test_a_single_process_needs_no_launcher_and_leaves_nothing_behind() -> None:
    shared_memory = Path("/dev/shm")
    before = set(shared_memory.glob("deepspeed*"))
    environment = {k: v for k, v in os.environ.items() if k not in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "LOCAL_RANK")}
    done = subprocess.run(
        [sys.executable, "-c", ALONE],
        env=environment | {"LOCAL_SIZE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["WorldInfo(world_rank=0, world_size=1, local_rank=0)"] * 2
    assert set(shared_memory.glob("deepspeed*")) == before
