"""What the driver refuses before any worker starts."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from w2v2_ray import errors
from w2v2_ray.data.dataset import SpeechDataset
from w2v2_ray.data.mixture import open_mixture
from w2v2_ray.errors import CheckpointError, DatasetError, StorageError, UserError
from w2v2_ray.orchestration import launch as launching
from w2v2_ray.orchestration.launch import launch, run_folder, with_absolute_paths
from w2v2_ray.places.durable import write_text
from w2v2_ray.run.checkpoints.files import CheckpointManifest
from w2v2_ray.run.checkpoints.store import CheckpointStore
from w2v2_ray.run.folder import RunFolder, append_line, read_lines
from w2v2_ray.run.lock import run_lock
from w2v2_ray.spec.job import PretrainJob
from w2v2_ray.spec.loading import dump_job
from w2v2_ray.training.identity import run_identity


@pytest.fixture(autouse=True)
def started(monkeypatch: pytest.MonkeyPatch) -> list[PretrainJob]:
    """Stands in for Ray: the jobs that passed every check."""
    jobs: list[PretrainJob] = []
    monkeypatch.setattr(launching, "_train_with_ray", lambda job, run, address: jobs.append(job))
    return jobs


def save_checkpoint(job: PretrainJob) -> RunFolder:
    """What a run of this job leaves behind."""
    run = run_folder(job)
    run.create()
    write_text(run.spec, "as the run began")
    fingerprint = open_mixture([(ref.path, ref.repeat) for ref in job.data.train]).fingerprint
    manifest = CheckpointManifest(update=4, epoch=0, world_size=1, identity=run_identity(job, fingerprint))
    store = CheckpointStore(run.checkpoints, job.checkpoint, attempt="a", world_rank=0, world_size=1)
    store.save(manifest, lambda folder: (folder / "state.json").write_text("{}"))
    store.close()
    return run


def test_a_good_job_is_started_with_its_spec_written_down(tiny_job, started):
    job = tiny_job()
    summary = launch(job)
    assert started == [job.model_copy(update={"worker": job.worker.model_copy(update={"gpus": 0.0})})]
    assert summary.updates == job.updates
    assert summary.folder == run_folder(job).path
    assert "max_tokens: 40000" in run_folder(job).spec.read_text()
    assert [event["event"] for event in read_lines(run_folder(job).events)] == ["launch"]


def test_workers_are_given_absolute_paths(tiny_job, tiny_dataset, started, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tiny_dataset.parent)
    launch(tiny_job({"data.train": tiny_dataset.name, "data.cache_dir": "cache"}))
    (job,) = started
    assert job.data.train[0].path == str(tiny_dataset)
    assert job.data.cache_dir == str(tiny_dataset.parent / "cache")
    uri = tiny_job({"data.train": "s3://bucket/dataset"})
    assert with_absolute_paths(uri).data.train[0].path == "s3://bucket/dataset"


def test_a_run_that_exists_goes_on_by_default_and_is_refused_with_no_resume(tiny_job, started):
    run = save_checkpoint(tiny_job())
    launch(tiny_job())
    assert len(started) == 1
    with pytest.raises(StorageError, match=rf"{run.path}: this run exists; use another name"):
        launch(tiny_job(), resume=False)
    assert len(started) == 1


def test_a_run_that_only_logged_something_counts_as_existing(tiny_job, started):
    run = run_folder(tiny_job())
    run.create()
    append_line(run.metrics, {"update": 1})
    with pytest.raises(StorageError, match="this run exists"):
        launch(tiny_job(), resume=False)
    assert started == []


def test_no_resume_starts_a_run_that_does_not_exist(tiny_job, started):
    launch(tiny_job(), resume=False)
    assert len(started) == 1


def test_a_storage_path_of_an_unknown_scheme_is_refused_with_the_remedy(tiny_job):
    with pytest.raises(StorageError, match=r"nonsense://bucket/runs: cannot be opened .*use a local path or a URI"):
        launch(tiny_job(storage_path="nonsense://bucket/runs"))


def test_a_second_driver_is_refused(tiny_job, started):
    run = run_folder(tiny_job())
    run.create()
    with run_lock(run.path), pytest.raises(StorageError, match="is training this run"):
        launch(tiny_job())
    assert started == []
    assert not run.spec.exists()


@pytest.mark.parametrize("which", ["data.train", "data.validation"])
def test_an_altered_shard_is_named_before_training_starts(tiny_job, tiny_dataset, tmp_path: Path, started, which):
    shutil.copytree(tiny_dataset, tmp_path / "copy")
    shard = tmp_path / "copy" / "shard-00001.arrow"
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(content)
    with pytest.raises(DatasetError, match=r"copy/shard-00001\.arrow: is altered"):
        launch(tiny_job({which: str(tmp_path / "copy")}))
    shard.write_bytes(content[:-7])
    with pytest.raises(DatasetError, match=r"copy/shard-00001\.arrow: .*(truncated|bytes)"):
        launch(tiny_job({which: str(tmp_path / "copy")}))
    assert started == []
    assert not run_folder(tiny_job()).path.exists()


@pytest.mark.parametrize("which", ["data.train", "data.validation"])
def test_a_dataset_without_long_enough_utterances_is_refused(tiny_job, which, started, tiny_dataset):
    with pytest.raises(DatasetError, match=r"none of the 36 utterances has min_samples: 30000"):
        launch(tiny_job({"batch.min_samples": 30_000, "batch.max_samples": 32_000, which: str(tiny_dataset)}))
    assert started == []


def test_a_missing_dataset_is_named(tiny_job):
    with pytest.raises(DatasetError, match="nowhere"):
        launch(tiny_job({"data.train": "nowhere"}))


@pytest.mark.parametrize(
    ("changes", "named"),
    [({"seed": 2}, "another seed;"), ({"loss.negatives": 7, "batch.concat": 5}, "another batch, loss;")],
)
def test_another_spec_is_refused_before_it_overwrites_the_runs_own(tiny_job, started, changes: dict[str, Any], named):
    run = save_checkpoint(tiny_job())
    with pytest.raises(CheckpointError, match=named):
        launch(tiny_job(changes))
    assert run.spec.read_text() == "as the run began"
    assert started == []


def test_what_does_not_change_the_result_so_far_may_be_changed(tiny_job, started):
    save_checkpoint(tiny_job())
    launch(tiny_job({"updates": 12, "engine.zero_stage": 2, "checkpoint.every_updates": 5, "elastic.max_workers": 3}))
    assert len(started) == 1


def test_without_gpus_a_job_that_wants_one_is_refused_at_once_with_the_remedy(tiny_job, started, monkeypatch):
    monkeypatch.setattr(launching, "usable_gpus", lambda: 0)
    with pytest.raises(UserError, match=r"worker.gpus: 1: .* this machine has 0 GPUs .*--set worker.gpus=0"):
        launch(tiny_job({"worker.gpus": 1}))
    assert not started


@pytest.mark.parametrize(("there", "settled"), [(0, 0.0), (2, 1.0)])
def test_what_workers_compute_on_is_settled_once_and_written_down(tiny_job, started, monkeypatch, there, settled):
    monkeypatch.setattr(launching, "usable_gpus", lambda: there)
    job = tiny_job()
    launch(job)
    assert started[0].worker.gpus == settled
    (event,) = read_lines(run_folder(job).events)
    assert event["gpus"] == settled
    assert f"gpus: {settled}" in run_folder(job).spec.read_text()


def test_a_dead_address_is_refused_before_anything_is_written(tiny_job, started):
    job = tiny_job()
    with pytest.raises(UserError, match=r"--address 127\.0\.0\.1:1: no Ray cluster answers there"):
        launch(job, address="127.0.0.1:1")
    assert not run_folder(job).path.exists()
    assert not started


def test_a_changed_spec_is_an_event_and_is_said(tiny_job, started):
    job = tiny_job()
    launch(job)
    said: list[str] = []
    save_checkpoint(job)
    write_text(run_folder(job).spec, dump_job(job))
    launch(job.model_copy(update={"optim": job.optim.model_copy(update={"lr": 0.5})}), notify=said.append)
    (change,) = [
        e for e in read_lines(run_folder(job).events) if e["event"] == "spec_changed" and e["key"] == "optim.lr"
    ]
    assert (change["old"], change["new"]) == (job.optim.lr, 0.5)
    assert any("optim.lr" in line for line in said)


def test_the_error_a_worker_left_behind_is_raised_as_itself_once(tmp_path: Path):
    run, fatal = RunFolder(tmp_path), tmp_path / ".fatal.json"
    assert launching._fatal_error(run, fatal.name) is None
    write_text(fatal, '{"type": "CheckpointError", "message": "damaged"}')
    failure = launching._fatal_error(run, fatal.name)
    assert isinstance(failure, CheckpointError)
    assert failure.message == "damaged"
    assert launching._fatal_error(run, fatal.name) is None
    write_text(fatal, '{"type": "OfTheFuture", "message": "what"}')
    assert type(launching._fatal_error(run, fatal.name)) is errors.RunFailedError


def test_the_driver_opens_each_dataset_once_and_the_next_launch_anew(tiny_job, finetune_job, monkeypatch):
    opened: list[str] = []
    honest = SpeechDataset.open.__func__

    def counting(cls, uri, *rest):
        opened.append(str(uri))
        return honest(cls, uri, *rest)

    monkeypatch.setattr(SpeechDataset, "open", classmethod(counting))
    job = tiny_job()
    for launches in (1, 2):
        launch(job)
        assert opened.count(job.data.train[0].path) == opened.count(job.data.validation[0].path) == launches
    opened.clear()
    tuning = finetune_job(name="tuned")  # its training and held-out data are one dataset
    launch(tuning)
    assert opened == [tuning.data.train[0].path]
