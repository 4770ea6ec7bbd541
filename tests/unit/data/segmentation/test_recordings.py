"""Recordings of minutes to pieces, by `prepare --segment`: whatever is said, in bounded memory, resumable."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

from w2v2_ray.audio.samples import SAMPLE_RATE
from w2v2_ray.audio.speech_file import open_speech
from w2v2_ray.cli.app import app
from w2v2_ray.data.dataset import SpeechDataset
from w2v2_ray.data.piece_settings import PieceSettings
from w2v2_ray.data.segmentation import recordings
from w2v2_ray.data.segmentation.detectors import FRAME_SAMPLES, EnergyDetector, make_detector
from w2v2_ray.data.segmentation.recordings import SegmentSettings
from w2v2_ray.errors import DatasetError, MissingExtraError
from w2v2_ray.orchestration.ingest import prepare_dataset


def talk(parts: list[tuple[float, bool]], seed: int = 0) -> np.ndarray:
    """Noise, in which somebody hums for so many seconds, or does not."""
    rng = np.random.default_rng(seed)
    pieces = []
    for seconds, hums in parts:
        count = round(seconds * SAMPLE_RATE)
        level = 6_000 * np.sin(np.arange(count) * 0.05) * (1 + 0.5 * np.sin(np.arange(count) * 0.001))
        pieces.append((level if hums else 0) + rng.normal(0, 20, count))
    return np.concatenate(pieces).astype(np.int16)


def minutes(seed: int = 0) -> np.ndarray:
    return talk(
        [(2, False), (5, True), (1.5, False), (12, True), (0.4, False), (10, True), (3, False), (1, True)] * 3, seed
    )


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    folder.mkdir()
    for number in range(3):
        soundfile.write(folder / f"{number}.wav", minutes(number), SAMPLE_RATE)
    soundfile.write(folder / "short.wav", talk([(4, True)]), SAMPLE_RATE)
    return folder


def rows(out: Path):
    return [(entry.id, len(entry.samples)) for entry in SpeechDataset.open(out)]


def test_recordings_become_pieces_with_their_times_and_short_files_stay_whole(source, tmp_path):
    summary = prepare_dataset(source, tmp_path / "out", segment=SegmentSettings())
    found = rows(tmp_path / "out")
    assert found[-1] == ("short", 4 * SAMPLE_RATE)
    pieces = {name: samples for name, samples in found if "@" in name}
    # Three times 5 s and 22.4 s; the hum of a second is too short.
    assert len(pieces) == 3 * 6
    whole = minutes(0)
    dataset = {entry.id: entry.samples for entry in SpeechDataset.open(tmp_path / "out")}
    for name, samples in dataset.items():
        if name.startswith("0@"):
            start = int(name.partition("@")[2].removesuffix("ms")) * SAMPLE_RATE // 1000
            assert (np.asarray(samples) == whole[start : start + len(samples)]).all()
    report = summary.listing.segmented
    assert (report.recordings, report.pieces, report.with_texts) == (3, 18, 0)
    assert report.hours == pytest.approx(3 * len(whole) / SAMPLE_RATE / 3600)
    assert report.speech_share == pytest.approx(28 / 35.4, abs=0.05)
    assert report.kept_hours + report.short_hours < report.hours
    record = json.loads((tmp_path / "out" / "ingest.json").read_text())["source"]
    assert record["segmented"] == report.as_dict()


def test_limits_are_kept(source, tmp_path):
    settings = SegmentSettings(pieces=PieceSettings(min_s=0.5, max_s=8.0))
    prepare_dataset(source, tmp_path / "out", segment=settings)
    lengths = [samples / SAMPLE_RATE for _, samples in rows(tmp_path / "out")]
    assert max(lengths) <= 8.0
    assert min(lengths) >= 0.5
    assert sum(lengths) > 3 * 3 * 27  # all that was hummed


def test_a_text_cannot_be_cut_so_its_recording_is_left_whole_and_said(source, tmp_path):
    (source / "1.txt").write_text("all of it")
    summary = prepare_dataset(source, tmp_path / "out", segment=SegmentSettings(), max_rejects=0.5)
    assert summary.listing.segmented.with_texts == 1
    assert summary.rejected == {"too_long": 1}
    assert "cannot be cut" in str(summary.listing.segmented)


def test_a_recording_that_is_damaged_is_rejected_by_name(source, tmp_path):
    path = source / "1.wav"
    path.write_bytes(path.read_bytes()[:1_000_000])
    summary = prepare_dataset(source, tmp_path / "out", segment=SegmentSettings(), max_rejects=0.5)
    assert summary.rejected == {"truncated": 1}
    assert json.loads((tmp_path / "out" / "rejects.jsonl").read_text())["path"] == "1.wav"


def test_nothing_but_silence_is_one_error(tmp_path):
    (tmp_path / "source").mkdir()
    soundfile.write(tmp_path / "source" / "a.wav", talk([(40, False)]), SAMPLE_RATE)
    with pytest.raises(DatasetError, match=r"nothing is left: 1 recordings of 0\.01 h"):
        prepare_dataset(tmp_path / "source", tmp_path / "out", segment=SegmentSettings())


def test_an_interrupted_search_goes_on_where_it_was(source, tmp_path, monkeypatch):
    searched = []
    find = recordings._segmented

    def counted(item, *rest):
        searched.append(item.source)
        if len(searched) == 3:
            raise KeyboardInterrupt
        return find(item, *rest)

    monkeypatch.setattr(recordings, "_segmented", counted)
    with pytest.raises(KeyboardInterrupt):
        prepare_dataset(source, tmp_path / "out", segment=SegmentSettings())
    prepare_dataset(source, tmp_path / "out", segment=SegmentSettings())
    assert searched == ["0.wav", "1.wav", "2.wav", "2.wav", "short.wav"]
    monkeypatch.undo()
    prepare_dataset(source, tmp_path / "undisturbed", segment=SegmentSettings())
    assert rows(tmp_path / "out") == rows(tmp_path / "undisturbed")


@pytest.mark.parametrize("detector", ["energy", "silero"])
def test_scores_cover_a_file_of_any_length_the_same_as_in_one_block(tmp_path, detector, monkeypatch):
    if detector == "silero":
        pytest.importorskip("silero_vad", reason="the extra [segment] is not installed")
        monkeypatch.setattr("w2v2_ray.data.segmentation.detectors.SileroDetector._windows", 2)
    monkeypatch.setattr("w2v2_ray.data.segmentation.detectors._BLOCK_FRAMES", 300)
    for count in (1, 511, 512, 513, 16_000, 300 * 512, 300 * 512 * 2 + 77, 300 * 512 * 5 - 1):
        path = tmp_path / "a.wav"
        soundfile.write(path, np.resize(minutes(), count), SAMPLE_RATE)
        with open_speech(path) as file:
            blocks = [*make_detector(detector).scores(file)]
        scores = np.concatenate(blocks)
        assert len(scores) == -(-count // FRAME_SAMPLES)
        assert ((scores >= 0) & (scores <= 1)).all()


def test_blocks_of_the_network_agree_with_frame_by_frame(tmp_path, monkeypatch, shared_dir):
    """On real speech, over the seams of windows."""
    silero_vad = pytest.importorskip("silero_vad", reason="the extra [segment] is not installed")
    import torch

    files = (
        sorted((shared_dir / "data" / "ljspeech").rglob("*.wav"))[:6]
        or sorted((shared_dir / "data" / "ljspeech").rglob("*.ogg"))[:6]
    )
    samples = np.concatenate([recordings_samples(path) for path in files])
    soundfile.write(tmp_path / "a.wav", samples, SAMPLE_RATE)
    monkeypatch.setattr("w2v2_ray.data.segmentation.detectors._BLOCK_FRAMES", 400)
    with open_speech(tmp_path / "a.wav") as file:
        ours = np.concatenate([*make_detector("silero").scores(file)])
    model = silero_vad.load_silero_vad()
    padded = torch.from_numpy(np.pad(samples, (0, -len(samples) % FRAME_SAMPLES)).astype(np.float32) / 32_768)
    with torch.inference_mode():
        theirs = torch.cat([model(frame[None], SAMPLE_RATE)[:, 0] for frame in padded.split(FRAME_SAMPLES)]).numpy()
    assert ((ours >= 0.5) == (theirs >= 0.5)).mean() > 0.98


def recordings_samples(path: Path) -> np.ndarray:
    from w2v2_ray.audio.reading import load_speech

    return load_speech(path)


def test_memory_does_not_grow_with_the_recording(tmp_path):
    """Blocks of a minute are all that is asked of a file."""
    asked = []

    class Endless:
        num_samples = 10 * 3600 * SAMPLE_RATE

        def read(self, start, count):
            asked.append(count)
            return np.zeros(count, np.int16)

    scores = EnergyDetector().scores(Endless())
    for _ in range(5):
        next(scores)
    assert max(asked) == 60 * SAMPLE_RATE


def test_without_the_extra_the_way_out_is_said(monkeypatch):
    monkeypatch.setattr("w2v2_ray.data.segmentation.detectors.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"pip install 'w2v2-ray\[segment\]'"):
        make_detector("silero")


def test_the_command_says_what_was_cut(source, tmp_path):
    out = tmp_path / "out"
    result = CliRunner().invoke(app, ["prepare", str(source), "--out", str(out), "--segment", "energy"])
    assert result.exit_code == 0, result.output
    assert "3 recordings of 0.09 h cut at pauses (energy) into 18 pieces" in result.output


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--segment-min-s", "30"], "--segment-min-s 30 is not below --segment-max-s 30"),
        (["--segment-max-s", "90"], "--segment-max-s 90 is above --max-s 60"),
    ],
)
def test_limits_that_contradict_are_refused(source, tmp_path, options, words):
    command = ["prepare", str(source), "--out", str(tmp_path / "out"), "--segment", "energy", *options]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 2
    assert words in result.output


def test_a_finished_dataset_is_known_without_another_search(source, tmp_path, monkeypatch):
    first = prepare_dataset(source, tmp_path / "out", segment=SegmentSettings())

    def never(*args: object) -> None:
        raise AssertionError("the recordings are searched again")

    monkeypatch.setattr("w2v2_ray.orchestration.ingest.segment_recordings", never)
    again = prepare_dataset(source, tmp_path / "out", segment=SegmentSettings())
    assert again.was_finished
    assert (again.manifest, again.listed, again.rejected) == (first.manifest, first.listed, first.rejected)
    with pytest.raises(AssertionError, match="searched again"):
        prepare_dataset(source, tmp_path / "out", segment=SegmentSettings("energy", PieceSettings(min_s=3)))
    soundfile.write(source / "short.wav", talk([(5, True)]), SAMPLE_RATE)
    with pytest.raises(AssertionError, match="searched again"):
        prepare_dataset(source, tmp_path / "out", segment=SegmentSettings())
