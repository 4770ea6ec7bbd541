from __future__ import annotations

import contextlib
import json
import pickle

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from w2v2_ray.errors import SpecError
from w2v2_ray.spec import loading
from w2v2_ray.spec.diagnostics import InvalidJobError
from w2v2_ray.spec.document import Origin, parse_yaml
from w2v2_ray.spec.loading import dump_job, load_job, load_job_text
from w2v2_ray.spec.optim import ExpSchedule
from w2v2_ray.spec.presets import preset_names, read_preset

GOOD = "kind: pretrain\nname: x\ndata: {train: a}\n"


def load(text=GOOD, *overrides):
    return load_job_text(text, "job.yaml", overrides).job


def test_a_file_is_loaded_by_its_path(tmp_path):
    path = tmp_path / "job.yaml"
    path.write_text("\ufeff" + GOOD, encoding="utf-8")
    loaded = load_job(path, ["updates=40000"])
    assert loaded.job.updates == 40_000
    assert loaded.source == str(path)
    assert loaded.warnings == ()


@pytest.mark.parametrize("preset", ["base", "large", "small", "tiny"])
def test_a_dumped_job_loads_back_to_the_same_job(preset):
    job = load(f"kind: pretrain\npreset: {preset}\nname: x\ndata: {{train: [a, {{path: b, repeat: 3}}]}}\n")
    text = dump_job(job)
    assert load(text) == job
    assert dump_job(load(text)) == text


@settings(max_examples=15, deadline=None)
@given(
    path=st.text(min_size=1, max_size=20),
    lr=st.floats(min_value=1e-12, max_value=1e12),
    seed=st.integers(min_value=0, max_value=2**70),
)
def test_any_value_survives_dumping(path, lr, seed):
    job = load()
    data = job.data.model_copy(update={"train": (job.data.train[0].model_copy(update={"path": path}),)})
    optim = job.optim.model_copy(update={"lr": lr})
    odd = job.model_copy(update={"data": data, "optim": optim, "seed": seed})
    if all(character.isprintable() for character in path):
        assert load(dump_job(odd)) == odd


@pytest.mark.parametrize("name", ["123", "1e5", "0x10", "1_000", "null", "true", "2020-01-01"])
def test_a_name_that_looks_like_something_else_survives_dumping(name):
    job = load(GOOD.replace("name: x", f'name: "{name}"'))
    assert job.name == name
    assert load(dump_job(job)).name == name


def test_nulls_are_written_out():
    assert "cache_dir: null" in dump_job(load())


def test_numbers_are_read_as_people_write_them():
    job = load(GOOD + "optim: {lr: 5e-4}\nbatch: {max_tokens: 1_400_000}\nseed: 0x10\n")
    assert (job.optim.lr, job.batch.max_tokens, job.seed) == (5e-4, 1_400_000, 16)


def test_the_file_overrides_the_preset_key_by_key():
    job = load("kind: pretrain\npreset: large\nname: x\ndata: {train: a}\nmodel: {encoder: {dropout: 0.2}}\n")
    assert job.model.encoder.dropout == 0.2
    assert job.model.encoder.layers == 24


def test_null_takes_the_hourglass_out():
    assert load(GOOD + "model: {encoder: {hourglass: null}}\n").model.encoder.hourglass is None


def test_another_policy_replaces_the_schedule_of_the_preset():
    text = GOOD + "preset: base\noptim: {schedule: {policy: exp, warmup_updates: 10, hold_updates: 20}}\n"
    schedule = load(text).optim.schedule
    assert schedule == ExpSchedule(warmup_updates=10, hold_updates=20)


def test_a_schedule_without_policy_changes_the_one_below():
    schedule = load(GOOD + "preset: base\noptim: {schedule: {power: 2.0}}\n").optim.schedule
    assert (schedule.policy, schedule.warmup_updates, schedule.power) == ("poly", 32_000, 2.0)


def test_the_preset_can_be_chosen_on_the_command_line():
    job = load(GOOD + "preset: base\n", "preset=large")
    assert job.model.encoder.dim == 1024


