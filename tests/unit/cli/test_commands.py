from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import typer
from typer.testing import CliRunner

from w2v2_ray import __version__
from w2v2_ray.cli.app import app
from w2v2_ray.errors import RunFailedError
from w2v2_ray.orchestration.ingest import prepare_dataset

REPOSITORY = Path(__file__).resolve().parents[3]
BASE = str(REPOSITORY / "jobs" / "pretrain_base.yaml")
BAD = "kind: pretrain\nname: x\ndata: {train: a}\nseed: -1\nbatch: {concat: 7}\n"


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    (folder / "audio").mkdir()
    rng = np.random.default_rng(0)
    for i, seconds in enumerate([0.5, *[2.5] * 12, *[4.0] * 6, 12.0]):
        soundfile.write(folder / "audio" / f"{i}.wav", 0.1 * rng.standard_normal(round(seconds * 16_000)), 16_000)
    prepare_dataset(folder / "audio", folder / "dataset")
    return folder / "dataset"


@pytest.fixture
def job(tmp_path, dataset):
    path = tmp_path / "job.yaml"
    path.write_text(
        f"kind: pretrain\npreset: tiny\nname: x\ndata: {{train: '{dataset}'}}\nelastic: {{max_workers: 3}}\n"
        "batch: {sub_batches_per_update: 8, min_samples: 16000, max_samples: 160000, max_tokens: 320000}\n"
    )
    return path


def test_validate_accepts_a_good_job_with_a_summary():
    result = run("validate", BASE, "--no-paths")
    assert result.exit_code == 0
    assert "95,044,608 parameters" in result.stdout


def test_validate_reports_every_mistake_and_exits_2(tmp_path):
    path = tmp_path / "bad.yaml"
    path.write_text(BAD)
    result = run("validate", path, "--no-paths", "--set", "optm.lr=1")
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.splitlines() == [
        "--set optm.lr=1: unknown key `optm`; did you mean `optim`?",
        f"{path}:4:7: seed: -1: too small: use 0 or more",
        f"{path}:5:17: batch: concat: 7 does not divide sub_batches_per_update: 64; use a divisor such as concat: 4",
        "3 mistakes",
    ]


def test_validate_speaks_json(tmp_path):
    path = tmp_path / "bad.yaml"
    path.write_text(BAD)
    result = run("validate", path, "--no-paths", "--json")
    assert result.exit_code == 2
    document = json.loads(result.stdout)
    assert not document["valid"]
    assert [(error["path"], error["line"]) for error in document["errors"]] == [("seed", 4), ("batch", 5)]
    path.write_text("[")
    assert "not valid YAML" in json.loads(run("validate", path, "--no-paths", "--json").stdout)["errors"][0]["message"]
    good = json.loads(run("validate", BASE, "--no-paths", "--json").stdout)
    assert (good["valid"], good["parameters"]) == (True, 95_044_608)


def test_validate_warns_on_stderr_without_failing():
    arguments = ["--set", "batch.sub_batches_per_update=8", "--set", "elastic.max_workers=1"]
    result = run("validate", BASE, "--no-paths", *arguments)
    assert result.exit_code == 0
    assert result.stderr.startswith(
        "warning: --set batch.sub_batches_per_update=8: batch: an update sees at most 700 s"
    )
    assert len(json.loads(run("validate", BASE, "--no-paths", *arguments, "--json").stdout)["warnings"]) == 1


def test_validate_opens_the_datasets_when_asked(job, dataset):
    assert run("validate", job).exit_code == 0
    result = run("validate", job, "--check-data")
    assert result.exit_code == 0
    assert f"{dataset}: 20 utterances" in result.stdout
    result = run("validate", job, "--check-data", "--set", "data.validation=[/nowhere/1, /nowhere/2]")
    assert result.exit_code == 2
    assert "/nowhere/1" in result.stderr
    assert "/nowhere/2" in result.stderr


