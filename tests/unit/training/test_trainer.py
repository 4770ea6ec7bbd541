"""The training loop without Ray: exact resume, equal results for any number of workers, every utterance once."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from engine_worlds import World, Worlds
from trainer_cases import (
    Hooks,
    events_of,
    folder_of,
    ledger_of,
    metrics_of,
    saved_updates,
    train,
    train_with_teacher,
    validate_twice,
)

from w2v2_ray.engine.training_state import read_extra_state, read_full_weights
from w2v2_ray.errors import CheckpointError
from w2v2_ray.run.checkpoints.files import MANIFEST, list_checkpoints, read_manifest
from w2v2_ray.spec.job import PretrainJob

CLOCKED = {"frames_per_s", "masked_frames_per_s", "audio_s_per_s", "update_s", "data_wait_fraction", "time"}
FIGURES = ("loss", "loss_contrastive", "accuracy", "prob_perplexity", "code_perplexity", "grad_norm", "masked_frames")


def run(world: World, job: PretrainJob, **how: Any) -> list[Hooks]:
    return world.run(_train_with, job.model_dump(mode="json"), how)


def _train_with(job: dict[str, Any], how: dict[str, Any]) -> Hooks:
    return train(job, **how)


def weights_of(job: PretrainJob) -> dict[str, torch.Tensor]:
    return read_full_weights(list_checkpoints(folder_of(job).checkpoints)[-1])


def exact(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What must not change by a bit when a run is repeated."""
    return [
        {k: v for k, v in record.items() if k not in CLOCKED | {"peak_memory_bytes", "world_size"}}
        for record in records
    ]


def assert_same_run(first: PretrainJob, second: PretrainJob) -> None:
    """Not a bit of the curve, the held-out figures or the weights differs."""
    assert len(metrics_of(first)) == len(metrics_of(second)) == first.updates
    assert exact(metrics_of(first)) == exact(metrics_of(second))
    assert ledger_of(first) == ledger_of(second)
    held_out = [
        [
            {k: v for k, v in event.items() if k not in ("time", "validation_s")}
            for event in events_of(job, "validation")
        ]
        for job in (first, second)
    ]
    assert held_out[0] == held_out[1]
    weights, expected = weights_of(second), weights_of(first)
    assert list(weights) == list(expected)
    for name, weight in expected.items():
        assert torch.equal(weights[name], weight), name


@pytest.fixture(scope="module")
def reference(worlds: Worlds, make_tiny_job, tmp_path_factory: pytest.TempPathFactory) -> PretrainJob:
    """A run of one worker that was never interrupted."""
    job: PretrainJob = make_tiny_job(tmp_path_factory.mktemp("reference"))
    run(worlds[1], job)
    return job


def test_every_update_is_written_once_with_all_its_figures(reference: PretrainJob):
    records = metrics_of(reference)
    assert [record["update"] for record in records] == [1, 2, 3, 4, 5, 6]
    wanted = {"epoch", "loss", "world_size", "lr", "grad_norm", *CLOCKED, "peak_memory_bytes", *FIGURES}
    for record in records:
        assert wanted <= set(record)
        assert record["world_size"] == 1
        assert 0 <= record["data_wait_fraction"] <= 1
        assert record["masked_frames"] > 0
        assert record["grad_norm"] > 0
    assert [record["lr"] for record in records] == pytest.approx([5e-4, 1e-3, 7.5e-4, 5e-4, 2.5e-4, 0.0])
    assert [record["gumbel_temperature"] for record in records] == pytest.approx([2 * 0.9**n for n in range(6)])
    assert [event["update"] for event in events_of(reference, "validation")] == [3, 6]
    assert [len(events_of(reference, name)) for name in ("start", "end", "resume")] == [1, 1, 0]
    assert [event["update"] for event in events_of(reference, "checkpoint")] == [2, 4, 6]
    assert saved_updates(reference) == [4, 6]