def test_presets_may_build_on_presets(monkeypatch):
    texts = {"big": "preset: base\nupdates: 500000\n", "circle": "preset: circle\n", "broken": "seed: -1\n"}

    def read(kind, name):
        return parse_yaml(texts[name], name, Origin.PRESET) if name in texts else read_preset(kind, name)

    monkeypatch.setattr(loading, "read_preset", read)
    monkeypatch.setattr(loading, "preset_names", lambda kind: [*preset_names(kind), *texts])
    job = load(GOOD + "preset: big\n")
    assert (job.updates, job.batch.concat) == (500_000, 8)
    with pytest.raises(SpecError, match="circle -> circle"):
        load(GOOD + "preset: circle\n")
    with pytest.raises(SpecError, match=r"^broken:1:7: seed: -1: too small"):
        load(GOOD + "preset: broken\n")


def test_a_rule_broken_by_file_and_preset_together_points_at_the_file():
    with pytest.raises(InvalidJobError, match=r"^job\.yaml:5:10: optim.schedule.warmup_updates: 32000"):
        load(GOOD + "preset: base\nupdates: 900\n")
    with pytest.raises(InvalidJobError, match=r"^job\.yaml:5:31: model.encoder: heads: 12 does not divide dim: 500"):
        load(GOOD + "preset: base\nmodel: {encoder: {  dim:      500, position_groups: 10}}\n")


def test_options_apply_in_order_and_after_the_file():
    assert load(GOOD + "seed: 3\n", "seed=4", "seed=5").seed == 5


def test_an_option_reaches_into_lists_short_forms_and_defaults():
    job = load(
        GOOD,
        "data.train.0.repeat=2",
        "model.feature_encoder.conv_layers.6.0=256",
        "optim.betas.1=0.95",
    )
    assert (job.data.train[0].path, job.data.train[0].repeat) == ("a", 2)
    assert job.model.feature_encoder.channels == 256
    assert job.model.feature_encoder.conv_layers[0] == (512, 10, 5)
    assert job.optim.betas == (0.9, 0.95)


def test_an_option_can_replace_a_list_a_mapping_and_null():
    job = load(
        GOOD + "model: {encoder: {hourglass: null}}\n",
        "data.train=[b, c]",
        "model.encoder.hourglass.shorten_factor=3",
        "optim={lr: 1e-3, clip_norm: null}",
    )
    assert [ref.path for ref in job.data.train] == ["b", "c"]
    assert job.model.encoder.hourglass.shorten_factor == 3
    assert (job.optim.lr, job.optim.clip_norm) == (1e-3, None)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("seed.0=1", "seed: 1: is not a list"),
        ("a..b=1", "empty part"),
        ("=1", "empty part"),
        ("seed=[1", "not valid YAML"),
        ("seed=!!python/name:os.system x", "tags are not allowed"),
    ],
)
def test_an_option_that_fits_nothing_is_explained(option, message):
    with pytest.raises(SpecError, match=message) as caught:
        load(GOOD + "seed: 1\n", option)
    assert f"--set {option}" in caught.value.message


def test_short_forms_and_long_forms_of_datasets_mean_the_same():
    forms = ["a", "[a]", "{path: a}", "[{path: a}]", "[{path: a, repeat: 1}]"]
    assert len({load(f"kind: pretrain\nname: x\ndata: {{train: {form}}}\n").data.train for form in forms}) == 1


def test_too_little_audio_in_an_update_is_advised_against_with_its_place():
    (warning,) = load_job_text(GOOD + "batch: {sub_batches_per_update: 8}\n", "job.yaml").warnings
    assert str(warning).startswith("job.yaml:4:33: batch: an update sees at most 700 s of audio")
    assert "6.66" in warning.message


ZERO = "batch: {sub_batches_per_update: 64}\nengine: {zero_stage: STAGE, precision: PRECISION}\nelastic: {WORKERS}\n"


