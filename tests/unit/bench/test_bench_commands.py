"""Every suite, through the command, with tiny sizes.

Cells are measured in this process (`here`): that each has one of its own is tested in test_bench_rounds.py.
"""

from __future__ import annotations

import json
from importlib import import_module
from importlib.util import find_spec

import numpy as np
import pytest
import soundfile
import torch
from typer.testing import CliRunner

from w2v2_ray.bench import rounds
from w2v2_ray.cli.app import app
from w2v2_ray.model.factory import build_ctc_model
from w2v2_ray.model.interop.loaded_model import LoadedModel
from w2v2_ray.model.interop.model_folder import write_model


def run(*arguments):
    return CliRunner().invoke(app, ["bench", *(str(argument) for argument in arguments)])


@pytest.fixture
def here(monkeypatch):
    def measure(place, settings, timeout_s=0.0):
        module, _, name = place.partition(":")
        found = getattr(import_module(module), name)(json.loads(json.dumps(settings)))
        return {"peak_rss_bytes": 1, "load_average": 0.0, **json.loads(json.dumps(found))}

    monkeypatch.setattr(rounds, "run_child", measure)


@pytest.fixture
def source(tmp_path):
    folder = tmp_path / "speech"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(4):
        soundfile.write(folder / f"{number}.wav", 0.1 * rng.standard_normal(20_000 + 1_000 * number), 16_000)
    return folder


def cells_of(result, suite, folder):
    assert result.exit_code == 0, result.output
    assert (folder / f"{suite}.md").read_text().startswith(f"## {suite}\n")
    document = json.loads((folder / f"{suite}.json").read_text())
    assert document["command"].startswith("w2v2-ray")
    assert any("mean nothing" in note for note in document["notes"])
    return {tuple(cell["labels"].values()): cell["repeats"] for cell in document["cells"]}


def test_the_step_is_measured_beside_transformers(here, tmp_path):
    result = run("step", "--quick", "--variant", "plain", "--out", tmp_path)
    cells = cells_of(result, "step", tmp_path)
    ours, theirs = (cells["plain", "fp32", who][0] for who in ("w2v2-ray", "transformers"))
    assert ours["audio_s_per_s"] > 0
    assert theirs["audio_s_per_s"] > 0
    assert np.isfinite(ours["loss"])


def test_a_recogniser_is_measured_beside_transformers(here, tmp_path):
    cells = cells_of(run("inference", "--quick", "--out", tmp_path), "inference", tmp_path)
    assert set(cells) == {("plain", "fp32", size, who) for size in "12" for who in ("w2v2-ray", "transformers")}
    assert all(repeats[0]["latency_ms"] > 0 for repeats in cells.values())


@pytest.fixture
def recogniser(tiny_job, tmp_path):
    spec = tiny_job().model
    torch.manual_seed(3)
    state = build_ctc_model(spec, 4).state_dict()
    write_model(LoadedModel(spec, "ctc", state, ("<pad>", "|", "a", "b"), source="m"), tmp_path / "model")
    return tmp_path / "model"


def test_a_recogniser_of_ones_own_is_measured(here, tmp_path, recogniser):
    cells = cells_of(run("inference", "--quick", "--model", recogniser, "--out", tmp_path), "inference", tmp_path)
    assert set(cells) == {("hourglass", "fp32", size, "w2v2-ray") for size in "12"}
    for (_, _, size, _), (figures,) in cells.items():
        assert figures["audio_s_per_s"] == pytest.approx(int(size) / figures["latency_ms"] * 1000)


@pytest.mark.parametrize(
    ("options", "said"),
    [(("--variant", "plain"), "leave one of them out"), ((), "neither a model folder")],
)
def test_a_model_that_cannot_be_measured_is_one_error(tmp_path, recogniser, options, said):
    model = recogniser if options else tmp_path
    result = run("inference", "--model", model, *options)
    assert result.exit_code == 2
    assert said in " ".join(result.output.split())


def test_a_state_is_saved_in_three_ways_and_is_as_large_in_each(here, tmp_path):
    cells = cells_of(run("checkpoint", "--quick", "--out", tmp_path), "checkpoint", tmp_path)
    copied, synced, theirs = (cells[(method,)][0] for method in ("async", "sync", "torch.save"))
    assert copied["stall_s"] < copied["total_s"]
    assert synced["stall_s"] == synced["total_s"]
    assert copied["state_bytes"] == pytest.approx(12 * copied["parameters"], rel=0.02)
    assert theirs["state_bytes"] == pytest.approx(copied["state_bytes"], rel=0.02)


@pytest.mark.long
def test_shards_and_files_are_delivered_and_an_epoch_is_the_same_audio(source, tmp_path):
    # Not `here`: a DataLoader forks, and what is forked off a process in which Arrow and torch have threads may crash.
    result = run("loader", "--quick", "--source", source, "--out", tmp_path)
    cells = cells_of(result, "loader", tmp_path)
    readers = ("shards, pcm16", "shards, flac", "files, wav", "files, flac")
    assert set(cells) == {(pages, reader) for pages in ("warm", "cold") for reader in readers}
    assert {cells["cold", reader][0]["hours"] for reader in readers} == {4 * 20_000 / 16_000 / 3600}
    assert all(repeats[0]["hours_per_s"] > 0 for repeats in cells.values())


def test_all_audio_is_ingested_whatever_the_format(here, source, tmp_path):
    result = run("ingest", "--quick", "--source", source, "--out", tmp_path, "--work", tmp_path / "work")
    cells = cells_of(result, "ingest", tmp_path)
    ways = {"prepare, pcm16", "prepare, flac", "soundfile alone"} | (
        {"datasets, int16"} if find_spec("datasets") else set()
    )
    assert set(cells) == {(suffix, way) for suffix in ("wav", "flac") for way in ways}
    for repeats in cells.values():
        assert repeats[0]["hours"] == pytest.approx(86_000 / 16_000 / 3600)
    assert sorted(path.name for path in (tmp_path / "work").iterdir()) == ["files.flac", "files.wav"]


def test_planning_and_opening_are_of_the_same_hours(here, tmp_path):
    cells = cells_of(run("planning", "--quick", "--out", tmp_path), "planning", tmp_path)
    planned, opened = cells[("batch plan",)][0], cells[("opening",)][0]
    assert planned["hours"] == pytest.approx(opened["hours"])
    assert planned["micro_batches"] > 1
    assert opened["shards"] >= 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["step", "--peer", "nvidia"], "--peer-path"),
        (["step", "--device", "cuda"], "no GPU"),
        (["step", "--rows", "0"], "--rows"),
        (["inference", "--precision", "fp8"], "--precision"),
        (["inference", "--device", "cuda"], "no GPU"),
        (["checkpoint", "--dim", "100"], "multiple of 64"),
        (["loader", "--source", "/nowhere/at/all"], "--source"),
        (["ingest", "--copies", "0"], "--copies"),
        (["planning", "--utterances", "0"], "--utterances"),
        (["planning", "--work", "/dev/null/x"], "--work"),
        (["everything"], "everything"),
    ],
)
def test_a_bad_option_ends_with_2_and_is_named(arguments, said, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr(rounds, "run_child", lambda *_: pytest.fail("was measured"))
    monkeypatch.setenv("TERMINAL_WIDTH", "200")
    result = run(*arguments)
    assert result.exit_code == 2
    assert said in result.output
    assert "Traceback" not in result.output
