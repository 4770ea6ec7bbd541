"""The training loop when something goes wrong: full disks, drained nodes, NaN. Without Ray."""

from __future__ import annotations

import math
import re
from pathlib import Path

import pytest
import torch
from elastic_cases import train_asked, train_poisoned, train_until_drained, train_with_full_disk
from engine_worlds import Worlds
from trainer_cases import events_of, folder_of, ledger_of, metrics_of, saved_updates, train

from w2v2_ray.engine.training_state import read_full_weights
from w2v2_ray.run.checkpoints.files import list_checkpoints, list_states, read_manifest
from w2v2_ray.run.folder import read_lines
from w2v2_ray.spec.job import PretrainJob

SNAPSHOTS = {"checkpoint.snapshot_updates": 1, "checkpoint.snapshot_s": 0.0, "checkpoint.every_updates": 100}
WATCHED = {**SNAPSHOTS, "watchdog.non_finite.patience_updates": 3, "data.validation": [], "updates": 12}


def document(job: PretrainJob) -> dict[str, object]:
    return job.model_dump(mode="json")


def updates_of(job: PretrainJob) -> list[int]:
    return [record["update"] for record in metrics_of(job)]


def losses_of(job: PretrainJob) -> list[float]:
    return [record["loss"] for record in metrics_of(job)]


def weights_of(job: PretrainJob) -> dict[str, torch.Tensor]:
    return read_full_weights(list_checkpoints(folder_of(job).checkpoints)[-1])


@pytest.fixture(scope="module")
def undisturbed(worlds: Worlds, make_tiny_job, tmp_path_factory: pytest.TempPathFactory) -> PretrainJob:
    job: PretrainJob = make_tiny_job(tmp_path_factory.mktemp("calm"), {"data.validation": [], "updates": 12})
    worlds[2].run(train, document(job))
    return job


def assert_undisturbed(job: PretrainJob, undisturbed: PretrainJob) -> None:
    assert losses_of(job) == losses_of(undisturbed)
    assert ledger_of(job) == ledger_of(undisturbed)
    for name, weight in weights_of(undisturbed).items():
        assert torch.equal(weights_of(job)[name], weight), name


def test_snapshots_change_nothing_and_only_the_newest_two_are_kept(worlds: Worlds, tiny_job, undisturbed):
    job = tiny_job({**SNAPSHOTS, "data.validation": [], "updates": 12})
    worlds[2].run(train, document(job))
    assert_undisturbed(job, undisturbed)
    states = [path.name for path in list_states(folder_of(job).checkpoints)]
    assert states[-1] == "update-00000012"
    assert len(states) == 3
    assert all(name.startswith("snapshot-") for name in states[:-1])
    assert events_of(job, "snapshot")
    assert not list(folder_of(job).checkpoints.glob(".writing*"))


@pytest.mark.parametrize("rank", [0, 1])
def test_a_full_disk_on_one_worker_costs_a_save_and_not_the_run(worlds: Worlds, tiny_job, undisturbed, rank: int):
    job = tiny_job({"data.validation": [], "updates": 12, "checkpoint.every_updates": 3})
    worlds[2].run(train_with_full_disk, document(job), [1], rank)
    (event,) = events_of(job, "checkpoint_failed")
    assert event["update"] == 6
    assert "No space left on device" in event["reason"]
    assert saved_updates(job) == [9, 12]
    assert not list(folder_of(job).checkpoints.glob(".writing*"))
    assert_undisturbed(job, undisturbed)


def test_a_disk_that_stays_full_ends_the_run_with_one_clear_error(worlds: Worlds, tiny_job):
    job = tiny_job({"data.validation": [], "checkpoint.every_updates": 4, "failure.storage_patience_s": 0.0})
    wanted = r"RunFailedError: .*checkpoints: the last save of the run failed.*No space left on device"
    with pytest.raises(AssertionError, match=wanted):
        worlds[2].run(train_with_full_disk, document(job), list(range(1, 100)), 1)
    assert saved_updates(job) == [4]
    worlds[2].run(train, document(job))
    assert updates_of(job) == [1, 2, 3, 4, 5, 6]