@pytest.mark.parametrize("arguments", [["validate", BASE, "--no-paths"], ["schema"], ["--help"], ["train", "--help"]])
def test_light_commands_import_nothing_heavy(arguments):
    code = (
        "import sys\nfrom w2v2_ray.cli.app import app\n"
        "try:\n    app(sys.argv[1:])\nexcept SystemExit as stop:\n    assert not stop.code, stop.code\n"
        "heavy = {'torch', 'ray', 'pyarrow', 'deepspeed', 'numpy', 'matplotlib'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_schema_prints_json():
    result = run("schema", "--kind", "pretrain")
    assert json.loads(result.stdout)["properties"]["preset"]["enum"] == ["base", "large", "small", "tiny"]
    assert run("schema", "--kind", "nothing").exit_code == 2


def test_plan_prints_what_the_job_will_do(job):
    result = run("plan", job)
    assert result.exit_code == 0, result.stderr
    for text in ("20 utterances", "1 shorter than min_samples: 16000 (1 s)", "1 longer than max_samples", "expected"):
        assert text in result.stdout
    labels = [line.split("  ")[0].strip() for line in result.stdout.partition("Per worker")[0].splitlines()]
    labels = [label for label in labels if label]
    assert len(labels) == len(set(labels))
    assert "mixture" not in labels


def test_plan_says_what_each_dataset_is_of_an_epoch(job, dataset):
    result = run("plan", job, "--set", f"data.train=[{dataset},{dataset}]")
    assert result.exit_code == 0, result.stderr
    assert "".join(result.stdout.split()).count("50.0%(1.00times)") == 2


def test_plan_speaks_json(job):
    document = json.loads(run("plan", job, "--json", "--set", "updates=40").stdout)
    assert document["data"]["utterances"] == 20
    assert document["data"]["dropped_short"] == 1
    assert math.isclose(document["data"]["hours"] * 3600, 0.5 + 30 + 24 + 12, rel_tol=1e-6)
    assert document["epochs"] * document["sub_batches_per_epoch"] == 40 * 8
    assert [share["workers"] for share in document["workers"]] == [1, 2, 3]
    assert 0.3 < document["masked_frames_per_update"] / document["frames_per_update"] < 0.5


def test_plan_of_missing_datasets_names_them_all(job):
    result = run("plan", job, "--set", "data.train=/nowhere", "--set", "data.validation=/nor/here")
    assert result.exit_code == 2
    assert "data.train.0.path: /nowhere: no such dataset" in result.stderr
    assert "data.validation.0.path: /nor/here: no such dataset" in result.stderr
    assert result.stderr.endswith("2 mistakes\n")


def test_validate_looks_at_every_path_and_says_what_it_did_not_look_at(tmp_path, dataset):
    (tmp_path / "audio").mkdir()
    (tmp_path / "file").touch()
    path = tmp_path / "job.yaml"
    path.write_text(
        f"kind: finetune\npreset: tiny\nname: x\npretrained: {tmp_path}/run\nstorage_path: {tmp_path}/file/runs\n"
        f"data: {{train: [{dataset}, s3://bucket/more, {tmp_path}/audio], validation: {tmp_path}/file}}\n"
        f"vocabulary: {{path: {tmp_path}/vocab.json}}\nseed: -1\n"
    )
    result = run("validate", path)
    assert result.exit_code == 2
    for text in (
        ":4:13: pretrained: ",
        "run: no such run, checkpoint or model",
        ":5:15: storage_path: ",
        "file is a file, so no folder can be made there",
        "audio: a folder without dataset.json",
        "data.validation.0.path: ",
        "file: a file and no dataset",
        "vocab.json: no such file",
        "seed: -1: too small",
        "6 mistakes",
    ):
        assert text in result.stderr
    only_uris = [
        "--set",
        "data.train=s3://bucket/a",
        "--set",
        "data.validation=[]",
        "--set",
        "pretrained=s3://bucket/b",
    ]
    more = ["--set", f"storage_path={tmp_path}/new/runs", "--set", "vocabulary={}", "--set", "seed=1"]
    result = run("validate", path, *only_uris, *more, "--set", "vocabulary.path=null")
    assert result.exit_code == 0, result.stderr
    assert "not looked at: s3://bucket/a, s3://bucket/b" in result.stdout
    assert not (tmp_path / "new").exists()


def test_validate_and_plan_say_on_what_a_job_computes(job, monkeypatch):
    monkeypatch.setattr("w2v2_ray.processors.visible_gpus", lambda *_: 0)
    monkeypatch.setattr("w2v2_ray.processors.cpu_multiplies_bf16", lambda: False)
    assert (
        "computes on: CPU (no GPU on this machine), bf16 multiplied in fp32"
        in run("validate", job, "--set", "engine.precision=bf16").stdout
    )
    assert json.loads(run("plan", job, "--json").stdout)["computes_on"].startswith("CPU")
    monkeypatch.setattr("w2v2_ray.processors.visible_gpus", lambda *_: 2)
    monkeypatch.setattr("w2v2_ray.processors.usable_gpus", lambda: 2)
    assert "computes on: GPU, 1 a worker (worker.gpus: auto; this machine has 2 GPUs)" in run("validate", job).stdout


def test_the_version_is_printed():
    assert run("--version").stdout == f"w2v2-ray {__version__}\n"


def test_a_wrong_option_exits_2_with_a_near_miss():
    result = run("validte")
    assert result.exit_code == 2
    assert "validate" in result.stderr


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (RunFailedError("the worker died"), 1, "error: the worker died\n"),
        (
            KeyboardInterrupt(),
            130,
            "\ninterrupted; a training run or sweep continues when the same command is given again\n",
        ),
    ],
)
def test_what_a_command_raises_becomes_an_exit_code_and_a_message(monkeypatch, error, code, message):
    def fail(*_args, **_kwargs):
        raise error

    monkeypatch.setattr("w2v2_ray.api.jobs.validate", fail)
    result = run("validate", BASE, "--no-paths")
    assert (result.exit_code, result.stderr) == (code, message)


