from __future__ import annotations

import json
import math
import random

import pytest
from watchdog_figures import CHANCE, after, healthy, told, verdicts, warmed_up, watchdog

from w2v2_ray.errors import CheckpointError
from w2v2_ray.spec.watchdog import (
    CodebookCollapseCheck,
    FlatAtChanceCheck,
    LossSpikeCheck,
    NonFiniteCheck,
    TrivialSolutionCheck,
    VanishingGradientCheck,
    WatchdogSpec,
)

# Healthy runs


@pytest.mark.parametrize("learns_at", [0, 15_000, 28_000])
def test_a_published_run_that_leaves_chance_before_the_warm_up_ends_is_left_alone(learns_at):
    rng = random.Random(learns_at)
    series = (healthy(u, rng, learns_at=learns_at) for u in range(1, 55_001))
    assert verdicts(watchdog(), series) == []


def test_a_short_demo_that_stays_at_chance_is_left_alone():
    rng = random.Random(0)
    series = (healthy(u, rng, learns_at=10_000, loss_contrastive=CHANCE) for u in range(1, 1_501))
    assert verdicts(watchdog(warmup_updates=30, updates=1_500, negatives=50, entries=64), series) == []


def test_noisy_losses_and_single_bad_batches_are_left_alone():
    rng = random.Random(5)
    series = [healthy(u, rng) for u in range(1, 8_001)]
    for figures in series[300:]:
        figures["loss"] *= math.exp(rng.gauss(0.0, 0.12))
    for at in range(500, 8_000, 97):
        series[at]["loss"] *= 3.0
        series[at]["grad_norm"] *= 100.0
    assert verdicts(watchdog(), series) == []


def test_overflows_of_fp16_now_and_then_are_left_alone():
    rng = random.Random(2)
    scale, series = 65_536.0, []
    for update in range(1, 5_001):
        overflows = scale > 32.0 or rng.random() < 0.02
        norm = {"grad_norm": math.inf} if overflows else {}
        series.append(healthy(update, rng, loss_scale=scale, skipped=overflows, **norm))
        scale = scale / 2 if overflows else scale * (2 if scale < 16.0 else 1)
    assert sum(figures["skipped"] for figures in series) > 60
    assert verdicts(watchdog(), series) == []


def test_a_low_but_used_codebook_is_left_alone():
    series = [healthy(u, code_perplexity=17.8, prob_perplexity=17.9) for u in range(1, 6_001)]
    assert verdicts(watchdog(), series) == []
    # Four entries can have a perplexity of 4 at most, so 1.5 of each codebook is a quarter of all there is.
    few = [healthy(u, code_perplexity=2.9, prob_perplexity=2.9) for u in range(1, 6_001)]
    assert verdicts(watchdog(entries=4), few) == []


def test_a_gradual_rise_of_the_loss_is_no_spike():
    dog = watchdog()
    assert verdicts(dog, (healthy(u, loss=3.0 + u / 2_000) for u in range(1, 6_000))) == []


def test_figures_of_fine_tuning_alone_are_judged_without_a_quantizer():
    dog = watchdog(codebooks=None, entries=None, negatives=None)
    assert verdicts(dog, ({"loss": 2.0, "grad_norm": 1.0} for _ in range(500))) == []
    found = verdicts(dog, ({"loss": 9.0, "grad_norm": 1.0} for _ in range(8)), 501)
    assert told(found) == [("loss_spike", "warn"), ("loss_spike", "rollback")]


# Planted troubles


@pytest.mark.parametrize(
    "bad",
    [{"loss": math.nan}, {"loss": math.inf, "grad_norm": math.inf}, {"grad_norm": math.nan}, {"grad_norm": math.inf}],
)
def test_a_value_that_is_not_finite_warns_and_then_rolls_back(bad):
    dog = warmed_up()
    found = verdicts(dog, after(2_000, 4, **bad), 2_001)
    assert told(found) == [("non_finite", "warn"), ("non_finite", "rollback")]
    assert (found[1].update, found[1].first_update) == (2_003, 2_001)
    assert "optim.lr" in found[1].message
    assert "engine.precision" in found[1].message


def test_a_loss_that_is_not_finite_counts_in_fp16_too_but_a_gradient_does_not():
    dog = warmed_up()
    fp16 = {"loss_scale": 128.0, "skipped": True, "grad_norm": math.inf}
    assert verdicts(dog, after(2_000, 10, **fp16), 2_001) == []
    assert told(verdicts(dog, after(2_010, 3, **fp16, loss=math.nan), 2_011))[-1] == ("non_finite", "rollback")


def test_a_loss_scale_that_keeps_falling_is_found_before_fp16_gives_up():
    dog = warmed_up()
    scales = [2.0**-power for power in range(-7, 14)]
    series = [healthy(2_000, loss_scale=s, skipped=True, grad_norm=math.inf) for s in scales]
    found = verdicts(dog, series, 2_001)
    assert told(found) == [("loss_scale_underflow", "warn"), ("loss_scale_underflow", "rollback")]
    assert scales[found[1].update - 2_001] > 1e-4
    assert "bf16" in found[1].message


