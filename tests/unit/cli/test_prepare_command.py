"""`w2v2-ray prepare` as a user meets it: what it reads, what it says of the rest, and a part held out."""

from __future__ import annotations

import json

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

from w2v2_ray.cli.app import app
from w2v2_ray.data.dataset import SpeechDataset
from w2v2_ray.data.ingestion import ingest


def run(*arguments):
    return CliRunner().invoke(app, ["prepare", *map(str, arguments)])


def speak(path, seconds=0.5, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(sum(path.as_posix().encode()))
    soundfile.write(path, rng.normal(0, 0.1, round(seconds * 16_000)), 16_000, **options)
    return path


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_it_ends_with_a_table_of_found_used_rejected_and_passed_over(tmp_path):
    source = tmp_path / "source"
    for name in ("ann/a.wav", "ann/b.flac", "bob/c.aiff"):
        speak(source / name)
    speak(source / "bob" / "d.opus", format="OGG", subtype="OPUS")
    (source / "bob" / "e.wav").touch()
    (source / "bob" / "f.m4a").touch()
    (source / "ann" / "a.txt").write_text("yes")
    (source / "ann" / "x.txt").write_text("without audio")
    (source / "ann" / "._a.wav").touch()
    result = run(source, "--out", tmp_path / "out", "--max-rejects", "0.5")
    assert result.exit_code == 0, result.output
    assert "read as folder of audio; 5 utterances listed, 1 with a transcript" in result.stderr
    lines = result.stdout.splitlines()
    assert lines[0].startswith(f"{tmp_path / 'out'}: 4 utterances, 0.001 hours, 2 speakers, 1 shards (pcm16)")
    assert lines[1:6] == [
        "found    5 utterances, as folder of audio",
        "used     4: 1 of 4 with a transcript, 2 speakers",
        "rejected 1 of 5 (empty 1); see rejects.jsonl",
        "read     transcripts from .txt (1)",
        "passed over:",
    ]
    assert lines[6].startswith("         1 audio to convert (.m4a; such as bob/f.m4a)")
    assert lines[7].startswith("         1 hidden files and folders")
    assert lines[8].startswith("         1 text files without audio beside them (.txt; such as ann/x.txt)")
    assert len(lines) == 9


def test_the_table_is_kept_in_the_dataset_and_shown_again(tmp_path):
    speak(tmp_path / "source" / "a.wav")
    (tmp_path / "source" / "b.wav").touch()
    (tmp_path / "source" / "c.m4a").touch()
    arguments = (tmp_path / "source", "--out", tmp_path / "out", "--max-rejects", "0.5")
    first, again = run(*arguments), run(*arguments)
    record = json.loads((tmp_path / "out" / "ingest.json").read_text())["source"]
    assert record["found"] == 2
    assert record["used"] == {"utterances": 1, "speakers": 0, "transcribed": 0}
    assert record["rejected"] == {"empty": 1}
    assert record["passed_over"] == {
        "audio to convert": {"count": 1, "names": {".m4a": 1}, "examples": ["c.m4a"]},
    }
    assert str(tmp_path) not in json.dumps(record)
    assert again.stdout.splitlines()[1:] == first.stdout.splitlines()
    assert "finished already" in again.stdout


def test_a_dataset_that_recorded_less_is_still_finished(tmp_path):
    speak(tmp_path / "source" / "a.wav")
    run(tmp_path / "source", "--out", tmp_path / "out")
    record = json.loads((tmp_path / "out" / "ingest.json").read_text())
    del record["source"]
    (tmp_path / "out" / "ingest.json").write_text(json.dumps(record))
    again = run(tmp_path / "source", "--out", tmp_path / "out")
    assert again.exit_code == 0, again.output
    assert "finished already" in again.stdout


def test_a_duration_without_an_offset_is_the_part_from_the_start(tmp_path):
    path = speak(tmp_path / "long.wav", 2.0)
    entries = [{"duration": 0.75, "text": "first"}, {"offset": 0.75, "duration": 1.25, "text": "second"}]
    manifest = tmp_path / "train.jsonl"
    manifest.write_text("".join(json.dumps({"audio_filepath": path.name, **entry}) + "\n" for entry in entries))
    assert run(manifest, "--out", tmp_path / "out").exit_code == 0
    dataset = SpeechDataset.open(tmp_path / "out")
    whole, _ = soundfile.read(path, dtype="int16")
    assert [dataset.transcript(index) for index in range(2)] == ["first", "second"]
    np.testing.assert_array_equal(dataset.audio(0), whole[:12_000])
    np.testing.assert_array_equal(dataset.audio(1), whole[12_000:])


def test_no_transcripts_are_said_before_anything_is_decoded(tmp_path):
    speak(tmp_path / "source" / "0_theo_1.wav")
    result = run(tmp_path / "source", "--out", tmp_path / "out")
    assert "note: without transcripts it serves pre-training only" in result.stderr


def test_a_recording_of_hours_is_rejected_with_what_to_do(tmp_path):
    speak(tmp_path / "source" / "a.wav", 3.0)
    speak(tmp_path / "source" / "b.wav", 1.0)
    run(tmp_path / "source", "--out", tmp_path / "out", "--max-s", "2", "--max-rejects", "0.5")
    reject = json.loads((tmp_path / "out" / "rejects.jsonl").read_text())
    assert reject["detail"] == (
        "3.0 s, the limit is 2 s: raise --max-s, or let `prepare` cut it at its pauses: --segment silero (or energy)"
    )


@pytest.fixture
def speakers(tmp_path):
    for speaker in range(10):
        for number in range(3):
            speak(tmp_path / "source" / f"speaker{speaker}" / f"{number}.wav", 0.2 + 0.01 * number)
    return tmp_path / "source"


def heard(folder):
    dataset = SpeechDataset.open(folder, verify="checksums")
    return [(dataset.utterance_id(index), dataset.speaker(index)) for index in range(len(dataset))]


def test_a_part_is_held_out_as_a_dataset_of_its_own(tmp_path, speakers):
    result = run(speakers, "--out", tmp_path / "out", "--hold-out", "0.2")
    assert result.exit_code == 0, result.output
    assert "held out: 2 of 10 speakers, 6 of 30 utterances (20.0%)" in result.stderr
    kept, held_out = heard(tmp_path / "out"), heard(tmp_path / "out_heldout")
    assert (len(kept), len(held_out)) == (24, 6)
    assert not {speaker for _, speaker in kept} & {speaker for _, speaker in held_out}
    assert f"{tmp_path / 'out_heldout'}: 6 utterances" in result.stdout
    again = run(speakers, "--out", tmp_path / "out", "--hold-out", "0.2")
    assert again.stdout.count("finished already") == 2, again.output
    elsewhere = run(speakers, "--out", tmp_path / "a", "--hold-out", "0.2", "--hold-out-to", tmp_path / "b")
    assert elsewhere.exit_code == 0
    assert contents(tmp_path / "b") == contents(tmp_path / "out_heldout")
    other = run(speakers, "--out", tmp_path / "c", "--hold-out", "0.2", "--hold-out-seed", "1")
    assert other.exit_code == 0
    assert heard(tmp_path / "c_heldout") != held_out


def test_both_parts_go_on_after_a_kill(tmp_path, speakers, monkeypatch):
    arguments = ("--hold-out", "0.2", "--shard-mb", "0.02")
    run(speakers, "--out", tmp_path / "undisturbed", *arguments)
    real, calls = ingest.judge_speech, []

    def load(*args):
        calls.append(args)
        if len(calls) == 27:
            raise KeyboardInterrupt
        return real(*args)

    monkeypatch.setattr(ingest, "judge_speech", load)
    assert run(speakers, "--out", tmp_path / "out", *arguments).exit_code != 0
    assert not (tmp_path / "out" / "dataset.json").exists()
    assert not (tmp_path / "out_heldout" / "dataset.json").exists()
    assert run(speakers, "--out", tmp_path / "out", *arguments).exit_code == 0
    assert len(calls) < 27 + 10  # of 30: the shards that were finished are not decoded again
    for name in ("", "_heldout"):
        assert contents(tmp_path / f"out{name}") == contents(tmp_path / f"undisturbed{name}")


def test_one_bad_file_of_a_small_part_is_judged_by_the_whole(tmp_path, speakers):
    for number in range(3):
        (speakers / f"speaker{number * 3}" / "bad.wav").touch()
    few = run(speakers, "--out", tmp_path / "out", "--hold-out", "0.1", "--max-rejects", "0.1")
    assert few.exit_code == 0, few.output
    many = run(speakers, "--out", tmp_path / "many", "--hold-out", "0.1", "--max-rejects", "0.05")
    assert many.exit_code == 2
    assert "3 of 33 files were rejected" in many.stderr


def test_few_speakers_are_said_to_give_more_than_was_asked(tmp_path):
    for name in ("ann", "bob"):
        for number in range(10):
            speak(tmp_path / "source" / name / f"{number}.wav", 0.2)
    by_speaker = run(tmp_path / "source", "--out", tmp_path / "a", "--hold-out", "0.1")
    assert "note: 50.0% are held out, 10.0% were asked for: speakers are not cut; --hold-out-by" in by_speaker.stderr
    by_file = run(tmp_path / "source", "--out", tmp_path / "b", "--hold-out", "0.1", "--hold-out-by", "recording")
    assert "held out: 2 of 20 recordings" in by_file.stderr
    assert "note: divided by recordings, so a speaker may be in both parts" in by_file.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--hold-out", "1.5"), "a share between 0 and 1 is wanted"),
        (("--hold-out-to", "b"), "say how much: --hold-out"),
        (("--hold-out", "0.1", "--hold-out-to", "OUT/dev"), "must not be, hold or lie in"),
        (("--hold-out", "0.1", "--hold-out-to", "OUT"), "must not be, hold or lie in"),
    ],
)
def test_a_part_that_cannot_be_held_out_is_refused(tmp_path, speakers, arguments, message):
    out = tmp_path / "out"
    result = run(speakers, "--out", out, *(argument.replace("OUT", str(out)) for argument in arguments))
    assert result.exit_code == 2
    assert message in result.stderr
    assert not out.exists()