def test_the_last_save_is_tried_again_within_the_patience(worlds: Worlds, tiny_job):
    job = tiny_job({"data.validation": [], "checkpoint.every_updates": 100, "failure.storage_patience_s": 0.5})
    worlds[2].run(train_with_full_disk, document(job), [0], 0)
    assert saved_updates(job) == [6]
    assert [event["update"] for event in events_of(job, "checkpoint_failed")] == [6]


def test_a_drain_heard_of_by_one_worker_makes_all_save_and_leave_at_once(worlds: Worlds, tiny_job, undisturbed):
    job = tiny_job({"data.validation": [], "updates": 12, "checkpoint.every_updates": 100})
    assert worlds[2].run(train_until_drained, document(job), 5) == [5, 5]
    assert [path.name for path in list_states(folder_of(job).checkpoints)] == ["snapshot-00000005"]
    worlds[2].run(train, document(job))
    (event,) = events_of(job, "recovered")
    assert (event["update"], event["updates_recomputed"]) == (6, 0)
    assert_undisturbed(job, undisturbed)


def test_a_state_asked_for_is_saved_at_that_update(worlds: Worlds, tiny_job):
    job = tiny_job({"data.validation": [], "checkpoint.every_updates": 100})
    worlds[2].run(train_asked, document(job), 3, 5)
    assert [event["update"] for event in events_of(job, "snapshot")] == [3]
    worlds[2].run(train, document(job))
    (event,) = events_of(job, "recovered")
    assert (event["update"], event["updates_recomputed"]) == (4, 2)
    assert event["seconds_to_next_update"] > 0


def test_nan_losses_roll_the_run_back_and_pass_over_the_offending_updates(worlds: Worlds, tiny_job):
    jobs = [tiny_job({**WATCHED, "name": f"workers-{size}"}) for size in (1, 2)]
    for size, job in zip((1, 2), jobs, strict=True):
        worlds[size].run(train_poisoned, document(job), [5, 6, 7], math.nan)
        (rollback,) = events_of(job, "rollback")
        assert (rollback["check"], rollback["update"]) == ("non_finite", 7)
        back_to = rollback["to_update"]
        assert back_to < 4
        assert updates_of(job) == [1, 2, 3, 8, 9, 10, 11, 12]
        assert all(math.isfinite(loss) for loss in losses_of(job))
        rates = {record["update"]: record["lr"] for record in metrics_of(job)}
        assert rates[8] == pytest.approx(0.5 * 1e-3 * 4 / 10)
        assert [event["action"] for event in events_of(job, "watchdog")][-1] == "rollback"
        assert read_manifest(list_checkpoints(folder_of(job).checkpoints)[-1]).rollbacks == 1
    if events_of(jobs[0], "rollback")[0]["to_update"] == events_of(jobs[1], "rollback")[0]["to_update"]:
        assert losses_of(jobs[0]) == pytest.approx(losses_of(jobs[1]), rel=1e-5)


def test_a_rollback_is_remembered_by_a_run_that_is_stopped_after_it(worlds: Worlds, tiny_job):
    whole, halved = tiny_job({**WATCHED, "name": "whole"}), tiny_job({**WATCHED, "name": "halved"})
    worlds[1].run(train_poisoned, document(whole), [5, 6, 7], math.nan)
    hooks = worlds[1].run(train_with_stop, document(halved), [5, 6, 7], 9)
    assert hooks[0].updates[-1] == 9
    worlds[1].run(train, document(halved))
    assert updates_of(halved) == updates_of(whole) == [1, 2, 3, 8, 9, 10, 11, 12]
    back_to = [events_of(job, "rollback")[0]["to_update"] for job in (whole, halved)]
    if back_to[0] == back_to[1]:  # the newest state that had been written in time
        assert losses_of(halved) == pytest.approx(losses_of(whole), rel=1e-6)


def train_with_stop(job: dict[str, object], updates: list[int], stop_at: int):
    return train_poisoned(job, updates, math.nan, stop_at=stop_at)


