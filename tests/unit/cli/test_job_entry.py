"""What a submitted command makes of its paths on the cluster."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from w2v2_ray.cli import app as app_module
from w2v2_ray.cli.job_entry import run, settle_paths
from w2v2_ray.errors import StorageError
from w2v2_ray.spec.loading import load_job

RELATIVE = "kind: pretrain\npreset: tiny\nname: x\nstorage_path: runs\ndata: {train: /shared/a}\n"
WHOLE = RELATIVE.replace("storage_path: runs", "storage_path: s3://bucket/runs")


@pytest.fixture
def upload(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The temporary copy that an entry point starts in; there is no shared folder."""
    folder = tmp_path / "upload"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.delenv("W2V2_RAY_ROOT", raising=False)
    return folder


@pytest.fixture
def shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "shared"
    folder.mkdir()
    monkeypatch.setenv("W2V2_RAY_ROOT", str(folder))
    return folder


def test_an_uploaded_spec_is_read_from_the_upload_and_other_paths_mean_the_shared_folder(upload, shared):
    (upload / "x.yaml").write_text(RELATIVE)
    arguments = settle_paths("train", ["x.yaml", "--set", "seed=3"])
    assert arguments == [str(upload / "x.yaml"), "--set", "seed=3"]
    assert Path.cwd() == shared


def test_without_a_shared_folder_everything_means_the_upload(upload):
    (upload / "x.yaml").write_text(RELATIVE)
    assert settle_paths("train", ["x.yaml"]) == [str(upload / "x.yaml")]
    assert Path.cwd() == upload


def test_a_sweep_finds_its_uploaded_files_after_the_folder_has_changed(upload, shared):
    (upload / "base.yaml").write_text(WHOLE)
    (upload / "space.yaml").write_text("optim.lr: {uniform: [0.0001, 0.001]}\n")
    (upload / "sweep.yaml").write_text("kind: sweep\nname: s\nbase: {file: base.yaml}\nspace: space.yaml\n")
    arguments = settle_paths("tune", ["sweep.yaml"])
    assert arguments[0] == str(upload / "sweep.yaml")
    pairs = set(zip(arguments[1::2], arguments[2::2], strict=True))
    assert pairs == {("--set", f"base.file={upload}/base.yaml"), ("--set", f"space={upload}/space.yaml")}


def test_a_spec_that_needs_a_shared_folder_which_the_node_lacks_ends_with_one_error(upload, monkeypatch):
    (upload / "x.yaml").write_text(RELATIVE)
    monkeypatch.setenv("W2V2_RAY_ROOT", "/absent/shared")
    with pytest.raises(StorageError, match="runs means /absent/shared/runs, but this node has no folder"):
        settle_paths("train", ["x.yaml"])


def test_overrides_count_when_a_missing_shared_folder_is_judged(upload, monkeypatch):
    monkeypatch.setenv("W2V2_RAY_ROOT", "/absent/shared")
    (upload / "x.yaml").write_text(RELATIVE)
    settle_paths("train", ["x.yaml", "--set", "storage_path=s3://bucket/runs"])
    (upload / "x.yaml").write_text(WHOLE)
    settle_paths("train", ["x.yaml"])
    assert Path.cwd() == upload
    with pytest.raises(StorageError, match="storage_path: here"):
        settle_paths("train", ["x.yaml", "--set", "storage_path=here"])


def test_arguments_of_other_commands_that_are_no_uploaded_files_are_left_alone(upload, shared):
    (upload / "list.txt").write_text("")
    arguments = settle_paths("prepare", ["audio", "--out", "data", "list.txt"])
    assert arguments == ["audio", "--out", "data", str(upload / "list.txt")]


def test_the_command_is_run_with_settled_paths(upload, shared, monkeypatch):
    (upload / "x.yaml").write_text(RELATIVE)
    called: list[list[str]] = []
    monkeypatch.setattr(app_module, "app", called.append)
    run("train", ["x.yaml"])
    assert called == [["train", str(upload / "x.yaml")]]


def test_a_mistake_ends_the_job_with_2_and_one_message(upload, capsys):
    (upload / "x.yaml").write_text(RELATIVE + "seed: -1\n")
    with pytest.raises(SystemExit) as ended:
        run("train", ["x.yaml"])
    assert ended.value.code == 2
    assert "seed: -1" in capsys.readouterr().err


def test_a_missing_shared_folder_ends_the_job_with_2(upload, monkeypatch, capsys):
    monkeypatch.setenv("W2V2_RAY_ROOT", "/absent/shared")
    (upload / "x.yaml").write_text(RELATIVE)
    with pytest.raises(SystemExit) as ended:
        run("train", ["x.yaml"])
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith("error: storage_path: ")


@pytest.mark.parametrize("command", ["prepare", "train", "tune", "evaluate"])
def test_every_entry_point_of_jobs_runs_its_own_command(command, monkeypatch):
    import runpy

    called: list[tuple[str, list[str]]] = []
    entry = importlib.import_module("w2v2_ray.cli.job_entry")
    monkeypatch.setattr(entry, "run", lambda name, arguments: called.append((name, list(arguments))))
    monkeypatch.setattr("sys.argv", ["program", "a", "b"])
    runpy.run_module(f"jobs.{command}", run_name="__main__")
    assert called == [(command, ["a", "b"])]


def test_a_spec_settled_this_way_loads_from_elsewhere(upload, shared):
    (upload / "x.yaml").write_text(RELATIVE)
    (file,) = settle_paths("train", ["x.yaml"])
    assert load_job(file).job.name == "x"
