from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
import soundfile

from w2v2_ray.errors import DatasetError, MissingExtraError, RunFailedError
from w2v2_ray.synthesis import espeak as espeak_module
from w2v2_ray.synthesis.corpus import MAX_VOICES, SynthesisSettings, make_voices, synthesise_corpus
from w2v2_ray.synthesis.espeak import Espeak, SpokenRequest
from w2v2_ray.synthesis.sentences import draw_sentence, is_held_out, transcript_of, vocabulary

SMALL = SynthesisSettings(seed=3, voices=4, utterances=12, valid_fraction=0.25)


@pytest.fixture
def _espeak():
    pytest.importorskip("espeakng_loader", reason="the extra `demo` is not installed")


def entries(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def contents(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_sentences_use_a_few_hundred_words_of_letters_only():
    generator = np.random.default_rng(0)
    sentences = [draw_sentence(generator) for _ in range(2000)]
    used = {word for sentence in sentences for word in transcript_of(sentence).lower().split()}
    assert used == vocabulary()
    assert 250 <= len(used) <= 600
    assert all(word.isalpha() for word in used)
    assert len(set(sentences)) > 1990
    assert 0.05 < sum(map(is_held_out, sentences)) / 2000 < 0.25


def test_voices_differ_and_no_voice_is_in_both_parts():
    train, valid = make_voices(SynthesisSettings(voices=MAX_VOICES, utterances=2))
    assert len({voice.voice for voice in [*train, *valid]}) == MAX_VOICES
    assert valid
    assert make_voices(SynthesisSettings(voices=2, utterances=2))[1]


@pytest.mark.parametrize(
    "wrong", [{}, {"hours": 1, "utterances": 5}, {"hours": 0}, {"utterances": 1}, {"hours": 1, "voices": 1}]
)
def test_settings_that_make_no_corpus_are_refused(wrong):
    with pytest.raises(DatasetError):
        SynthesisSettings(**wrong)


def test_without_the_wheel_the_install_command_is_given(monkeypatch):
    monkeypatch.setattr(espeak_module.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"pip install 'w2v2-ray\[demo\]'"):
        Espeak()


@pytest.mark.usefixtures("_espeak")
def test_an_utterance_depends_on_its_request_alone():
    requests = [
        SpokenRequest(text, voice, 160, 50, 50)
        for voice in ("en-us+f2", "en+m3")  # f2 draws noise
        for text in ("the quick brown fox", "seven small boats")
    ]
    with Espeak() as espeak:
        forwards = [espeak.speak(request) for request in requests]
    with Espeak() as espeak:
        backwards = [espeak.speak(request) for request in reversed(requests)][::-1]
    for (one, rate), (other, _) in zip(forwards, backwards, strict=True):
        assert rate == 22050
        assert len(one) > rate / 2
        np.testing.assert_array_equal(one, other)


@pytest.mark.usefixtures("_espeak")
def test_an_unknown_voice_is_an_error_and_the_next_request_still_works():
    with Espeak() as espeak:
        with pytest.raises(RunFailedError, match="xx-nobody"):
            espeak.speak(SpokenRequest("hello", "xx-nobody", 160, 50, 50))
        assert len(espeak.speak(SpokenRequest("hello", "en", 160, 50, 50))[0]) > 1000


@pytest.mark.usefixtures("_espeak")
def test_a_corpus_has_transcripts_and_parts_that_share_neither_sentence_nor_voice(tmp_path):
    summary = synthesise_corpus(tmp_path / "corpus", SMALL)
    train, valid = (entries(manifest) for manifest in summary.manifests)
    assert (len(train), len(valid)) == summary.utterances == (9, 3)
    assert not {entry["speaker"] for entry in train} & {entry["speaker"] for entry in valid}
    for entry in [*train, *valid]:
        samples, rate = soundfile.read(tmp_path / "corpus" / entry["audio_filepath"])
        assert rate == 16000
        assert len(samples) / rate == entry["duration"]
        assert 2 <= entry["duration"] <= 15
        assert set(entry["text"].lower().split()) <= vocabulary()
        # Speech, not noise: neighbours are alike, and loudness comes and goes.
        assert np.corrcoef(samples[1:], samples[:-1])[0, 1] > 0.5
    assert summary.hours[0] == pytest.approx(sum(entry["duration"] for entry in train) / 3600)
    assert not {entry["text"] for entry in train} & {entry["text"] for entry in valid}


@pytest.mark.usefixtures("_espeak")
def test_an_interrupted_synthesis_goes_on_to_the_same_corpus(tmp_path):
    synthesise_corpus(tmp_path / "undisturbed", SMALL)

    def stop(done, total):
        if done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        synthesise_corpus(tmp_path / "corpus", SMALL, stop)
    with (tmp_path / "corpus" / ".train.jsonl.part").open("a") as partial:
        partial.write('{"audio_filepath": "cut in the mi')
    seen = []
    synthesise_corpus(tmp_path / "corpus", SMALL, lambda done, total: seen.append((done, total)))
    assert seen == [(done, 12) for done in range(6, 13)]
    assert contents(tmp_path / "corpus") == contents(tmp_path / "undisturbed")


@pytest.mark.usefixtures("_espeak")
def test_another_seed_says_something_else(tmp_path):
    for seed in (1, 2):
        synthesise_corpus(tmp_path / str(seed), SynthesisSettings(seed=seed, voices=2, utterances=2))
    texts = [entries(tmp_path / str(seed) / "train.jsonl")[0]["text"] for seed in (1, 2)]
    assert texts[0] != texts[1]


@pytest.mark.usefixtures("_espeak")
def test_hours_are_reached_and_hardly_passed(tmp_path):
    summary = synthesise_corpus(tmp_path, SynthesisSettings(voices=3, hours=0.01, audio_format="wav"))
    assert 0.009 <= summary.hours[0] <= 0.009 + 15 / 3600
    assert 0.001 <= summary.hours[1] <= 0.001 + 15 / 3600


@pytest.mark.usefixtures("_espeak")
def test_a_folder_of_other_settings_or_other_files_is_refused(tmp_path):
    synthesise_corpus(tmp_path / "corpus", SynthesisSettings(voices=2, utterances=2))
    with pytest.raises(DatasetError, match="synthesised with other settings"):
        synthesise_corpus(tmp_path / "corpus", SMALL)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file").touch()
    with pytest.raises(DatasetError, match="is not empty"):
        synthesise_corpus(tmp_path / "other", SMALL)


def test_the_package_does_not_import_the_wheel():
    code = "import sys, w2v2_ray.synthesis.corpus; print('espeakng_loader' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert result.stdout.strip() == "False"