def test_an_unforeseen_error_is_a_traceback(monkeypatch):
    def fail(*_args, **_kwargs):
        raise ZeroDivisionError("bug")

    monkeypatch.setattr("w2v2_ray.api.jobs.validate", fail)
    result = run("validate", BASE, "--no-paths")
    assert result.exit_code == 1
    assert isinstance(result.exception, ZeroDivisionError)


def test_every_command_has_a_help_text():
    commands = typer.main.get_command(app).commands
    assert {"validate", "schema", "plan"} <= set(commands)
    assert all(command.help for command in commands.values())


def test_validate_takes_sweeps_and_spaces_and_says_what_they_leave_out(monkeypatch):
    monkeypatch.chdir(REPOSITORY)
    sweep = run("validate", "jobs/sweep_factors.yaml", "--json", "--set", "space=tune_spaces/batch_and_concat.yaml")
    assert sweep.exit_code == 0
    document = json.loads(sweep.stdout)
    assert (document["valid"], len(document["points"]), len(document["rejected"])) == (True, 12, 6)
    assert "a space of pretrain jobs" in run("validate", "tune_spaces/joint.yaml").stdout


def test_tune_lists_points_without_running_any(monkeypatch, tmp_path):
    monkeypatch.chdir(REPOSITORY)
    result = run("tune", "jobs/sweep_factors.yaml", "--dry-run", "--set", f"storage_path={tmp_path}")
    assert result.exit_code == 0
    assert "6 points, compared with: off" in result.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("path", sorted((REPOSITORY / "tune_spaces").glob("*.yaml")), ids=lambda path: path.name)
def test_every_space_has_points_for_the_published_job(path, monkeypatch):
    monkeypatch.chdir(REPOSITORY)
    found = run("validate", "jobs/sweep_factors.yaml", "--json", "--set", f"space={path.relative_to(REPOSITORY)}")
    assert len(json.loads(found.stdout)["points"]) > 5
