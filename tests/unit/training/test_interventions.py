"""What a rollback does to a run: where it goes back to, what is passed over, when there have been too many."""

from __future__ import annotations

import json

import pytest
from watchdog_figures import healthy, watchdog

from w2v2_ray.errors import CheckpointError
from w2v2_ray.spec.watchdog import WatchdogSpec
from w2v2_ray.training.watch.interventions import Interventions
from w2v2_ray.training.watch.watchdog import CHECKS, SUDDEN, Verdict


def rollback(first, update, check="loss_spike"):
    return Verdict(check, "rollback", update, first, "message")


def test_nothing_happened_to_a_run_without_rollbacks():
    run = Interventions()
    assert run.lr_scale(1) == 1.0
    assert not run.skips(1)
    assert run.is_current(1_000, 0)


def test_a_rollback_passes_over_the_incident_and_lowers_the_learning_rate_from_its_checkpoint_on():
    run = Interventions().after(rollback(1_203, 1_207), 1_000, WatchdogSpec())
    assert [u for u in range(1_100, 1_300) if run.skips(u)] == list(range(1_202, 1_208))
    assert (run.lr_scale(1_000), run.lr_scale(1_001), run.lr_scale(300_000)) == (1.0, 0.5, 0.5)


def test_troubles_without_an_offending_batch_only_lower_the_learning_rate():
    for check in set(CHECKS) - SUDDEN:
        run = Interventions().after(rollback(900, 1_100, check), 800, WatchdogSpec())
        assert not any(run.skips(u) for u in range(2_000))
        assert run.lr_scale(801) == 0.5


def test_skipping_can_be_switched_off():
    run = Interventions().after(rollback(900, 904), 800, WatchdogSpec(skip_updates=False, lr_factor=0.8))
    assert not run.skips(900)
    assert run.lr_scale(900) == 0.8


def test_rollbacks_add_up():
    spec = WatchdogSpec()
    run = Interventions().after(rollback(1_203, 1_207), 1_000, spec).after(rollback(5_003, 5_007), 4_000, spec)
    assert [run.lr_scale(u) for u in (1_000, 4_000, 4_001)] == [1.0, 0.5, 0.25]
    assert run.skips(1_205)
    assert run.skips(5_005)


def test_the_rollback_that_is_one_too_many_stops_the_run():
    spec = WatchdogSpec(max_rollbacks=2)
    run = Interventions()
    for done in range(2):
        verdict = run.bound(rollback(1_000 * (done + 2), 1_000 * (done + 2) + 4), spec)
        assert verdict.action == "rollback"
        run = run.after(verdict, 1_000, spec)
    verdict = run.bound(rollback(9_000, 9_004), spec)
    assert verdict.action == "stop"
    assert "watchdog.max_rollbacks: 2 is used up" in verdict.message
    with pytest.raises(ValueError, match="ask `bound`"):
        run.after(rollback(9_000, 9_004), 1_000, spec)
    warning = Verdict("loss_spike", "warn", 9_002, 9_000, "message")
    assert run.bound(warning, spec) is warning
    assert Interventions().bound(rollback(9, 9), WatchdogSpec(max_rollbacks=0)).action == "stop"


def test_the_newest_checkpoint_from_before_the_incident_is_taken():
    run = Interventions()
    assert run.target(rollback(1_203, 1_207), [900, 1_000, 1_201, 1_202, 1_203, 1_205]) == 1_201
    assert run.target(rollback(900, 1_100, "vanishing_gradient"), [800, 899, 900, 1_000]) == 899
    assert run.target(rollback(50, 54), []) == 0
    assert run.target(rollback(1_203, 1_207), [1_205, 1_206]) is None


def test_a_relapse_goes_back_further_where_it_can():
    run = Interventions().after(rollback(1_203, 1_207), 1_000, WatchdogSpec())
    assert run.target(rollback(1_300, 1_304), [900, 1_000, 1_100]) == 900
    assert run.target(rollback(1_300, 1_304), [1_000, 1_100]) == 1_100
    assert run.target(rollback(9_300, 9_304), [900, 1_000, 9_000]) == 9_000


def test_a_checkpoint_that_is_already_ill_is_not_rolled_back_to():
    with pytest.raises(ValueError, match="no rollback to update 1202"):
        Interventions().after(rollback(1_203, 1_207), 1_202, WatchdogSpec())


def test_checkpoints_of_an_abandoned_path_are_told_from_those_of_the_new_one():
    run = Interventions().after(rollback(2_203, 2_207), 1_000, WatchdogSpec())
    assert run.is_current(1_000, 0)
    assert not run.is_current(2_000, 0)
    assert run.is_current(2_000, 1)


def test_the_record_of_rollbacks_survives_json():
    spec = WatchdogSpec()
    run = Interventions().after(rollback(1_203, 1_207), 1_000, spec).after(rollback(40_000, 40_300), 30_000, spec)
    assert Interventions.from_json(json.loads(json.dumps(run.to_json()))) == run
    for wrong in ([{"a": 1}], [3]):
        with pytest.raises(CheckpointError, match="record of rollbacks"):
            Interventions.from_json(wrong)


def test_a_bad_batch_is_cured_by_skipping_and_a_bad_learning_rate_by_lowering_it():
    """A small simulation of the trainer's loop: checkpoints every 100 updates, trouble that depends on the run."""

    def simulate(trouble, spec, updates=1_500):
        run, dog, update = Interventions(), watchdog(spec), 0
        saved = {}
        while update < updates:
            update += 1
            if run.skips(update):
                continue
            figures = healthy(update, loss=20.0) if trouble(update, run) else healthy(update)
            verdict = dog.observe(update, figures)
            verdict = verdict and run.bound(verdict, spec)
            if verdict and verdict.action == "stop":
                return run, update
            if verdict and verdict.action == "rollback":
                update = run.target(verdict, list(saved))
                run = run.after(verdict, update, spec)
                dog = watchdog(spec)
                dog.load_state_dict(saved[update])
                saved = {u: state for u, state in saved.items() if u <= update}
            elif update % 100 == 0 and not dog.uneasy:
                saved[update] = json.loads(json.dumps(dog.state_dict()))
        return run, update

    def ill_after_batch(update, run):
        return update >= 750 and not run.skips(749)

    run, end = simulate(ill_after_batch, WatchdogSpec(lr_factor=1.0))
    assert (len(run.rollbacks), end, run.rollbacks[0].to_update) == (1, 1_500, 700)
    run, end = simulate(lambda update, run: update >= 750 and run.lr_scale(update) > 0.3, WatchdogSpec())
    assert (len(run.rollbacks), end) == (2, 1_500)
    run, end = simulate(lambda update, run: update >= 750, WatchdogSpec())
    assert len(run.rollbacks) == 3
    assert end < 1_500
