"""Learning rate and Gumbel temperature."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from w2v2_ray.spec.model import QuantizerSpec
from w2v2_ray.spec.optim import OptimSpec
from w2v2_ray.training.schedules import gumbel_temperature, learning_rate


def optim_of(config: dict[str, Any]) -> OptimSpec:
    schedule = {
        "policy": config["policy"],
        "warmup_updates": config["warmup_steps"],
        "hold_updates": config["hold_steps"],
        "initial_scale": config["initial_lr_scale"],
        "final_scale": config["final_lr_scale"],
    }
    if "power" in config:
        schedule["power"] = config["power"]
    return OptimSpec.model_validate({"lr": config["lr"], "schedule": schedule})


@pytest.mark.shared
@pytest.mark.parity
def test_learning_rates_are_those_of_the_reference(shared_dir: Path):
    cases = json.loads((shared_dir / "golden" / "recipe.json").read_text())["lr"]
    assert {case["config"]["policy"] for case in cases} == {"poly", "exp"}
    for case in cases:
        config = case["config"]
        optim = optim_of(config)
        for update, expected in case["values"]:
            assert learning_rate(optim, config["num_steps"], update) == pytest.approx(expected, rel=1e-12, abs=0.0)


def test_without_warmup_the_first_update_is_already_on_the_decay():
    optim = OptimSpec.model_validate({"lr": 1.0, "schedule": {"policy": "poly", "warmup_updates": 0}})
    assert learning_rate(optim, 4, 1) == pytest.approx(0.75)
    assert learning_rate(optim, 4, 4) == 0.0


def test_a_run_that_holds_to_its_end_never_decays():
    schedule = {"policy": "exp", "warmup_updates": 2, "hold_updates": 8}
    optim = OptimSpec.model_validate({"lr": 0.5, "schedule": schedule})
    assert [learning_rate(optim, 10, update) for update in (2, 3, 10)] == [0.5, 0.5, 0.5]


def test_the_gumbel_temperature_starts_at_its_start_decays_and_stops_at_its_floor():
    spec = QuantizerSpec(temperature_start=2.0, temperature_stop=0.5, temperature_decay=0.999995)
    assert gumbel_temperature(spec, 1) == 2.0
    assert gumbel_temperature(spec, 2) == pytest.approx(2.0 * 0.999995, rel=1e-15)
    assert gumbel_temperature(spec, 100_001) == pytest.approx(2.0 * 0.999995**100_000, rel=1e-12)
    last_above = 277_258  # ln(4) / -ln(0.999995), and the first update has exponent 0
    assert gumbel_temperature(spec, last_above) > 0.5
    assert gumbel_temperature(spec, last_above + 2) == 0.5