def test_a_loss_scale_at_its_floor_is_found_without_overflows():
    dog = warmed_up()
    found = verdicts(dog, after(2_000, 6, loss_scale=1e-4, skipped=False), 2_001)
    assert told(found)[-1] == ("loss_scale_underflow", "rollback")


def test_a_loss_that_jumps_and_stays_is_a_spike():
    dog = warmed_up(updates=9_000)
    assert not dog.uneasy
    found = verdicts(dog, after(9_000, 30, loss=CHANCE, loss_contrastive=CHANCE), 9_001)
    assert told(found) == [("loss_spike", "warn"), ("loss_spike", "rollback")]
    assert (found[1].update, found[1].first_update) == (9_008, 9_001)
    assert "6.658" in found[1].message
    assert "batch.sub_batches_per_update" in found[1].message
    assert dog.uneasy


def test_a_spike_does_not_become_usual_while_patience_lasts():
    dog = warmed_up(WatchdogSpec(loss_spike=LossSpikeCheck(window_updates=20, patience_updates=60)))
    assert told(verdicts(dog, after(2_000, 60, loss=20.0), 2_001))[-1] == ("loss_spike", "rollback")


def test_a_vanished_gradient_stops_the_run():
    dog = warmed_up()
    found = verdicts(dog, after(2_000, 250, grad_norm=8e-19), 2_001)
    assert told(found) == [("vanishing_gradient", "warn"), ("vanishing_gradient", "stop")]
    assert found[1].update == 2_200
    assert "8e-19" in found[1].message


@pytest.mark.parametrize("which", ["code_perplexity", "prob_perplexity"])
def test_a_collapsed_codebook_stops_the_run_after_the_grace(which):
    dog = watchdog()
    series = [healthy(u, random.Random(u), **{which: 2.0 + 0.01 * (u % 3)}) for u in range(1, 2_000)]
    found = verdicts(dog, series)
    assert told(found) == [("codebook_collapse", "warn"), ("codebook_collapse", "stop")]
    assert (found[1].first_update, found[1].update) == (1_001, 1_300)
    assert "loss.diversity_weight" in found[1].message
    assert "3687" in found[1].message


def test_the_trivial_solution_stops_the_run():
    dog = warmed_up()
    figures = {"loss": 0.0998, "loss_contrastive": 0.0, "accuracy": 1.0, "code_perplexity": 2.0, "prob_perplexity": 2.0}
    found = verdicts(dog, after(2_000, 110, **figures), 2_001)
    assert told(found) == [("trivial_solution", "warn"), ("trivial_solution", "stop")]
    assert "14387" in found[1].message
    assert "accuracy 1 " in found[1].message


def test_a_well_trained_model_is_not_trivial():
    dog = warmed_up()
    assert verdicts(dog, after(2_000, 500, loss_contrastive=1.2, accuracy=0.80), 2_001) == []
    assert verdicts(dog, after(2_500, 500, loss_contrastive=1.2, accuracy=1.0), 2_501) == []
    assert verdicts(dog, after(3_000, 500, loss_contrastive=0.1, accuracy=0.80), 3_001) == []


@pytest.mark.parametrize("accuracy", [0.0099, 0.2, 0.8])
def test_a_loss_flat_at_chance_warns_at_the_end_of_the_warm_up_and_stops_later_whatever_the_accuracy(accuracy):
    rng = random.Random(3)
    flat = healthy(100_000, learns_at=10**9, accuracy=accuracy)
    series = (flat | {"loss_contrastive": CHANCE + rng.gauss(0, 0.01)} for _ in range(60_000))
    found = verdicts(watchdog(), series)
    assert told(found) == [("flat_at_chance", "warn"), ("flat_at_chance", "stop")]
    assert [verdict.update for verdict in found] == [32_000, 48_000]
    assert "6.658 is chance" in found[1].message
    assert "3718" in found[1].message


def test_a_return_to_chance_is_found_even_where_it_is_too_slow_for_a_spike():
    spec = WatchdogSpec(flat_at_chance=FlatAtChanceCheck(grace_updates=1_000))
    dog = warmed_up(spec, updates=9_000)
    climb = [healthy(9_000, loss=3.5 + i / 1_000, loss_contrastive=3.5 + i / 1_000) for i in range(3_100)]
    flat = [healthy(9_000, loss=6.66, loss_contrastive=6.658)] * 2_000
    found = verdicts(dog, climb + flat, 9_001)
    assert told(found) == [("flat_at_chance", "warn"), ("flat_at_chance", "stop")]


# Actions, patience, re-arming


