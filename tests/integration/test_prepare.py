"""`prepare` and `inspect` as a user runs them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
import typer
from typer.testing import CliRunner

from w2v2_ray.cli.inspect import inspect_command
from w2v2_ray.cli.prepare import prepare
from w2v2_ray.data.dataset import SpeechDataset
from w2v2_ray.data.ingestion.ingest_plan import IngestSettings
from w2v2_ray.errors import DatasetError
from w2v2_ray.orchestration.ingest import prepare_dataset


@pytest.fixture
def app() -> typer.Typer:
    app = typer.Typer()
    app.command("prepare")(prepare)
    app.command("inspect")(inspect_command)
    return app


@pytest.fixture
def source(tmp_path: Path) -> Path:
    for number in range(40):
        path = tmp_path / "source" / f"speaker{number % 4}" / f"{number:02d}.flac"
        path.parent.mkdir(parents=True, exist_ok=True)
        samples = np.random.default_rng(number).normal(0, 3000, (16000 + 50 * number, 2)).astype(np.int16)
        soundfile.write(path, samples, 16000)
    (tmp_path / "source" / "speaker0" / "bad.wav").write_text("no audio")
    return tmp_path / "source"


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.ray
@pytest.mark.slow
def test_any_number_of_jobs_gives_the_same_bytes(tmp_path, source):
    settings = IngestSettings(target_shard_bytes=100_000)
    for jobs in (1, 2):
        summary = prepare_dataset(source, tmp_path / str(jobs), settings=settings, jobs=jobs, max_rejects=0.1)
        assert len(summary.manifest.shards) > 4
        assert summary.rejected == {"wrong_header": 1}
    assert contents(tmp_path / "1") == contents(tmp_path / "2")


@pytest.mark.ray
@pytest.mark.slow
def test_an_error_of_the_user_in_a_ray_task_arrives_as_itself(tmp_path, source):
    out = tmp_path / "out"
    out.mkdir()
    (out / ".ingest").mkdir()
    (out / ".ingest" / "shard-00000.json").mkdir()  # the note cannot be written
    with pytest.raises(Exception, match=r"shard-00000\.json: cannot") as caught:
        prepare_dataset(source, out, settings=IngestSettings(target_shard_bytes=100_000), jobs=2)
    assert type(caught.value).__name__ == "StorageError"


def test_a_killed_command_run_again_completes_the_dataset(tmp_path, source):
    program = (
        "import sys, time, w2v2_ray.data.ingestion.ingest as ingest\n"
        "from w2v2_ray.data.ingestion.ingest_plan import IngestSettings\n"
        "from w2v2_ray.orchestration.ingest import prepare_dataset\n"
        "real = ingest.judge_speech\n"
        "def slow(*args):\n"
        "    time.sleep(0.05)\n"
        "    return real(*args)\n"
        "ingest.judge_speech = slow\n"
        "settings = IngestSettings(target_shard_bytes=100_000)\n"
        "prepare_dataset(sys.argv[1], sys.argv[2], settings=settings, max_rejects=0.1)\n"
    )
    out = tmp_path / "out"
    process = subprocess.Popen([sys.executable, "-c", program, str(source), str(out)], env={**os.environ})
    deadline = time.monotonic() + 120
    while not (out / ".ingest" / "shard-00001.json").exists():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (out / "dataset.json").exists()
    kept = (out / "shard-00000.arrow").stat().st_mtime_ns
    settings = IngestSettings(target_shard_bytes=100_000)
    prepare_dataset(source, out, settings=settings, max_rejects=0.1)
    prepare_dataset(source, tmp_path / "undisturbed", settings=settings, max_rejects=0.1)
    assert (out / "shard-00000.arrow").stat().st_mtime_ns == kept
    assert contents(out) == contents(tmp_path / "undisturbed")
    dataset = SpeechDataset.open(out, verify="checksums")
    assert len({dataset.utterance_id(index) for index in range(len(dataset))}) == len(dataset) == 40


def test_the_commands_report_what_they_did(tmp_path, source, app):
    runner, out = CliRunner(), str(tmp_path / "out")
    made = runner.invoke(app, ["prepare", str(source), "--out", out, "--max-rejects", "0.1", "--codec", "flac"])
    assert made.exit_code == 0, made.output
    assert "40 utterances" in made.output
    assert "rejected 1 of 41 (wrong_header 1); see rejects.jsonl" in made.output
    again = runner.invoke(app, ["prepare", str(source), "--out", out, "--codec", "flac"])
    assert again.exit_code == 0
    assert "finished already" in again.output
    shown = runner.invoke(app, ["inspect", out])
    report = json.loads(runner.invoke(app, ["inspect", out, "--json"]).output)
    assert report["utterances"] == 40
    assert report["speakers"] == 4
    assert report["codec"] == "flac"
    assert report["hours"] == pytest.approx(sum(16000 + 50 * n for n in range(40)) / 16000 / 3600)
    assert report["fingerprint"] in shown.output
    assert report["fingerprint"] in made.output
    assert len(report["lengths"]) == shown.output.count(" - ")


def test_inspect_verifies_checksums_unless_told_to_be_fast(tmp_path, source, app):
    out = tmp_path / "out"
    prepare_dataset(source, out, max_rejects=0.1)
    shard = out / "shard-00000.arrow"
    content = bytearray(shard.read_bytes())
    content[5000] ^= 255
    shard.write_bytes(content)
    damaged = CliRunner().invoke(app, ["inspect", str(out)])
    assert isinstance(damaged.exception, DatasetError)
    assert "shard-00000.arrow: is altered" in damaged.exception.message
    assert CliRunner().invoke(app, ["inspect", str(out), "--fast"]).exit_code == 0


@pytest.mark.shared
@pytest.mark.parametrize("codec", ["pcm16", "flac"])
def test_an4_gives_the_same_hours_and_audio_from_both_manifests(tmp_path, shared_dir, codec):
    an4 = shared_dir / "data" / "an4"
    datasets = []
    for name in ("train.tsv", "train.jsonl"):
        summary = prepare_dataset(an4 / name, tmp_path / name, settings=IngestSettings(codec=codec))
        assert summary.rejected == {}
        datasets.append(SpeechDataset.open(tmp_path / name, verify="checksums"))
    for dataset in datasets:
        assert len(dataset) == 850
        assert dataset.hours * 60 == pytest.approx(38.2, abs=0.05)
        assert dataset.manifest.totals.transcribed == 850
    first, second = datasets
    assert first.hours == second.hours
    for index in range(0, 850, 50):
        assert first.transcript(index) == second.transcript(index)
        assert first.speaker(index) == second.speaker(index)
        np.testing.assert_array_equal(first.audio(index), second.audio(index))
