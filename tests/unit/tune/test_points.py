from __future__ import annotations

import subprocess
import sys

import pytest

from w2v2_ray.errors import SpecError
from w2v2_ray.spec.space import ParameterSpec
from w2v2_ray.spec.sweep_loading import load_sweep
from w2v2_ray.tune.points import expand, interleaved

SWEEP = """kind: sweep
name: s
base: {{job: {{kind: pretrain, preset: tiny, data: {{train: a}}}}, set: {{batch.sub_batches_per_update: 4}}}}
space: {{parameters: {space}}}
{more}
"""
FACTORS = (
    "{model.encoder.hourglass: {choices: [null, {shorten_factor: 2}, {shorten_factor: 3}], labels: [off, two, 3x]}}"
)


@pytest.fixture
def points(tmp_path):
    """`points(space, more)` expands a sweep over the tiny preset."""

    def make(space, more=""):
        path = tmp_path / "sweep.yaml"
        path.write_text(SWEEP.format(space=space, more=more))
        return expand(load_sweep(path))

    return make


def test_a_grid_has_every_combination_under_its_labels(points):
    found = points(FACTORS[:-1] + ", batch.concat: [1, 2]}")
    assert [point.label for point in found.points] == [
        f"{name}, concat={concat}" for name in ("off", "two", "3x") for concat in (1, 2)
    ]
    assert found.baseline is found.points[0]
    hourglass = found.points[-1].job.model.encoder.hourglass
    assert (hourglass.shorten_factor, hourglass.middle_layers) == (3, 2)  # the rest stays that of the base job


def test_points_that_the_job_schema_refuses_are_listed_with_the_reason(points):
    found = points("{batch.concat: [1, 3, 4], model.encoder.heads: [4, 5]}")
    assert [point.label for point in found.points] == ["concat=1, heads=4", "concat=4, heads=4"]
    reasons = {entry.label: entry.reason for entry in found.rejected}
    assert "concat: 3 does not divide sub_batches_per_update: 4" in reasons["concat=3, heads=4"]
    assert "heads: 5 does not divide dim: 128" in reasons["concat=1, heads=5"]
    assert len(reasons["concat=3, heads=5"].split("; ")) > len(reasons["concat=3, heads=4"].split("; "))


def test_two_combinations_that_give_the_same_job_are_one_point(points):
    found = points("{model.encoder.hourglass.shorten_factor: [3, 2], model.encoder.hourglass: [{shorten_factor: 2}]}")
    assert [point.label for point in found.points] == ["shorten_factor=3, shorten_factor=2"]
    assert [entry.reason for entry in found.rejected] == ["is the same job as `shorten_factor=3, shorten_factor=2`"]


def test_what_is_set_for_measuring_is_not_in_the_job_to_train(points):
    found = points("{batch.concat: [1, 2]}", "throughput: {set: {batch: {sub_batches_per_update: 2}, seed: 5}}")
    point = found.points[1]
    assert (point.trial_job.batch.sub_batches_per_update, point.trial_job.seed) == (2, 5)
    assert (point.job.batch.sub_batches_per_update, point.job.seed) == (4, 1)


def test_a_point_that_cannot_be_measured_is_listed(points):
    found = points("{batch.concat: [1, 4]}", "throughput: {set: {batch: {sub_batches_per_update: 2}}}")
    assert "as it would be measured (throughput.set)" in found.rejected[0].reason


def test_a_baseline_of_its_own_comes_first_and_is_not_repeated(points):
    found = points(FACTORS, "baseline: {model.encoder.hourglass: {shorten_factor: 3}}")
    assert [point.label for point in found.points] == ["3x", "off", "two"]
    assert found.rejected == ()


def test_a_space_without_a_valid_point_is_an_error(points):
    with pytest.raises(SpecError, match="refuses every point"):
        points("{batch.concat: [3]}")


def test_a_random_search_is_seeded_and_has_the_baseline_beside_its_samples(points):
    space = "{optim.lr: {low: 1e-4, high: 1e-2, log: true}, batch.concat: {low: 1, high: 4}}"
    first, again, other = (
        [p.values for p in points(space, f"search: {{method: random, samples: 4, seed: {seed}}}").points]
        for seed in (1, 1, 2)
    )
    assert first == again != other
    assert len(first) == 5
    assert first[0] == {}
    assert all(1e-4 <= values["optim.lr"] <= 1e-2 and values["batch.concat"] in (1, 2, 4) for values in first[1:])


def test_a_grid_over_a_range_includes_both_ends():
    assert ParameterSpec(low=1, high=8, steps=3, log=True).grid() == (1, 3, 8)
    assert ParameterSpec(low=0.0, high=1.0, steps=3).grid() == (0.0, 0.5, 1.0)


def test_every_repeat_visits_all_points_in_another_order(points):
    found = points(FACTORS).points
    order = interleaved(found, 3, seed=1)
    rounds = [[point.label for point, repeat in order if repeat == number] for number in range(3)]
    assert [repeat for _, repeat in order] == sorted(repeat for _, repeat in order)
    assert all(sorted(labels) == sorted(point.label for point in found) for labels in rounds)
    assert len({labels[0] for labels in rounds}) == 3
    assert order == interleaved(found, 3, seed=1)


def test_points_need_neither_torch_nor_ray():
    code = "import sys, w2v2_ray.tune.points; print([m for m in ('torch', 'ray') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
