"""Runs on an object store: the same losses, nothing lost with a node, states that exist whole or not at all."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from threading import Timer
from typing import Any

import pytest
from engine_worlds import Worlds
from remote_cases import train_remotely, view_of
from trainer_cases import ledger_of, metrics_of, train

from w2v2_ray.places.storage import locate
from w2v2_ray.run.checkpoints.files import list_states, read_manifest, verify
from w2v2_ray.run.folder import RunFolder, read_lines
from w2v2_ray.run.names import ATTEMPT
from w2v2_ray.spec.job import PretrainJob

KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION", "AWS_EC2_METADATA_DISABLED",
        "AWS_ENDPOINT_URL", "W2V2_RAY_STORAGE_PATIENCE_S")  # fmt: skip
QUICK = {"data.validation": [], "checkpoint.snapshot_updates": 1, "checkpoint.snapshot_s": 0.0}


@pytest.fixture
def remote_job(s3: str, tiny_job):
    def make(changes: dict[str, Any] | None = None, **more: Any) -> PretrainJob:
        return tiny_job({**QUICK, "storage_path": f"{s3}/runs", **(changes or {})}, **more)

    return make


def run_on(worlds: Worlds, size: int, job: PretrainJob, nodes: Path, *more: Any) -> list[list[int]]:
    environment = {name: os.environ[name] for name in KEYS if name in os.environ}
    return worlds[size].run(train_remotely, job.model_dump(mode="json"), environment, str(nodes), *more)


def events_of(run: RunFolder, name: str) -> list[dict[str, Any]]:
    return [event for event in read_lines(run.events) if event["event"] == name]


def ledger(run: RunFolder) -> dict[tuple[int, int], list[str]]:
    return {(r["update"], r["epoch"]): sorted(r["utterances"]) for r in read_lines(run.samples)}


def test_losses_and_utterances_are_those_of_a_local_run_though_every_node_is_lost(
    worlds: Worlds, remote_job, tiny_job, tmp_path: Path
):
    job = remote_job(updates=9)
    run_on(worlds, 2, job, tmp_path / "first", 6)
    while (tmp_path / "first").exists():
        shutil.rmtree(tmp_path / "first", ignore_errors=True)  # an interrupted worker may be writing still
    made = run_on(worlds, 3, job, tmp_path / "second")
    run = view_of(job)
    resumed = events_of(run, "resume")[0]["update"]
    assert 2 <= resumed < 6
    assert made[0] == list(range(resumed + 1, 10))
    local = tiny_job({"data.validation": [], "name": "local"}, updates=9)
    worlds[1].run(train, local.model_dump(mode="json"))
    records = list(read_lines(run.metrics))
    assert [record["update"] for record in records] == list(range(1, 10))
    assert [r["loss"] for r in records] == pytest.approx([r["loss"] for r in metrics_of(local)], rel=1e-6)
    assert ledger(run) == {key: sorted(ids) for key, ids in ledger_of(local).items()}
    assert events_of(run, "end")[-1]["update"] == 9


def test_old_states_are_deleted_on_the_store_and_a_node_keeps_none_of_what_it_wrote(
    worlds: Worlds, remote_job, tmp_path: Path
):
    job = remote_job(updates=8)
    run_on(worlds, 2, job, tmp_path / "nodes")
    run = view_of(job)
    states = [path.name for path in list_states(run.checkpoints)]
    assert [name for name in states if name.startswith("update")] == ["update-00000006", "update-00000008"]
    assert len(states) <= 5
    files = {file.name for file in (locate(job.storage_path) / "run" / "checkpoints").files()}
    manifests = {f"{name}/checkpoint.json" for name in states}
    listed = {
        f"{name}/{manifest.folder}/{file}"
        for name in states
        for manifest in [read_manifest(run.checkpoints / name)]
        for file in manifest.files
    }
    assert files == manifests | listed
    assert not list((tmp_path / "nodes").rglob("*.safetensors"))
    newest = run.fetch_state(run.checkpoints / "update-00000008")
    assert verify(newest).update == 8
    run.fetch_state(run.checkpoints / "update-00000006")
    assert (newest / "state.json").exists()  # another command may be reading it


def test_a_damaged_state_is_told_of_and_the_one_before_it_resumed(worlds: Worlds, remote_job, tmp_path: Path):
    job = remote_job({"checkpoint.snapshot_updates": None}, updates=6)
    run_on(worlds, 1, job, tmp_path / "nodes", 5)
    run = view_of(job)
    newest = list_states(run.checkpoints)[-1]
    manifest = read_manifest(newest)
    place = locate(job.storage_path) / "run" / "checkpoints" / newest.name / manifest.folder
    file = "state-00000.safetensors"
    assert file in manifest.files
    content = bytearray((place / file).read_bytes())
    content[-9] ^= 1
    (place / file).write_bytes(bytes(content))
    (made,) = run_on(worlds, 1, job, tmp_path / "elsewhere")
    run = view_of(job)
    (damaged,) = events_of(run, "checkpoint_damaged")
    assert damaged["checkpoint"] == newest.name
    assert "its checksum differs" in damaged["reason"]
    assert made == list(range(manifest.update - 1, 7))
    assert [record["update"] for record in read_lines(run.metrics)] == list(range(1, 7))


def test_what_has_no_manifest_does_not_exist_and_is_swept_away(worlds: Worlds, remote_job, tmp_path: Path):
    job = remote_job({"checkpoint.snapshot_updates": None}, updates=3)
    left = locate(job.storage_path) / "run" / "checkpoints" / "update-00000099" / "dead-000001"
    (left / "state-00000.safetensors").write_bytes(b"half")
    (left / "rank-00000.json").write_bytes(b"{}")
    (made,) = run_on(worlds, 1, job, tmp_path / "nodes")
    assert made == [1, 2, 3]
    assert left.files() == []


def test_an_outage_fails_saves_but_not_the_run_and_is_made_up_for(
    worlds: Worlds, flaky, remote_job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("W2V2_RAY_STORAGE_PATIENCE_S", "0.2")
    flag = tmp_path / "away"
    flaky.fault = lambda method, path, count: 503 if flag.exists() else None
    job = remote_job({"checkpoint.snapshot_updates": 4, "checkpoint.every_updates": 1000}, updates=40)
    made = run_on(worlds, 2, job, tmp_path / "nodes", None, str(flag))
    assert made[0] == list(range(1, 41))
    monkeypatch.delenv("W2V2_RAY_STORAGE_PATIENCE_S")
    run = view_of(job)
    assert events_of(run, "checkpoint_failed")
    assert "503" in events_of(run, "checkpoint_failed")[0]["reason"]
    assert [record["update"] for record in read_lines(run.metrics)] == list(range(1, 41))
    newest = list_states(run.checkpoints)[-1]
    assert verify(run.fetch_state(newest)).update == 40


def test_an_attempt_that_was_taken_over_commits_and_puts_nothing_more(worlds: Worlds, remote_job, tmp_path: Path):
    job = remote_job(updates=5000)
    run = locate(job.storage_path) / "run"

    taking_over = Timer(4.0, (run / ATTEMPT).write_bytes, [b'{"attempt": "newer"}'])
    taking_over.start()
    with pytest.raises(AssertionError, match=r"SupersededError: .*a newer attempt"):
        run_on(worlds, 1, job, tmp_path / "nodes")
    taking_over.join()
    last = view_of(job).state_names()[-1]
    (run / "metrics.jsonl").write_bytes(b'{"update": 1}\n')
    assert view_of(job).state_names()[-1] == last
    assert (run / "metrics.jsonl").read_bytes() == b'{"update": 1}\n'
