"""Troubles of pre-training, each planted in a run of the trainer: what the watchdog says and what is done. Without Ray.

NaN and the trivial solution are in `test_trainer_trouble.py`.
"""

from __future__ import annotations

import math

import pytest
from elastic_cases import train_poisoned
from engine_worlds import Worlds
from trainer_cases import events_of, metrics_of
from watchdog_cases import (
    train_at_chance,
    train_by_the_second,
    train_collapsed,
    train_overflowing,
    train_without_gradient,
)

from w2v2_ray.spec.job import PretrainJob

WATCHED = {
    "data.validation": [],
    "checkpoint.snapshot_updates": 1,
    "checkpoint.snapshot_s": 0.0,
    "checkpoint.every_updates": 100,
}
SPIKING = {**WATCHED, "watchdog.loss_spike.window_updates": 20, "watchdog.loss_spike.patience_updates": 3}


def document(job: PretrainJob) -> dict[str, object]:
    return job.model_dump(mode="json")


def updates_of(job: PretrainJob) -> list[int]:
    return [record["update"] for record in metrics_of(job)]


def findings_of(job: PretrainJob) -> list[tuple[str, str]]:
    return [(event["check"], event["action"]) for event in events_of(job, "watchdog")]


@pytest.mark.parametrize("size", [1, 2])
def test_a_loss_that_jumps_and_stays_up_is_rolled_back_and_its_updates_passed_over(worlds: Worlds, tiny_job, size: int):
    job = tiny_job({**SPIKING, "updates": 30})
    worlds[size].run(train_poisoned, document(job), [24, 25, 26], 6.0)
    (rollback,) = events_of(job, "rollback")
    assert (rollback["check"], rollback["update"]) == ("loss_spike", 26)
    assert rollback["to_update"] < 23
    assert findings_of(job) == [("loss_spike", "warn"), ("loss_spike", "rollback")]
    # The update before the first bad loss is what made it bad.
    assert updates_of(job) == [*range(1, 23), 27, 28, 29, 30]
    usual = metrics_of(job)[21]["loss"]
    assert all(record["loss"] < 1.5 * usual for record in metrics_of(job)[3:])


def test_a_loss_that_jumps_for_a_single_update_is_let_pass(worlds: Worlds, tiny_job):
    job = tiny_job({**SPIKING, "updates": 28})
    worlds[1].run(train_poisoned, document(job), [24], 6.0)
    assert updates_of(job) == list(range(1, 29))
    assert [action for _, action in findings_of(job)] == ["warn"]
    assert not events_of(job, "rollback")


def test_a_gradient_that_vanishes_warns_first_and_then_stops_the_run(worlds: Worlds, tiny_job):
    job = tiny_job({**WATCHED, "watchdog.vanishing_gradient.patience_updates": 4, "updates": 12})
    wanted = r"RunFailedError: watchdog \(vanishing_gradient\): .*grad_norm 0, .*nothing is learned any more"
    with pytest.raises(AssertionError, match=wanted):
        worlds[2].run(train_without_gradient, document(job), 5)
    assert updates_of(job)[-1] == 8
    assert findings_of(job) == [("vanishing_gradient", "warn"), ("vanishing_gradient", "stop")]
    assert metrics_of(job)[-1]["loss"] > 1.0


def test_collapsed_codebooks_stop_the_run_with_their_perplexity_and_a_remedy(worlds: Worlds, tiny_job):
    grace = {"watchdog.codebook_collapse.grace_updates": 3, "watchdog.codebook_collapse.patience_updates": 4}
    job = tiny_job({**WATCHED, **grace, "updates": 12})
    wanted = r"RunFailedError: watchdog \(codebook_collapse\): .*code_perplexity 2, .*raise loss\.diversity_weight"
    with pytest.raises(AssertionError, match=wanted):
        worlds[1].run(train_collapsed, document(job))
    assert updates_of(job)[-1] == 7
    assert all(record["code_perplexity"] == pytest.approx(2.0) for record in metrics_of(job))


def test_codebooks_that_stay_collapsed_after_a_rollback_end_the_run(worlds: Worlds, tiny_job):
    changes = {
        "watchdog.codebook_collapse.action": "rollback",
        "watchdog.codebook_collapse.grace_updates": 3,
        "watchdog.codebook_collapse.patience_updates": 4,
        "watchdog.max_rollbacks": 1,
    }
    job = tiny_job({**WATCHED, **changes, "checkpoint.every_updates": 1, "checkpoint.keep_last": 20, "updates": 16})
    with pytest.raises(AssertionError, match=r"RunFailedError: watchdog \(codebook_collapse\): .*is used up"):
        worlds[1].run(train_collapsed, document(job))
    assert len(events_of(job, "rollback")) == 1
    assert findings_of(job)[-1] == ("codebook_collapse", "stop")


