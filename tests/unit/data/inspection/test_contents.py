"""What `inspect` says of a dataset's content: copies, symbols, texts that do not fit their audio."""

from __future__ import annotations

import json

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

from w2v2_ray.cli.app import app
from w2v2_ray.data.dataset import SpeechDataset
from w2v2_ray.data.ingestion.ingest_plan import IngestSettings
from w2v2_ray.data.inspection.contents import measure_contents
from w2v2_ray.orchestration.ingest import prepare_dataset

TEXTS = {"a": "ten letters", "b": "ten letters", "c": "ten letters", "long": "far too many " * 8, "short": "a"}


@pytest.fixture
def source(tmp_path):
    folder = tmp_path / "source"
    folder.mkdir()
    for number, (name, text) in enumerate(TEXTS.items()):
        seed = 0 if name == "b" else number  # b is a
        samples = np.random.default_rng(seed).normal(0, 0.1, 16_000)
        soundfile.write(folder / f"{name}.wav", samples, 16_000)
        (folder / f"{name}.txt").write_text(text)
    return folder


def opened(source, out, **settings) -> SpeechDataset:
    prepare_dataset(source, out, settings=IngestSettings(**settings))
    return SpeechDataset.open(out)


def test_copies_symbols_and_misfits_are_found(source, tmp_path):
    found = measure_contents(opened(source, tmp_path / "out"))
    assert (found.copies, found.copy_examples) == (1, ("b = a",))
    assert (found.too_fast, found.too_slow, found.misfit_examples) == (1, 1, ("long", "short"))
    assert found.symbols["f"] == 8
    assert found.characters_per_s.median == pytest.approx(10)


def test_the_fingerprint_is_of_the_audio_alone(source, tmp_path):
    before = measure_contents(opened(source, tmp_path / "out")).audio_fingerprint
    for number, path in enumerate(sorted(source.glob("*.wav"), reverse=True)):
        path.rename(source / f"{number}.wav")
    for path in source.glob("*.txt"):
        path.unlink()
    again = measure_contents(opened(source, tmp_path / "again", codec="flac", target_shard_bytes=30_000))
    assert again.audio_fingerprint == before
    assert again.characters_per_s is None
    (source / "0.wav").unlink()
    assert measure_contents(opened(source, tmp_path / "fewer")).audio_fingerprint != before


def test_inspect_shows_them(source, tmp_path):
    out = tmp_path / "out"
    dataset = opened(source, out)
    shown = CliRunner().invoke(app, ["inspect", str(out)]).output
    for words in (
        measure_contents(dataset).audio_fingerprint,
        "b = a",
        "1 texts too long for their audio, 1 too short",
    ):
        assert words in shown
    report = json.loads(CliRunner().invoke(app, ["inspect", str(out), "--json"]).output)
    assert report["contents"]["copies"] == 1
    assert json.loads(CliRunner().invoke(app, ["inspect", str(out), "--json", "--fast"]).output)["contents"] is None
