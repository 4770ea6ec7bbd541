"""A listener that hears known words at known places: none is lost or doubled, however long the audio."""

from __future__ import annotations

from contextlib import contextmanager
from functools import partial

import numpy as np
import pytest
import soundfile

from w2v2_ray.audio.speech_file import open_speech
from w2v2_ray.data.listening.inputs import Source
from w2v2_ray.data.listening.pieces import Cutting, Failure
from w2v2_ray.errors import AudioError, DatasetError
from w2v2_ray.recognition.greedy import GreedyDecoder
from w2v2_ray.recognition.transcription import Transcript, transcribe
from w2v2_ray.spec.model import FeatureEncoderSpec

VOCABULARY = ("<s>", "<pad>", "</s>", "<unk>", "|", *"ABCDEFGHIJ")
STRIDE = 320
WORD_FRAMES = 25


def word_of(number: int) -> str:
    return "".join(VOCABULARY[5 + int(digit)] for digit in f"{number:04d}")


class Said:
    """Audio in which sample values name the frame's output: word n begins at frame n x WORD_FRAMES."""

    def __init__(self, words: int, listener: Ear, fails_after: int | None = None) -> None:
        frames = np.zeros(words * WORD_FRAMES, dtype=np.int16)
        for number in range(words):
            at = number * WORD_FRAMES + 3
            for place, symbol in enumerate(word_of(number)):
                frames[at + 3 * place] = VOCABULARY.index(symbol)
            frames[at + 13] = VOCABULARY.index("|")
        self._samples = np.repeat(frames, STRIDE)
        self.num_samples = len(self._samples)
        self._listener = listener
        self._fails_after = fails_after

    def read(self, start, count):
        if self._fails_after is not None and start > self._fails_after:
            raise AudioError("truncated: the data ends here")
        self._listener.held += 1
        self._listener.most_held = max(self._listener.most_held, self._listener.held)
        return self._samples[start : start + count]


class Ear:
    """Hears what the samples say; counts the waveforms that were read and not yet heard."""

    stride_samples = STRIDE
    frame_s = 0.02

    def __init__(self) -> None:
        self.held = self.most_held = 0

    def num_frames(self, num_samples):
        return FeatureEncoderSpec().num_frames(num_samples)

    def log_probs(self, waveforms):
        self.held -= len(waveforms)
        results = []
        for waveform in waveforms:
            outputs = waveform[::STRIDE][: self.num_frames(len(waveform))]
            log_probs = np.full((len(outputs), len(VOCABULARY)), -20.0, dtype=np.float32)
            log_probs[np.arange(len(outputs)), outputs] = 0.0
            results.append(log_probs)
        return results


def source(name: str, audio: Said) -> Source:
    @contextmanager
    def opened():
        yield audio

    return Source(name, opened)


def run(sources, ear, **options):
    return list(transcribe(sources, ear, GreedyDecoder(VOCABULARY), Cutting(**options)))


@pytest.mark.parametrize("window_s", [4.0, 7.3, 30.0])
def test_no_word_of_a_long_file_is_lost_or_doubled(window_s):
    ear = Ear()
    (result,) = run([source("long", Said(1_200, ear))], ear, window_s=window_s, overlap_s=1.5)
    assert isinstance(result, Transcript)
    assert result.hypothesis.text == " ".join(word_of(number) for number in range(1_200))
    for number, word in enumerate(result.hypothesis.words):
        assert word.start_frame == number * WORD_FRAMES + 3


def test_ten_minutes_are_heard_a_few_windows_at_a_time():
    ear = Ear()
    run([source("long", Said(1_200, ear))], ear, batch_size=3, window_s=10.0, overlap_s=2.0)
    assert 1 <= ear.most_held <= 3


@pytest.mark.parametrize("batch_size", [1, 2, 5, 100])
def test_sources_come_back_in_order_whatever_the_batch(batch_size):
    ear = Ear()
    sources = [source(f"{words}", Said(words, ear)) for words in (3, 70, 1, 12, 200)]
    results = run(sources, ear, batch_size=batch_size, window_s=5.0, overlap_s=1.0)
    assert [(r.name, len(r.hypothesis.words)) for r in results] == [(n, int(n)) for n in ("3", "70", "1", "12", "200")]


def test_a_bad_file_is_reported_and_the_others_are_transcribed():
    ear = Ear()
    sources = [source("a", Said(10, ear)), source("bad", Said(300, ear, fails_after=50_000)), source("b", Said(5, ear))]
    first, bad, last = run(sources, ear, window_s=5.0, overlap_s=1.0)
    assert isinstance(bad, Failure)
    assert bad.reason == "truncated: the data ends here"
    assert [len(first.hypothesis.words), len(last.hypothesis.words)] == [10, 5]


def test_too_little_audio_for_a_frame_says_nothing():
    ear = Ear()
    (result,) = run([source("none", Said(0, ear))], ear)
    assert result.hypothesis.text == ""
    assert result.duration_s == 0.0


def test_damaged_data_of_a_dataset_is_reported_and_the_others_are_transcribed():
    @contextmanager
    def damaged():
        raise DatasetError("shard-00001.arrow: altered")
        yield

    ear = Ear()
    bad, good = run([Source("bad", damaged), source("good", Said(4, ear))], ear)
    assert bad == Failure("bad", "shard-00001.arrow: altered")
    assert len(good.hypothesis.words) == 4


class BeepEar(Ear):
    """Hears a beep as an A and what is silent after it as the end of a word."""

    def log_probs(self, waveforms):
        results = []
        for waveform in waveforms:
            num_frames = self.num_frames(len(waveform))
            loud = np.abs(waveform[: num_frames * STRIDE].reshape(-1, STRIDE).astype(int)).mean(1) > 1_000
            outputs = np.where(loud, VOCABULARY.index("A"), VOCABULARY.index("|"))
            log_probs = np.full((num_frames, len(VOCABULARY)), -20.0, dtype=np.float32)
            log_probs[np.arange(num_frames), outputs] = 0.0
            results.append(log_probs)
        return results


@pytest.mark.parametrize(("rate_hz", "channels"), [(8_000, 2), (11_025, 1)])
def test_beeps_of_a_ten_minute_file_are_heard_once_and_when_they_sound(tmp_path, rate_hz, channels):
    path = tmp_path / "long.flac"
    starts_s = np.cumsum(np.random.default_rng(5).uniform(0.5, 3.0, 400))
    starts_s = starts_s[starts_s < 599]
    time_s = np.arange(600 * rate_hz) / rate_hz
    since_s = time_s - starts_s[np.maximum(np.searchsorted(starts_s, time_s, side="right") - 1, 0)]
    beeps = np.where((since_s >= 0) & (since_s < 0.3), 0.4 * np.sin(2 * np.pi * 440 * time_s), 0.0)
    soundfile.write(path, np.stack([beeps] * channels, axis=1), rate_hz)

    (result,) = run([Source("long", partial(open_speech, path))], BeepEar(), window_s=15.0, overlap_s=3.0)

    assert result.duration_s == pytest.approx(600.0)
    words = result.hypothesis.words
    assert len(words) == len(starts_s) > 250
    for word, start_s in zip(words, starts_s, strict=True):
        assert abs(word.start_frame * 0.02 - start_s) <= 0.04
        assert abs(word.end_frame * 0.02 - start_s - 0.3) <= 0.04