@pytest.mark.parametrize("action", ["warn", "stop"])
def test_a_loss_flat_at_the_chance_of_100_negatives_is_told_in_bits(worlds: Worlds, tiny_job, action: str):
    changes = {
        "loss.negatives": 100,
        # Untrained codes coincide: negatives that share the target's code do not count, and chance is a little less.
        "watchdog.flat_at_chance.tolerance": 0.1,
        "watchdog.flat_at_chance.grace_updates": 2,
        "watchdog.flat_at_chance.action": action,
        # Context vectors that are constant leave the encoder without a gradient too.
        "watchdog.vanishing_gradient.action": "off",
    }
    job = tiny_job({**WATCHED, **changes, "updates": 10})
    if action == "stop":
        wanted = r"RunFailedError: watchdog \(flat_at_chance\): .*bits, and 6\.658 is chance"
        with pytest.raises(AssertionError, match=wanted):
            worlds[2].run(train_at_chance, document(job))
        assert findings_of(job) == [("flat_at_chance", "warn"), ("flat_at_chance", "stop")]
    else:
        worlds[2].run(train_at_chance, document(job))
        assert findings_of(job) == [("flat_at_chance", "warn")]
    assert updates_of(job)[-1] == (6 if action == "stop" else 10)
    assert all(0.9 * math.log2(101) < r["loss_contrastive"] <= math.log2(101) + 1e-4 for r in metrics_of(job))


def test_an_fp16_loss_scale_that_underflows_rolls_the_run_back(worlds: Worlds, tiny_job):
    changes = {
        "engine.precision": "fp16",
        "worker.gpus": 1,
        "watchdog.loss_scale_underflow.patience_updates": 3,
        "updates": 12,
    }
    job = tiny_job({**WATCHED, **changes})
    worlds[2].run(train_overflowing, document(job), [5, 6, 7], 2.0**-8)
    (rollback,) = events_of(job, "rollback")
    assert (rollback["check"], rollback["update"]) == ("loss_scale_underflow", 7)
    assert rollback["to_update"] < 4
    assert updates_of(job) == [1, 2, 3, 8, 9, 10, 11, 12]
    assert "the fp16 loss scale fell to 0.00391" in events_of(job, "watchdog")[-1]["message"]
    assert [check for check, _ in findings_of(job)] == ["loss_scale_underflow"] * 2


def test_an_overflow_now_and_then_at_a_sound_loss_scale_is_no_finding(worlds: Worlds, tiny_job):
    changes = {"engine.precision": "fp16", "worker.gpus": 1, "updates": 10}
    job = tiny_job({**WATCHED, **changes, "watchdog.loss_scale_underflow.patience_updates": 2})
    worlds[1].run(train_overflowing, document(job), [3, 4, 7], 1024.0)
    assert findings_of(job) == []
    assert [record["update"] for record in metrics_of(job) if record["skipped"]] == [3, 4, 7]


BY_THE_SECOND = {**WATCHED, "logging.every_updates": 4, "updates": 12}


def test_a_metrics_line_leaves_out_updates_that_a_rollback_passed_over(worlds: Worlds, tiny_job):
    """Every update computed takes a second, so `update_s` is 1 as long as no others are counted."""
    job = tiny_job(BY_THE_SECOND)
    worlds[1].run(train_by_the_second, document(job), [5, 6, 7])
    assert len(events_of(job, "rollback")) == 1
    assert updates_of(job) == [8, 12], "update 4 is passed over too"
    assert [record["update_s"] for record in metrics_of(job)] == [1.0, 1.0]


def test_a_metrics_line_after_a_resume_counts_from_there(worlds: Worlds, tiny_job):
    job = tiny_job(BY_THE_SECOND)
    assert worlds[2].run(train_by_the_second, document(job), [], 6) == [6, 6]
    worlds[1].run(train_by_the_second, document(job), [])
    (resume,) = events_of(job, "resume")
    assert resume["update"] == 6, "in the middle between two lines"
    assert [(record["update"], record["update_s"]) for record in metrics_of(job)] == [(4, 1.0), (8, 1.0), (12, 1.0)]