def test_a_run_that_falls_ill_again_and_again_stops_with_an_explanation(worlds: Worlds, tiny_job):
    job = tiny_job({**WATCHED, "watchdog.max_rollbacks": 1, "updates": 14})
    with pytest.raises(AssertionError, match=r"RunFailedError: watchdog \(non_finite\): .*max_rollbacks: 1 is used up"):
        worlds[2].run(train_poisoned, document(job), [4, 5, 6, 9, 10, 11, 12], math.nan)
    assert len(events_of(job, "rollback")) == 1
    assert events_of(job, "watchdog")[-1]["action"] == "stop"


def test_a_check_set_to_stop_stops_and_one_set_to_warn_only_tells(worlds: Worlds, tiny_job):
    stopped = tiny_job({**WATCHED, "watchdog.non_finite.action": "stop", "name": "stopped"})
    with pytest.raises(AssertionError, match=r"RunFailedError: watchdog \(non_finite\)"):
        worlds[2].run(train_poisoned, document(stopped), [5, 6, 7], math.nan)
    warned = tiny_job({**WATCHED, "watchdog.non_finite.action": "warn", "name": "warned"})
    worlds[2].run(train_poisoned, document(warned), [5, 6, 7], math.nan)
    assert [event["action"] for event in events_of(warned, "watchdog")] == ["warn"]
    assert updates_of(warned) == list(range(1, 13))


def test_collapsed_figures_reach_the_watchdog_from_the_trainer(worlds: Worlds, tiny_job):
    """A loss at zero with accuracy 1 is what a solved task looks like; here every accuracy counts as solved."""
    changes = {"watchdog.trivial_solution.patience_updates": 4, "watchdog.trivial_solution.accuracy": 0.0}
    job = tiny_job({**WATCHED, **changes, "watchdog.trivial_solution.loss_share": 1.0})
    with pytest.raises(AssertionError, match=r"RunFailedError: watchdog \(trivial_solution\)"):
        worlds[1].run(train_poisoned, document(job), list(range(1, 13)), 1e-3)
    assert updates_of(job)[-1] == 4


def test_without_any_state_to_go_back_to_the_run_stops_and_says_how_to_have_one(worlds: Worlds, tiny_job):
    job = tiny_job({**WATCHED, "checkpoint.snapshot_updates": None})
    with pytest.raises(AssertionError, match=r"RunFailedError: watchdog .*set checkpoint\.snapshot_updates"):
        worlds[1].run(train_poisoned, document(job), [2, 3, 4], math.nan)


def test_a_superseded_attempt_can_harm_neither_metrics_nor_checkpoints(tiny_job, tmp_path: Path):
    from w2v2_ray.run.checkpoints.fence import Fence, SupersededError
    from w2v2_ray.run.checkpoints.files import CheckpointManifest
    from w2v2_ray.run.checkpoints.store import CheckpointStore
    from w2v2_ray.training.recorder import Recorder

    job = tiny_job()
    run = folder_of(job)
    run.create()
    old = Fence.take(run.notes)
    zombie = Recorder(run, job.logging, 0, old)
    zombie.metrics({"update": 1})
    store = CheckpointStore(
        run.checkpoints, job.checkpoint, attempt=old.token, world_rank=0, world_size=1, may_commit=old.holds
    )
    new = Fence.take(run.notes)
    successor = Recorder(run, job.logging, 1, new)
    successor.metrics({"update": 2})
    with pytest.raises(SupersededError, match="a newer attempt"):
        zombie.metrics({"update": 2})
    zombie.samples(2, [(0, "a")])  # it was stopped between the check and the write
    store.save(CheckpointManifest(9, 0, 1, {}), lambda folder: (folder / "state.json").write_text("{}"))
    with pytest.raises(SupersededError):
        store.wait()
    successor.metrics({"update": 3})
    successor.close()
    zombie.close()
    assert [record["update"] for record in read_lines(run.metrics)] == [1, 2, 3]
    assert list(read_lines(run.samples)) == []
    assert list(run.checkpoints.iterdir()) == []
    assert re.fullmatch(r"[0-9a-f]{8}", new.token)
