"""Corpora in the forms of other tools: the same audio, texts and speakers come out of each; what is broken is named."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import soundfile
from forms import FORMS, Said, said, wav_bytes, write_wavs

from w2v2_ray.data.corpora.kaldi import decoded_file
from w2v2_ray.data.dataset import SpeechDataset
from w2v2_ray.data.ingestion.sources import guess_format, read_source
from w2v2_ray.data.inspection.contents import measure_contents
from w2v2_ray.errors import DatasetError
from w2v2_ray.orchestration.ingest import prepare_dataset

ROWS = said()


def make(form, root: Path, rows: list[Said] = ROWS) -> Path:
    return FORMS[form][1](root, rows)


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same_utterances(tmp_path, form):
    source = make(form, tmp_path / "source")
    assert guess_format(source) == FORMS[form][0]
    prepare_dataset(source, tmp_path / "dataset")
    dataset = SpeechDataset.open(tmp_path / "dataset")
    found = {Path(entry.id).name.partition("@")[0]: entry for entry in dataset}
    assert sorted(found) == sorted(row.id for row in ROWS)
    for row in ROWS:
        entry = found[row.id]
        assert (entry.transcript, entry.speaker) == (row.text, row.speaker)
        assert (np.asarray(entry.samples) == row.samples).all()


def test_the_audio_of_all_forms_has_one_fingerprint(tmp_path):
    found = set()
    for number, form in enumerate(FORMS):
        prepare_dataset(make(form, tmp_path / f"source-{number}"), tmp_path / f"dataset-{number}")
        found.add(measure_contents(SpeechDataset.open(tmp_path / f"dataset-{number}")).audio_fingerprint)
    assert len(found) == 1
    fewer = make("nemo", tmp_path / "fewer", ROWS[:5])
    prepare_dataset(fewer, tmp_path / "dataset-fewer")
    assert measure_contents(SpeechDataset.open(tmp_path / "dataset-fewer")).audio_fingerprint not in found


@pytest.mark.parametrize("form", FORMS)
def test_the_guess_is_said_with_what_was_read(tmp_path, form):
    listing = read_source(make(form, tmp_path / "source"))
    assert listing.source_format == FORMS[form][0]
    assert listing.description
    assert any(line.startswith("transcripts from") for line in listing.notes.read_lines())


@pytest.mark.parametrize(
    ("command", "file"),
    [
        ("flac -c -d -s /corpus/1-2-3.flac |", "/corpus/1-2-3.flac"),
        ("sph2pipe -f wav -p /wsj/a.wv1 |", "/wsj/a.wv1"),
        ("/usr/bin/sox a.mp3 -t wav - |", "a.mp3"),
        ("ffmpeg -nostdin -i 'with space.m4a' -ar 16000 -ac 1 -f wav - |", "with space.m4a"),
        ("cat a.wav|", "a.wav"),
        # lhotse's export_to_kaldi
        ("ffmpeg -threads 1 -i a.flac -ar 16000 -map_channel 0.0.0  -f wav -threads 1 pipe:1 |", "a.flac"),
        ("ffmpeg -threads 1 -i a.flac -ar 16000 -map_channel 0.0.1  -f wav -threads 1 pipe:1 |", None),
        ("flac -c /corpus/a.wav |", None),
        ("sox a.wav -t wav - remix 2 |", None),
        ("sox a.wav -t wav - speed 1.1 |", None),
        ("sph2pipe -f wav -c 2 a.sph |", None),
        ("ffmpeg -i a.wav -ss 3 -f wav - |", None),
        ("ffmpeg -i a.wav -af volume=2 -f wav - |", None),
        ("flac -c -d -s a.flac | sox - -t wav - rate 8k |", None),
        ("cat a.wav b.wav |", None),
        ("cat a.wav; rm -rf x |", None),
        ("cat $(whoami) |", None),
        ("curl http://x/a.wav |", None),
        ("cat 'open quotation |", None),
        ("|", None),
    ],
)
def test_a_command_that_only_decodes_a_file_is_known_and_others_are_not(command, file):
    assert decoded_file(command) == file


def test_a_command_of_kaldi_is_never_run_and_rejected_by_name(tmp_path):
    data = make("kaldi", tmp_path)
    lines = (data / "wav.scp").read_text().splitlines()
    lines[2] = f"{ROWS[2].id} touch {tmp_path}/ran; cat audio/{ROWS[2].id}.wav |"
    (data / "wav.scp").write_text("\n".join(lines) + "\n")
    summary = prepare_dataset(data, tmp_path / "dataset", max_rejects=0.5)
    assert not (tmp_path / "ran").exists()
    assert summary.rejected == {"not_as_listed": 1}
    reject = json.loads((tmp_path / "dataset" / "rejects.jsonl").read_text())
    assert reject["id"] == ROWS[2].id
    assert "is not run" in reject["detail"]


def test_the_first_of_several_channels_is_no_whole_file(tmp_path):
    data = make("kaldi", tmp_path)
    stereo, mono = tmp_path / "stereo.wav", tmp_path / "mono.wav"
    soundfile.write(stereo, np.stack([ROWS[0].samples] * 2, 1), 16_000)
    soundfile.write(mono, ROWS[1].samples, 16_000)
    option = "-ar 16000 -map_channel 0.0.0 -f wav pipe:1 |"
    lines = [f"{ROWS[0].id} ffmpeg -i {stereo} {option}", f"{ROWS[1].id} ffmpeg -i {mono} {option}"]
    (data / "wav.scp").write_text("\n".join(lines) + "\n")
    for name in ("text", "utt2spk"):
        (data / name).write_text("".join((data / name).read_text().splitlines(keepends=True)[:2]))
    problems = [item.problem for item in read_source(data).items]
    assert problems[0].startswith("not_as_listed: is the first of several channels")
    assert problems[1] is None


@pytest.mark.parametrize(
    ("file", "line", "error"),
    [
        ("wav.scp", "lonely", r"wav\.scp:7: a line must be `RECORDING FILE`"),
        ("wav.scp", "ann-0 again.wav", r"wav\.scp:7: ann-0 is there already"),
        ("text", "nobody hello", r"text: nobody is no utterance"),
        ("utt2spk", "nobody ann", r"utt2spk: nobody is no utterance"),
    ],
)
def test_a_broken_line_of_kaldi_is_named(tmp_path, file, line, error):
    data = make("kaldi", tmp_path)
    with (data / file).open("a") as out:
        out.write(f"{line}\n")
    with pytest.raises(DatasetError, match=error):
        read_source(data)


@pytest.mark.parametrize(
    ("line", "error"),
    [
        ("x ann 0", "UTTERANCE RECORDING START END"),
        ("x ann one two", "UTTERANCE RECORDING START END"),
        ("x eve 0 1", "no recording eve"),
        ("x ann 2 1", "is no part"),
        ("x ann -1 1", "is no part"),
    ],
)
def test_a_broken_segment_of_kaldi_is_named(tmp_path, line, error):
    source = make("kaldi with segments", tmp_path / "source")
    (source / "segments").write_text(f"{line}\n")
    with pytest.raises(DatasetError, match=rf"segments:1: .*{error}"):
        read_source(source)


def test_a_segment_of_kaldi_may_go_on_to_the_end(tmp_path):
    source = make("kaldi with segments", tmp_path / "source")
    for name in ("text", "utt2spk"):
        (source / name).unlink()
    (source / "segments").write_text("last ann 0.5 -1\n")
    (item,) = read_source(source).items
    assert (item.id, item.offset_s, item.duration_s, item.speaker) == ("last", 0.5, None, "ann")


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("<s> one </s> (ann-0)\n", "has 1 transcripts for the 6"),
        ("no id\n" * 6, r"transcription:1: a line must be"),
        ("<s> one </s> (eve-0)\n" * 6, r"transcription:1: is of eve-0, but .* has clips/ann/ann-0"),
    ],
)
def test_a_broken_transcription_of_sphinx_is_named(tmp_path, text, error):
    source = make("sphinx", tmp_path / "source")
    (source / "etc" / "tones_train.transcription").write_text(text)
    with pytest.raises(DatasetError, match=error):
        read_source(source)


def cuts_with(tmp_path, change) -> Path:
    path = make("lhotse's cuts", tmp_path / "source")
    cuts = [json.loads(line) for line in gzip.decompress(path.read_bytes()).splitlines()]
    change(cuts[1])
    path.write_bytes(gzip.compress("".join(json.dumps(cut) + "\n" for cut in cuts).encode()))
    return path


@pytest.mark.parametrize(
    "change",
    [
        lambda cut: cut.update(type="MixedCut", recording=None),
        lambda cut: cut["recording"]["sources"][0].update(type="memory", source="UklGRg=="),
        lambda cut: cut["recording"].update(transforms=[{"name": "Speed"}]),
        lambda cut: cut["recording"].update(channel_ids=[0, 1]),
    ],
)
def test_a_cut_whose_audio_is_in_no_file_is_rejected_by_name(tmp_path, change):
    listing = read_source(cuts_with(tmp_path, change))
    assert [item.problem is None for item in listing.items] == [True, False, True, True, True, True]
    assert listing.items[1].id == ROWS[1].id
    assert listing.items[1].problem.startswith("not_as_listed: ")


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (lambda cut: cut.update(start="soon"), r"cuts\.jsonl\.gz:2: `start` must be a number"),
        (lambda cut: cut["recording"].update(sources=[]), r"cuts\.jsonl\.gz:2: must have one source"),
        (lambda cut: cut.update(channel="left"), r"cuts\.jsonl\.gz:2: `channel` must be"),
    ],
)
def test_a_broken_cut_is_named(tmp_path, change, error):
    with pytest.raises(DatasetError, match=error):
        read_source(cuts_with(tmp_path, change))


def test_a_supervision_of_a_recording_that_is_not_there_is_named(tmp_path):
    source = make("lhotse's recordings and supervisions", tmp_path / "source")
    path = source / "tones_supervisions_train.jsonl.gz"
    entry = {"id": "x", "recording_id": "eve", "start": 0.0, "duration": 1.0}
    path.write_bytes(gzip.compress(json.dumps(entry).encode()))
    with pytest.raises(DatasetError, match=r"supervisions_train\.jsonl\.gz:1: there is no recording 'eve'"):
        read_source(source)


def test_an_archive_that_is_cut_or_compressed_is_named(tmp_path):
    source = make("webdataset", tmp_path / "source")
    path = source / "tones-000001.tar"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 3])
    with pytest.raises(DatasetError, match=r"tones-000001\.tar: is no plain tar archive, or a damaged one"):
        read_source(source)
    path.write_bytes(gzip.compress(whole))
    with pytest.raises(DatasetError, match=r"tones-000001\.tar: .*unpack a compressed one first"):
        read_source(source)


def test_broken_members_of_an_archive_are_rejected_by_name(tmp_path):
    from forms import _tar

    members = [("good.wav", wav_bytes(ROWS[0].samples)), ("good.txt", b"one")]
    members += [("noise.wav", b"no audio at all" * 100), ("odd.wav", wav_bytes(ROWS[1].samples)), ("odd.txt", b"\xff")]
    members += [("cut.wav", wav_bytes(ROWS[2].samples)[:5_000]), ("alone.txt", b"nobody says this")]
    _tar(tmp_path / "part.tar", members)
    summary = prepare_dataset(tmp_path / "part.tar", tmp_path / "dataset", max_rejects=1.0)
    assert summary.rejected == {"bad_transcript": 1, "truncated": 1, "wrong_header": 1}
    rejects = [json.loads(line) for line in (tmp_path / "dataset" / "rejects.jsonl").read_text().splitlines()]
    assert sorted(reject["path"] for reject in rejects) == [
        "part.tar/cut.wav",
        "part.tar/noise.wav",
        "part.tar/odd.wav",
    ]
    assert "part.tar/alone" in " ".join(summary.listing.notes.passed_lines())


def test_what_cuts_name_and_their_archive_has_not_is_rejected_by_name(tmp_path):
    source = make("lhotse's shar", tmp_path / "source")
    (source / "recording.000001.tar").write_bytes((source / "noise.000001.tar").read_bytes())
    listing = read_source(source)
    problems = {item.id: item.problem for item in listing.items if item.problem}
    assert list(problems) == [f"tones/{ROWS[5].id}"]
    assert "recording.000001.tar does not have it" in problems[f"tones/{ROWS[5].id}"]
    assert "noise.000000.tar" in " ".join(listing.notes.passed_lines())


def test_what_a_manifest_names_and_no_archive_has_is_rejected_by_name(tmp_path):
    source = make("nemo in archives", tmp_path / "source")
    (source / "audio_1.tar").unlink()
    summary = prepare_dataset(source, tmp_path / "dataset", max_rejects=1.0)
    assert summary.rejected == {"missing": 3}


def test_rows_without_audio_are_rejected_by_name(tmp_path):
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    write_wavs(tmp_path / "clips", ROWS[:1])
    audio = [
        {"bytes": None, "path": f"clips/{ROWS[0].id}.wav"},
        {"bytes": wav_bytes(ROWS[1].samples), "path": None},
        {"bytes": b"no audio", "path": "b.wav"},
        None,
    ]
    table = pa.table({"audio": pa.array(audio, kind), "text": ["a", "b", "c", "d"]})
    import pyarrow.parquet as pq

    pq.write_table(table, tmp_path / "rows.parquet")
    summary = prepare_dataset(tmp_path / "rows.parquet", tmp_path / "dataset", max_rejects=1.0)
    assert summary.rejected == {"missing": 1, "wrong_header": 1}
    dataset = SpeechDataset.open(tmp_path / "dataset")
    assert [(entry.id, entry.transcript) for entry in dataset] == [("00000000", "a"), ("00000001", "b")]
    assert (np.asarray(dataset[0].samples) == ROWS[0].samples).all()


@pytest.mark.parametrize("content", [b"PAR1 and then nothing", b""])
def test_a_damaged_table_is_named(tmp_path, content):
    (tmp_path / "rows.parquet").write_bytes(content)
    with pytest.raises(DatasetError, match=r"rows\.parquet: cannot be read"):
        read_source(tmp_path / "rows.parquet")


def test_a_dataset_of_several_splits_is_asked_for_one(tmp_path):
    make("saved to disk", tmp_path / "train")
    (tmp_path / "dataset_dict.json").write_text('{"splits": ["train"]}')
    with pytest.raises(DatasetError, match=rf"give one of them as the source: {tmp_path}/train"):
        read_source(tmp_path)


@pytest.mark.parametrize("source_format", ["kaldi", "sphinx", "lhotse", "tar", "arrow"])
def test_a_form_that_is_not_there_is_said(tmp_path, source_format):
    with pytest.raises(DatasetError, match=str(tmp_path)):
        read_source(tmp_path, source_format)