@pytest.mark.parametrize("precision", ["bf16", "fp32"])
@pytest.mark.parametrize("stage", [1, 2, 3])
@pytest.mark.parametrize(
    ("workers", "odd"),
    [
        ("min_workers: 1, max_workers: 2", None),
        ("min_workers: 2, max_workers: 3", 3),
        ("min_workers: 1, max_workers: 4", 3),
        ("min_workers: 3, max_workers: 3", None),
    ],
)
def test_zero_2_and_3_are_advised_against_where_they_would_tell_the_number_of_workers(precision, stage, workers, odd):
    text = GOOD + ZERO.replace("PRECISION", precision).replace("WORKERS", workers).replace("STAGE", str(stage))
    warnings = [str(warning) for warning in load_job_text(text, "job.yaml").warnings if "zero_stage" in str(warning)]
    if stage == 1 or "3, max_workers: 3" in workers:
        assert warnings == []
        return
    (warning,) = warnings
    if stage == 3 and precision == "bf16" and odd is not None:
        assert f"by one such as {odd}, no power of two" in warning
        assert "fifth digit" in warning
    else:
        assert "seventh digit" in warning


@pytest.mark.parametrize("preset", ["base", "large", "small", "tiny"])
def test_presets_give_no_advice(preset):
    assert load_job_text(GOOD + f"preset: {preset}\n", "job.yaml").warnings == ()


def test_a_missing_file_is_named_with_its_near_miss(tmp_path):
    (tmp_path / "base.yaml").write_text(GOOD)
    with pytest.raises(SpecError, match=r"bse\.yaml: no such file; did you mean .*base\.yaml"):
        load_job(tmp_path / "bse.yaml")


def test_folders_and_binary_files_are_explained(tmp_path):
    with pytest.raises(SpecError, match="is a folder"):
        load_job(tmp_path)
    (tmp_path / "x.yaml").write_bytes(b"kind: \xff\xfe")
    with pytest.raises(SpecError, match="byte 6 is not UTF-8"):
        load_job(tmp_path / "x.yaml")
    (tmp_path / "y.yaml").write_bytes(b"kind: \x00")
    with pytest.raises(SpecError, match="not valid YAML"):
        load_job(tmp_path / "y.yaml")


def test_aliases_cannot_fill_the_memory():
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 9)]
    with pytest.raises(SpecError, match="too large once its aliases are followed"):
        load("\n".join(lines))


@pytest.mark.parametrize("text", ["a: &a [*a]\n", "a: " + "[" * 5000, "a: " + "{a: " * 200 + "}" * 200])
def test_endless_and_deep_nesting_is_refused(text):
    with pytest.raises(SpecError):
        load(text)


def test_a_path_without_end_is_refused_in_a_line():
    with pytest.raises(SpecError, match="5001 levels, the limit is 64") as caught:
        load(GOOD, "a." * 5000 + "b=1")
    assert len(caught.value.message) < 300


@settings(max_examples=80, deadline=None)
@given(st.text(alphabet="kind:pretra{}[]&*!|>-?,#'\" \n\t0123.~%@`", max_size=80))
def test_no_text_whatever_gives_anything_but_a_spec_error(text):
    with pytest.raises(SpecError):
        load(text)


_PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=5,
)
_PATHS = st.sampled_from(
    ["model", "model.encoder", "model.encoder.hourglass", "optim.schedule", "optim.betas", "data.train", "engine",
     "batch.concat", "model.feature_encoder.conv_layers", "updates", "elastic", "data", "optim.schedule.policy"]
)  # fmt: skip


@settings(max_examples=80, deadline=None)
@given(_PATHS, _PLAIN)
def test_no_value_anywhere_gives_anything_but_a_job_or_a_spec_error(path, value):
    with contextlib.suppress(SpecError):
        load(GOOD, f"{path}={json.dumps(value)}")


def test_errors_survive_pickling_with_their_message():
    with pytest.raises(InvalidJobError) as caught:
        load(GOOD + "seed: -1\n")
    copy = pickle.loads(pickle.dumps(caught.value))
    assert isinstance(copy, InvalidJobError)
    assert copy.message == caught.value.message


def test_mistakes_carry_their_place_as_data():
    with pytest.raises(InvalidJobError) as caught:
        load(GOOD + "seed: -1\n")
    assert [diagnostic.as_dict() for diagnostic in caught.value.diagnostics] == [
        {
            "source": "job.yaml",
            "line": 4,
            "column": 7,
            "path": "seed",
            "value": "-1",
            "message": "too small: use 0 or more",
        }
    ]
