"""Addresses of Ray clusters in forms that lead nowhere: one message within seconds, in every command that joins Ray."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from odd.answer import Answer
from odd.attempt import Attempt, Recipe, pick
from odd.spec_files import base, flow
from odd.verdict import Verdict, refused, wrong_success
from odd.workbench import Workbench

_LISTENING: list[socket.socket] = []
"""Sockets that accept and say nothing, kept open for as long as the process lives."""


def _silent_port() -> int:
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    listening.listen(64)
    _LISTENING.append(listening)
    return int(listening.getsockname()[1])


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _nowhere(rng: np.random.Generator, folder: Path, bench: Workbench) -> Attempt:
    dead, silent = _free_port(), _silent_port()
    address = pick(
        rng,
        (
            *(
                f"127.0.0.1:{dead}",
                f"localhost:{dead}",
                f"127.0.0.1:{silent}",
                f"[::1]:{dead}",
                f"ray://127.0.0.1:{dead}",
            ),
            *("127.0.0.1", "127.0.0.1:99999", "127.0.0.1:-1", "127.0.0.1:port", ":6379", "127.0.0.1:", "nonsense"),
            *(
                "no-such-host.invalid:6379",
                f"http://127.0.0.1:{dead}",
                f"http://127.0.0.1:{silent}",
                "ray://",
                "tcp://x:1",
            ),
            *(
                "127.0.0.1:6379:1",
                "1.2.3.4.5:6",
                "a b:6379",
                "héllo:6379",
                "/tmp/ray",
                "127.0.0.1;6379",
                "-1",
                "0.0.0.0:0",
            ),
        ),
    )
    document = {**base(folder, bench), "updates": 30}
    (folder / "job.yaml").write_text(flow(document))
    how = pick(rng, ("train --address", "train", "train", "prepare", "evaluate", "tune"))
    model, data = str(bench.recogniser), str(bench.dataset)
    sweep = {"kind": "sweep", "name": "s", "base": "job.yaml", "space": "space.yaml", "storage_path": "runs"}
    if how == "tune":
        (folder / "sweep.yaml").write_text(flow(sweep))
        space = {"kind": "space", "name": "s", "parameters": {"seed": {"values": [1, 2]}}}
        (folder / "space.yaml").write_text(flow(space))
    command: tuple[str, ...] = {
        "train --address": ("train", "job.yaml", "--address", address),
        "train": ("train", "job.yaml"),
        "prepare": ("prepare", str(bench.root / "source"), "--out", "out", "--jobs", "2", "--shard-mb", "0.05"),
        "evaluate": ("evaluate", model, data, "--workers", "2"),
        "tune": ("tune", "sweep.yaml"),
    }[how]
    environment = {} if how == "train --address" else {"RAY_ADDRESS": address}

    def judge(answers: Sequence[Answer]) -> Verdict:
        (answer,) = answers
        return refused(answer) if answer.exit_code else wrong_success("joined a cluster that is not there")

    return Attempt(f"{how} with {address}", (command,), judge, environment, apart=True, limit_s=60.0)


RECIPES: tuple[Recipe, ...] = (_nowhere,)
