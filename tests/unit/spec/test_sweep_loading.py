from __future__ import annotations

import pytest

from w2v2_ray.errors import SpecError
from w2v2_ray.spec.loading import dump_job, load_job_text
from w2v2_ray.spec.sweep_loading import load_space, load_sweep

BASE = "kind: pretrain\npreset: tiny\nname: x\ndata: {train: a}\n"
SWEEP = """kind: sweep
name: s
base: base.yaml
space:
  parameters:
    batch.concat: [1, 2]
"""


@pytest.fixture
def write(tmp_path, monkeypatch):
    """`write(text)` writes `sweep.yaml` beside a base job, in the current directory."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "base.yaml").write_text(BASE)

    def make(text, name="sweep.yaml"):
        (tmp_path / name).write_text(text)
        return name

    return make


def messages(call, *args):
    with pytest.raises(SpecError) as caught:
        call(*args)
    return caught.value.message.splitlines()


def test_short_forms_and_a_space_file_give_the_same_as_the_long_forms(write):
    write("kind: space\nname: p\nparameters: {batch.concat: {choices: [1, 2]}}\n", "space.yaml")
    short = load_sweep(write(SWEEP))
    long = load_sweep(write("kind: sweep\nname: s\nbase: {file: base.yaml}\nspace: {file: space.yaml}\n"))
    assert short.parameters == long.parameters
    assert short.base.job == long.base.job


def test_base_set_changes_the_job_and_an_option_changes_the_set(write):
    loaded = load_sweep(write(SWEEP.replace("base.yaml", "{file: base.yaml, set: {updates: 50}}")), ["base.set.seed=9"])
    assert (loaded.base.job.updates, loaded.base.job.seed) == (50, 9)


def test_a_base_job_written_out_takes_the_name_of_the_sweep(write):
    text = SWEEP.replace("base: base.yaml", "base: {job: {kind: pretrain, preset: tiny, data: {train: a}}}")
    assert load_sweep(write(text)).base.job.name == "s"


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (
            "batch.concat: [1, 2]",
            "batch.conct: [1, 2]",
            "sweep.yaml:6:5: batch.conct: unknown key `conct`; did you mean `concat`?",
        ),
        ("batch.concat: [1, 2]", "lr: [1]", "sweep.yaml:6:5: lr: unknown key `lr` here; it belongs to `optim`"),
        ("batch.concat: [1, 2]", "name: [a]", "sweep.yaml:6:5: name: cannot vary"),
        ("batch.concat: [1, 2]", "seed: {low: 1, high: 4}", "sweep.yaml:6:5: seed: search.method: grid needs `steps:`"),
        ("batch.concat: [1, 2]", "seed: {low: 4, high: 1}", "low: 4 is not below high: 1"),
        ("batch.concat: [1, 2]", "seed: {choices: [1], low: 1}", "write either `choices: [...]` or `low:` and `high:`"),
        ("batch.concat: [1, 2]", "optim.lr: {low: 0, high: 1, log: true}", "low: 0 has no logarithm"),
        ("batch.concat: [1, 2]", "seed: {choices: [1, 2], labels: [a]}", "labels: 1 names for 2 choices"),
        ("batch.concat: [1, 2]", "seed.deeper: [1]", "`seed` is a value and has no key `deeper`"),
        ("name: s", "name: s\nmode: fast", "sweep.yaml:3:7: mode: fast: not among the choices"),
        ("name: s", "name: s\nmode: find_concat", "mode: find_concat looks for batch.concat itself"),
        ("name: s", "name: s\nmode: quality\nsearch: {method: optuna}", "search.method: optuna weighs throughput"),
        ("name: s", "name: s\nsearch: {max_points: 1}", "the grid has 2 points, above search.max_points: 1"),
        ("base: base.yaml", "base: bse.yaml", "bse.yaml: no such file; did you mean base.yaml?"),
        ("base: base.yaml", "base: sweep.yaml", "kind: sweep, but this takes kind: pretrain or finetune"),
        ("base: base.yaml", "base: {file: base.yaml, set: {batch.conct: 1}}", "unknown key `conct`"),
        ("name: s", "name: s\nthroughput: {set: {updates: 0}}", "sweep.yaml:3:29: updates: 0: too small"),
    ],
)
def test_a_mistake_in_a_sweep_is_named_with_its_place_and_remedy(write, old, new, expected):
    found = messages(load_sweep, write(SWEEP.replace(old, new)))
    assert any(expected in message for message in found), found


def test_a_space_of_another_kind_of_job_is_refused(write):
    write("kind: space\nname: p\nof: finetune\nparameters: {freeze_updates: [1, 2]}\n", "space.yaml")
    text = "kind: sweep\nname: s\nbase: base.yaml\nspace: space.yaml\n"
    assert "is a space of finetune jobs" in messages(load_sweep, write(text))[0]


def test_a_space_alone_is_checked_against_the_kind_of_job_it_is_of(write):
    name = write("kind: space\nname: p\nparameters: {freeze_updates: [1]}\n", "space.yaml")
    assert "unknown key `freeze_updates`" in messages(load_space, name)[0]


def test_a_sweep_written_out_loads_back_to_the_same(write):
    sweep = load_sweep(write(SWEEP)).sweep
    assert load_job_text(dump_job(sweep), "again.yaml").job == sweep