@pytest.mark.parametrize(
    ("check", "spec_of", "bad"),
    [
        ("non_finite", NonFiniteCheck, {"loss": math.nan}),
        ("loss_spike", LossSpikeCheck, {"loss": 20.0}),
        ("vanishing_gradient", VanishingGradientCheck, {"grad_norm": 0.0}),
        ("codebook_collapse", CodebookCollapseCheck, {"code_perplexity": 2.0}),
        ("trivial_solution", TrivialSolutionCheck, {"accuracy": 1.0, "loss_contrastive": 0.0}),
    ],
)
def test_every_check_takes_every_action(check, spec_of, bad):
    for action, expected in {
        "off": [],
        "warn": [(check, "warn")],
        "stop": [(check, "stop")],
        "rollback": [(check, "rollback")],
    }.items():
        dog = warmed_up(WatchdogSpec(**{check: spec_of(action=action, patience_updates=1)}))
        assert told(verdicts(dog, after(2_000, 20, **bad), 2_001)) == expected


def test_a_watchdog_that_is_off_says_nothing():
    assert verdicts(watchdog(WatchdogSpec(enabled=False)), [{"loss": math.nan}] * 100) == []


def test_a_passing_trouble_is_warned_of_once_and_again_after_the_quiet_time():
    dog = watchdog(WatchdogSpec(quiet_updates=100))
    series = [healthy(u, grad_norm=math.nan) if u % 30 == 0 else healthy(u) for u in range(1, 301)]
    found = verdicts(dog, series)
    assert told(found) == [("non_finite", "warn")] * 3
    assert [verdict.update for verdict in found] == [30, 150, 270]


def test_a_recovery_ends_the_episode():
    dog = warmed_up()
    assert told(verdicts(dog, after(2_000, 199, grad_norm=0.0), 2_001)) == [("vanishing_gradient", "warn")]
    assert verdicts(dog, after(2_199, 11), 2_200) == []
    assert verdicts(dog, after(2_210, 199, grad_norm=0.0), 2_211) == []


def test_one_good_update_in_twenty_does_not_end_an_episode():
    dog = warmed_up()
    series = [healthy(2_000, grad_norm=0.1 if i % 20 == 0 else 0.0) for i in range(220)]
    assert told(verdicts(dog, series, 2_001))[-1] == ("vanishing_gradient", "stop")


def test_a_new_level_of_loss_that_was_only_warned_of_becomes_the_usual_one():
    dog = warmed_up(WatchdogSpec(loss_spike=LossSpikeCheck(action="warn"), quiet_updates=10))
    assert told(verdicts(dog, after(2_000, 500, loss=9.0), 2_001)) == [("loss_spike", "warn")]
    assert not dog.uneasy
    assert told(verdicts(dog, after(2_500, 20, loss=15.0), 2_501)) == [("loss_spike", "warn")]


def test_the_gravest_finding_speaks_first_and_the_others_follow():
    dog = watchdog(WatchdogSpec(non_finite=NonFiniteCheck(action="warn", patience_updates=1)))
    for update in range(1, 200):
        dog.observe(update, healthy(update, grad_norm=0.0))
    both = {"loss": math.nan, "loss_contrastive": 3.0, "grad_norm": 0.0}
    found = verdicts(dog, [both, both], 200)
    assert told(found) == [("vanishing_gradient", "stop"), ("non_finite", "warn")]


def test_updates_out_of_order_are_a_mistake_of_the_caller():
    dog = warmed_up()
    with pytest.raises(ValueError, match="update 1990 after update 2000"):
        dog.observe(1_990, healthy(1_990))


# State


def stormy(update):
    rng = random.Random(update)
    figures = healthy(update, rng)
    if 900 <= update < 960 or 1_500 <= update < 1_503:
        figures["loss"] = 14.0
    if update % 400 == 0:
        figures["grad_norm"] = math.inf
    return figures


@pytest.mark.parametrize("stop_at", [1, 150, 899, 901, 902, 955, 1_501])
def test_a_resumed_watchdog_judges_as_one_that_never_stopped(stop_at):
    spec = WatchdogSpec(quiet_updates=300)
    whole = watchdog(spec)
    expected = verdicts(whole, (stormy(u) for u in range(1, 2_001)))
    assert {"non_finite", "loss_spike"} == {verdict.check for verdict in expected}
    first = watchdog(spec)
    found = verdicts(first, (stormy(u) for u in range(1, stop_at + 1)))
    second = watchdog(spec)
    second.load_state_dict(json.loads(json.dumps(first.state_dict(), allow_nan=False)))
    found += verdicts(second, (stormy(u) for u in range(stop_at + 1, 2_001)), stop_at + 1)
    assert found == expected
    assert second.state_dict() == whole.state_dict()


def test_the_state_is_small():
    assert len(json.dumps(warmed_up().state_dict())) < 8_000


@pytest.mark.parametrize(
    "state",
    [{}, {"version": 99}, {"version": 1, "losses": "x", "episodes": {}, "last_update": 1}, {"version": 1, "losses": 3}],
)
def test_a_state_of_something_else_is_refused(state):
    with pytest.raises(CheckpointError, match="watchdog state"):
        watchdog().load_state_dict(state)


def test_a_shorter_window_keeps_the_newest_losses():
    dog = watchdog(WatchdogSpec(loss_spike=LossSpikeCheck(window_updates=20)))
    dog.load_state_dict(warmed_up().state_dict())
    assert dog.state_dict()["losses"] == warmed_up().state_dict()["losses"][-20:]