def test_every_utterance_is_used_exactly_once_per_epoch(reference: PretrainJob):
    used: dict[int, list[str]] = {}
    for (_, epoch), utterances in ledger_of(reference).items():
        used.setdefault(epoch, []).extend(utterances)
    whole = {f"{number:02d}" for number in range(2, 36)}  # 00 and 01 are shorter than min_samples
    finished = [epoch for epoch in used if epoch < max(used)]
    assert finished
    for epoch in finished:
        assert len(used[epoch]) == 34
        assert set(used[epoch]) == whole
    last = Counter(used[max(used)])
    assert max(last.values()) == 1
    assert set(last) <= whole


@pytest.mark.parametrize("killed_at", [1, 5])
def test_a_killed_run_goes_on_at_its_checkpoint_and_ends_bit_for_bit_alike(
    worlds: Worlds, reference: PretrainJob, tiny_job, tmp_path: Path, killed_at: int
):
    job = tiny_job()
    world = World(1, tmp_path)
    with pytest.raises((EOFError, ConnectionError)):
        run(world, job, kill_at=killed_at)
    world.close()
    assert [record["update"] for record in metrics_of(job)] == list(range(1, killed_at + 1))
    (hooks,) = run(worlds[1], job)
    assert hooks.updates == list(range(5 if killed_at == 5 else 1, 7))
    assert_same_run(reference, job)


@pytest.mark.parametrize("workers", [2, 3])
def test_the_result_does_not_depend_on_the_number_of_workers(worlds: Worlds, reference, tiny_job, workers: int):
    job = tiny_job()
    run(worlds[workers], job)
    assert {record["world_size"] for record in metrics_of(job)} == {workers}
    assert_same_run(reference, job)


def test_a_run_may_go_on_with_other_numbers_of_workers(worlds: Worlds, reference: PretrainJob, tiny_job):
    job = tiny_job()
    run(worlds[3], job, stop_at=3)
    run(worlds[1], job, stop_at=5)
    run(worlds[2], job)
    assert [record["world_size"] for record in metrics_of(job)] == [3, 3, 1, 1, 2, 2]
    assert [event["update"] for event in events_of(job, "resume")] == [2, 4]
    assert_same_run(reference, job)


def test_zero_stage_0_gives_what_stage_1_gives(worlds: Worlds, reference: PretrainJob, tiny_job):
    job = tiny_job({"engine.zero_stage": 0})
    run(worlds[2], job)
    assert_same_run(reference, job)


def test_stages_2_and_3_do_not_depend_on_the_workers_either(worlds: Worlds, tiny_job):
    alone = tiny_job({"engine.zero_stage": 2, "name": "alone"})
    run(worlds[1], alone)
    for stage in (2, 3):
        job = tiny_job({"engine.zero_stage": stage, "name": f"stage-{stage}"})
        run(worlds[2], job)
        # These stages add up in an order that depends on the number of workers.
        for one, other in zip(metrics_of(alone), metrics_of(job), strict=True):
            for name in FIGURES:
                assert one[name] == pytest.approx(other[name], rel=1e-5), f"{name} of update {one['update']}"
        assert ledger_of(alone) == ledger_of(job)


def test_validation_gives_the_same_figures_each_time_and_changes_nothing(worlds: Worlds, reference, tiny_job):
    job = tiny_job()
    (figures,) = worlds[1].run(validate_twice, job.model_dump(mode="json"))
    first, again, trained = figures
    assert first == again
    assert trained["loss"] != first["loss"]
    assert exact(metrics_of(job)) == exact(metrics_of(reference))
    last = events_of(job, "validation")[-1]
    assert {name: last[name] for name in trained} == trained


def test_concatenated_sub_batches_use_every_utterance_once_per_epoch_too(worlds: Worlds, tiny_job):
    job = tiny_job({"batch.concat": 5})
    run(worlds[1], job)
    used: dict[int, Counter[str]] = {}
    for (_, epoch), utterances in ledger_of(job).items():
        used.setdefault(epoch, Counter()).update(utterances)
    assert len(metrics_of(job)) == 6
    for epoch in used:
        if epoch < max(used):
            assert used[epoch] == Counter({f"{number:02d}": 1 for number in range(2, 36)})


