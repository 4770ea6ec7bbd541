from __future__ import annotations

import pytest

from w2v2_ray.spec.finetune import EarlyStoppingSpec
from w2v2_ray.training.early_stopping import held_out_scores, should_stop

FALLING_THEN_FLAT = {100: 0.9, 200: 0.5, 300: 0.5, 400: 0.6, 500: 0.55}


@pytest.mark.parametrize(("patience", "stops"), [(1, True), (3, True), (4, False)])
def test_a_run_ends_when_its_best_score_is_patience_validations_old(patience, stops):
    assert should_stop(EarlyStoppingSpec(patience=patience), FALLING_THEN_FLAT, 500) is stops


def test_a_run_goes_on_while_it_gets_better():
    assert not should_stop(EarlyStoppingSpec(patience=1), {100: 0.9, 200: 0.8, 300: 0.7}, 300)


def test_a_run_does_not_end_before_its_least_updates():
    spec = EarlyStoppingSpec(patience=1, min_updates=600)
    assert not should_stop(spec, FALLING_THEN_FLAT, 500)
    assert should_stop(spec, FALLING_THEN_FLAT, 600)


def test_nothing_measured_stops_nothing():
    assert not should_stop(EarlyStoppingSpec(patience=1), {}, 500)


def test_scores_are_the_wer_where_there_is_one_and_later_updates_do_not_count():
    events = [
        {"event": "validation", "update": 100, "loss": 5.0, "wer": 0.8},
        {"event": "resume", "update": 100},
        {"event": "validation", "update": 100, "loss": 5.0, "wer": 0.7},
        {"event": "validation", "update": 200, "loss": 4.0},
        {"event": "validation", "update": 300, "loss": 3.0, "wer": 0.1},
    ]
    assert held_out_scores(events, 200) == {100: 0.7, 200: 4.0}
