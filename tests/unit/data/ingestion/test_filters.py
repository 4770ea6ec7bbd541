"""Filters of `prepare`: what `inspect` shows can be left out, by name, and counts for nothing against the source."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

from w2v2_ray.cli.app import app
from w2v2_ray.data.dataset import SpeechDataset
from w2v2_ray.data.ingestion.ingest_plan import IngestSettings
from w2v2_ray.data.ingestion.text_limits import TextLimits
from w2v2_ray.data.inspection.contents import measure_contents
from w2v2_ray.errors import DatasetError
from w2v2_ray.orchestration.ingest import HoldOut, prepare_dataset

TEXTS = {"a": "hello you", "b": "x", "c": "hello you " * 9, "d": "Hello You", "e": None, "f": ""}


def sound(seed: int, seconds: float = 2.0) -> np.ndarray:
    return np.random.default_rng(seed).integers(-9000, 9000, round(seconds * 16_000)).astype(np.int16)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    folder.mkdir()
    for number, (name, text) in enumerate(TEXTS.items()):
        soundfile.write(folder / f"{name}.wav", sound(number), 16_000)
        if text is not None:
            (folder / f"{name}.txt").write_text(text, encoding="utf-8")
    return folder


def ids(out: Path) -> set[str]:
    return {entry.id for entry in SpeechDataset.open(out)}


@pytest.mark.parametrize(
    ("limits", "gone", "reason"),
    [
        (TextLimits(min_chars_per_s=1), {"b"}, "text_too_short"),
        (TextLimits(max_chars_per_s=20), {"c"}, "text_too_long"),
        (TextLimits(symbols="a-z '"), {"d"}, "other_symbols"),
        (TextLimits(required=True), {"e", "f"}, "no_transcript"),
    ],
)
def test_each_filter_leaves_out_what_it_names(source, tmp_path, limits, gone, reason):
    summary = prepare_dataset(source, tmp_path / "out", settings=IngestSettings(texts=limits), max_rejects=0)
    assert ids(tmp_path / "out") == TEXTS.keys() - gone
    assert summary.rejected == {reason: len(gone)}
    rejects = [json.loads(line) for line in (tmp_path / "out" / "rejects.jsonl").read_text().splitlines()]
    assert {line["id"] for line in rejects} == gone


def test_symbols_that_are_no_set_are_one_error():
    with pytest.raises(DatasetError, match="is no set of characters"):
        TextLimits(symbols="z-a")


def copies(folder: Path) -> Path:
    folder.mkdir()
    for number in range(12):
        # 0, 4 and 8 sound alike; so do 1, 5, 9 in other files of another form.
        soundfile.write(folder / f"{number:02d}.{'flac' if number % 3 else 'wav'}", sound(number % 4, 1.0), 16_000)
    return folder


@pytest.mark.parametrize("jobs", [1, pytest.param(2, marks=[pytest.mark.ray, pytest.mark.slow])])
def test_of_copies_the_first_is_kept_whatever_shards_they_are_in(tmp_path, jobs):
    source = copies(tmp_path / "source")
    settings = IngestSettings(drop_copies=True, target_shard_bytes=64_000)
    summary = prepare_dataset(source, tmp_path / "out", settings=settings, jobs=jobs, max_rejects=0)
    assert ids(tmp_path / "out") == {"00", "01", "02", "03"}
    assert summary.rejected == {"copy": 8}
    assert summary.manifest.totals.utterances == 4
    found = measure_contents(SpeechDataset.open(tmp_path / "out", verify="checksums"))
    assert found.copies == 0
    assert "has the samples of 00" in (tmp_path / "out" / "rejects.jsonl").read_text()
    again = prepare_dataset(source, tmp_path / "out", settings=settings)
    assert again.was_finished
    with pytest.raises(DatasetError, match="made from another source, files or settings"):
        prepare_dataset(source, tmp_path / "out")


def test_what_is_held_out_is_not_in_the_training_set_under_another_name(tmp_path):
    source = copies(tmp_path / "source")
    settings = IngestSettings(drop_copies=True)
    held_out = HoldOut(0.3, tmp_path / "held", by_speaker=False)
    prepare_dataset(source, tmp_path / "kept", settings=settings, hold_out=held_out)
    parts = [SpeechDataset.open(tmp_path / name) for name in ("kept", "held")]
    sounds = [{np.asarray(entry.samples).tobytes() for entry in part} for part in parts]
    assert sounds[1]
    assert not sounds[0] & sounds[1]
    assert sum(map(len, parts)) == 4


def test_an_ingest_that_was_killed_while_it_dropped_copies_ends_the_same(tmp_path, monkeypatch):
    source = copies(tmp_path / "source")
    settings = IngestSettings(drop_copies=True, target_shard_bytes=64_000)
    prepare_dataset(source, tmp_path / "whole", settings=settings)

    def killed(*args: object, **more: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("w2v2_ray.orchestration.ingest.finalise", killed)
        with pytest.raises(KeyboardInterrupt):
            prepare_dataset(source, tmp_path / "out", settings=settings)
    prepare_dataset(source, tmp_path / "out", settings=settings)
    for path in (tmp_path / "whole").iterdir():
        assert path.read_bytes() == (tmp_path / "out" / path.name).read_bytes()


def test_the_command_takes_them(source, tmp_path):
    arguments = ["--min-chars-per-s", "1", "--max-chars-per-s", "20", "--symbols", "a-zA-Z ", "--require-text"]
    result = CliRunner().invoke(app, ["prepare", str(source), "--out", str(tmp_path / "out"), *arguments])
    assert result.exit_code == 0, result.output
    assert ids(tmp_path / "out") == {"a", "d"}
    assert "no_transcript 2" in result.output