def test_concatenating_changes_the_draws_and_leaves_the_loss_on_its_scale(worlds: Worlds, tiny_job):
    jobs = [tiny_job({"batch.concat": concat, "name": f"concat-{concat}", "updates": 3}) for concat in (1, 5)]
    for job in jobs:
        run(worlds[1], job)
    for one, other in zip(*(metrics_of(job) for job in jobs), strict=True):
        assert one["loss"] == pytest.approx(other["loss"], rel=0.2)
        assert one["loss"] != other["loss"]


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"seed": 2}, "another seed;"),
        ({"batch.sub_batches_per_update": 4}, "another batch;"),
        ({"batch.concat": 5}, "another batch;"),
        ({"model.encoder.dropout": 0.2}, "another model;"),
        ({"loss.negatives": 6}, "another loss;"),
        ({"data.train": "held-out"}, "another dataset;"),
        ({"data.train": "twice"}, "another dataset;"),
    ],
)
def test_another_seed_batch_model_or_dataset_is_refused(
    worlds: Worlds, reference, tiny_job, tiny_dataset, tiny_validation, changes: dict[str, Any], named: str
):
    data = {"held-out": str(tiny_validation), "twice": {"path": str(tiny_dataset), "repeat": 2}}
    changes = {path: data.get(value, value) if path == "data.train" else value for path, value in changes.items()}
    job = tiny_job({"storage_path": reference.storage_path, "name": reference.name, "updates": 8, **changes})
    before = metrics_of(reference)
    with pytest.raises(AssertionError, match=f"CheckpointError.*{named}"):
        run(worlds[2], job)
    assert metrics_of(reference) == before


def test_a_finished_run_started_again_does_nothing(worlds: Worlds, tiny_job):
    job = tiny_job(updates=3)
    run(worlds[1], job)
    before = folder_of(job).metrics.read_bytes()
    (hooks,) = run(worlds[1], job)
    assert hooks.updates == []
    assert folder_of(job).metrics.read_bytes() == before


def damage(path: Path) -> None:
    file = next(path.glob("*.safetensors"))
    content = bytearray(file.read_bytes())
    content[-5] ^= 1
    file.write_bytes(content)


def test_a_damaged_newest_checkpoint_is_reported_and_the_one_before_goes_on(worlds: Worlds, reference, tiny_job):
    job = tiny_job()
    run(worlds[2], job)
    damage(folder_of(job).checkpoints / "update-00000006")
    hooks = run(worlds[2], job)
    assert [one.updates for one in hooks] == [[5, 6], [5, 6]]
    (event,) = events_of(job, "checkpoint_damaged")
    assert event["checkpoint"] == "update-00000006"
    assert "checksum" in event["reason"]
    assert [record["update"] for record in metrics_of(job)] == [1, 2, 3, 4, 5, 6]
    assert saved_updates(job) == [4, 6]
    assert exact(metrics_of(job)) == exact(metrics_of(reference))
    assert ledger_of(job) == ledger_of(reference)


def test_a_run_whose_every_checkpoint_is_damaged_is_not_silently_begun_anew(worlds: Worlds, tiny_job):
    job = tiny_job()
    run(worlds[1], job)
    for path in list_checkpoints(folder_of(job).checkpoints):
        damage(path)
    before = folder_of(job).metrics.read_bytes()
    with pytest.raises(AssertionError, match=r"CheckpointError.*none of its 2 checkpoints"):
        run(worlds[1], job)
    assert folder_of(job).metrics.read_bytes() == before


def test_all_workers_agree_on_what_is_the_best_checkpoint_after_a_resume(worlds: Worlds, tiny_job):
    changes = {"validation.every_updates": 1, "checkpoint.every_updates": 100, "checkpoint.keep_best": True}
    run(worlds[2], tiny_job(changes, updates=3))
    job = tiny_job(changes, updates=6)
    manifest = list_checkpoints(folder_of(job).checkpoints)[-1] / MANIFEST
    content = json.loads(manifest.read_text())
    content["validation"]["loss"] = -1.0  # nothing is better
    manifest.write_text(json.dumps(content))
    first, second = run(worlds[2], job)
    assert first.saved == second.saved == [6]


