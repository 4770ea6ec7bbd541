"""A run with nothing left to do is known from its folder."""

from __future__ import annotations

import pytest

from w2v2_ray.orchestration.finished import finished_at, updates_made
from w2v2_ray.run.checkpoints.files import CheckpointManifest
from w2v2_ray.run.checkpoints.store import CheckpointStore
from w2v2_ray.run.folder import RunFolder
from w2v2_ray.spec.finetune import EarlyStoppingSpec


@pytest.fixture
def run(tmp_path, tiny_job):
    """A run that ended at update 6."""
    run = RunFolder(tmp_path / "run")
    run.create()
    manifest = CheckpointManifest(update=6, epoch=0, world_size=1, identity={})
    store = CheckpointStore(run.checkpoints, tiny_job().checkpoint, attempt="a", world_rank=0, world_size=1)
    store.save(manifest, lambda folder: (folder / "state.json").write_text("{}"))
    store.close()
    run.event("end", update=6)
    return run


@pytest.mark.parametrize(("updates", "end"), [(6, 6), (4, 6), (7, None)])
def test_it_is_finished_when_no_more_updates_are_asked_for(run, tiny_job, updates, end):
    assert finished_at(tiny_job({"updates": updates}), run) == end
    assert updates_made(run) == 6


def test_a_run_that_never_told_its_end_is_not_finished(run, tiny_job):
    run.events.unlink()
    assert finished_at(tiny_job(), run) is None


def test_a_damaged_last_checkpoint_is_left_to_the_workers(run, tiny_job):
    (state,) = run.checkpoints.rglob("state.json")
    state.write_text("{]")
    assert finished_at(tiny_job(), run) is None


def test_a_run_that_stopped_early_is_finished_until_its_patience_is_raised(run, finetune_job):
    for update, loss in ((2, 1.0), (4, 2.0), (6, 3.0)):
        run.event("validation", update=update, loss=loss)
    job = finetune_job(updates=100)
    assert finished_at(job, run) is None
    for patience, end in ((2, 6), (3, None)):
        stopping = job.model_copy(update={"early_stopping": EarlyStoppingSpec(patience=patience)})
        assert finished_at(stopping, run) == end


def test_an_empty_folder_has_made_nothing(tmp_path, tiny_job):
    run = RunFolder(tmp_path / "new")
    run.create()
    assert finished_at(tiny_job(), run) is None
    assert updates_made(run) == 0