def test_an_older_best_checkpoint_is_still_the_best_after_a_resume(worlds: Worlds, tiny_job):
    changes = {"validation.every_updates": 1, "checkpoint.keep_best": True, "checkpoint.keep_last": 3}
    run(worlds[1], tiny_job({**changes, "checkpoint.every_updates": 1}, updates=3))
    job = tiny_job({**changes, "checkpoint.every_updates": 100}, updates=6)
    for path, loss in zip(list_checkpoints(folder_of(job).checkpoints), (-1.0, 50.0, 60.0), strict=True):
        content = json.loads((path / MANIFEST).read_text())
        content["validation"]["loss"] = loss
        (path / MANIFEST).write_text(json.dumps(content))
    (hooks,) = run(worlds[1], job)
    assert hooks.saved == [6]


def test_a_run_without_validation_data_and_without_trace_writes_metrics_alone(worlds: Worlds, tiny_job):
    job = tiny_job({"data.validation": [], "logging.trace_samples": False, "logging.every_updates": 4}, updates=5)
    run(worlds[2], job)
    assert [record["update"] for record in metrics_of(job)] == [4, 5]
    assert events_of(job, "validation") == []
    assert not folder_of(job).samples.exists()


def test_a_task_may_have_state_of_its_own_that_checkpoints_keep_bit_for_bit(worlds: Worlds, tiny_job, tmp_path: Path):
    whole, stopped = tiny_job(storage_path=str(tmp_path / "whole")), tiny_job(storage_path=str(tmp_path / "stopped"))
    teachers = worlds[1].run(train_with_teacher, whole.model_dump(mode="json"))
    worlds[2].run(train_with_teacher, stopped.model_dump(mode="json"), 4)
    teachers += worlds[3].run(train_with_teacher, stopped.model_dump(mode="json"))
    assert exact(metrics_of(whole)) == exact(metrics_of(stopped))
    expected, *others = teachers
    weights = weights_of(whole)
    assert any(not torch.equal(tensor, weights[name.removeprefix("module.")]) for name, tensor in expected.items())
    for other in others:
        assert other.keys() == expected.keys()
        for name, tensor in expected.items():
            assert torch.equal(other[name], tensor), name
    kept = list_checkpoints(folder_of(whole).checkpoints)[-1]
    assert {"task.safetensors", "state-00000.safetensors"} <= set(read_manifest(kept).files)
    (kept / "task.safetensors").write_bytes(b"no")
    with pytest.raises(CheckpointError, match=r"task\.safetensors: damaged"):
        read_extra_state(kept)


def test_shares_and_a_curriculum_are_as_exact_as_one_dataset_under_resizing_and_at_the_end_of_epochs(
    worlds: Worlds, tiny_job, tiny_dataset, tiny_validation
):
    train = [{"path": str(tiny_dataset), "share": 1}, {"path": str(tiny_validation), "share": 1}]
    changes = {"data.train": train, "batch.curriculum_epochs": 1, "updates": 8}
    alone, resized = (tiny_job({**changes, "name": name}) for name in ("alone", "resized"))
    run(worlds[1], alone)
    run(worlds[2], resized, stop_at=3)
    run(worlds[1], resized, stop_at=5)
    run(worlds[2], resized)
    assert_same_run(alone, resized)
    used: dict[int, list[str]] = {}
    for (_, epoch), utterances in ledger_of(resized).items():
        used.setdefault(epoch, []).extend(utterances)
    finished = [epoch for epoch in used if epoch < max(used)]
    assert len(finished) >= 1
    for epoch in finished:
        assert max(Counter(used[epoch]).values()) == 1
        assert set(used[epoch]) == set(used[finished[0]])
    parts = Counter(name.partition(":")[0] for name in used[finished[0]])
    assert set(parts) == {"0", "1"}
    again = [name for name in used[finished[0]] if "+" in name]
    assert again  # the smaller one is heard more than once an epoch
    assert len({name.partition(":")[0] for name in again}) == 1
