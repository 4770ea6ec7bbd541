"""Sources in an object store: the dataset is that of the same source here, and what is wrong is named by its URI."""

from __future__ import annotations

import gzip
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

sys.path.insert(0, str(Path(__file__).parents[1] / "corpora"))
from forms import FORMS, said

from w2v2_ray.data.dataset import SpeechDataset
from w2v2_ray.data.ingestion.ingest_plan import IngestSettings
from w2v2_ray.data.ingestion.remote_source import laid_out
from w2v2_ray.data.piece_settings import PieceSettings
from w2v2_ray.data.segmentation.recordings import SegmentSettings
from w2v2_ray.errors import DatasetError
from w2v2_ray.orchestration.ingest import prepare_dataset
from w2v2_ray.places.storage import locate

pytestmark = pytest.mark.slow
ROWS = said()


def put(folder: Path, uri: str) -> str:
    place = locate(uri)
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            (place / path.relative_to(folder).as_posix()).write_bytes(path.read_bytes())
    return uri


def contents(dataset) -> dict[str, tuple]:
    return {
        entry.id: (entry.transcript, entry.speaker, np.asarray(entry.samples).tobytes())
        for entry in SpeechDataset.open(dataset)
    }


# A relative path of Kaldi's counts from a folder above its own, which is not the source: see the test of lists.
@pytest.mark.parametrize("form", [form for form in FORMS if not form.startswith("kaldi")])
def test_every_form_is_the_same_from_a_store(tmp_path, s3, form):
    source = FORMS[form][1](tmp_path / "source", ROWS)
    put(tmp_path / "source", f"{s3}/deep/corpus")
    below = source.relative_to(tmp_path / "source").as_posix()
    uri = f"{s3}/deep/corpus" if below == "." else f"{s3}/deep/corpus/{below}"
    here = prepare_dataset(source, tmp_path / "here")
    there = prepare_dataset(uri, tmp_path / "there")
    assert there.rejected == here.rejected == {}
    assert contents(tmp_path / "there") == contents(tmp_path / "here")
    if form != "lhotse's cuts":  # whose paths are absolute, and noted
        assert there.manifest.fingerprint == here.manifest.fingerprint


def test_nothing_of_the_audio_is_fetched_to_list_it(tmp_path, s3):
    source = FORMS["timit"][1](tmp_path / "source", ROWS)
    with laid_out(put(source, f"{s3}/corpus")) as place:
        audio = [path for path in place.path.rglob("*") if path.suffix.lower() == ".wav"]
        assert audio
        assert all(path.stat().st_size and not any(path.read_bytes()) for path in audio)
        skeleton = place.path
    assert not skeleton.exists()


def test_an_interrupted_ingest_goes_on_and_a_changed_file_is_ingested_anew(tmp_path, s3):
    source = FORMS["timit"][1](tmp_path / "source", ROWS)
    uri = put(source, f"{s3}/corpus")
    settings = IngestSettings(target_shard_bytes=40_000)
    first = prepare_dataset(uri, tmp_path / "dataset", settings=settings)
    assert len(first.manifest.shards) > 1
    assert prepare_dataset(uri, tmp_path / "dataset", settings=settings).was_finished
    changed = min(path for path in source.rglob("*") if path.suffix.lower() == ".wav")
    (locate(uri) / changed.relative_to(source).as_posix()).write_bytes(changed.read_bytes() + b"\0" * 8)
    with pytest.raises(DatasetError, match="made from another source"):
        prepare_dataset(uri, tmp_path / "dataset", settings=settings)


@pytest.mark.parametrize("form", ["nemo", "kaldi", "lhotse"])
def test_a_list_here_names_audio_in_a_store(tmp_path, s3, form):
    for row in ROWS:
        (tmp_path / "audio").mkdir(exist_ok=True)
        soundfile.write(tmp_path / "audio" / f"{row.id}.flac", row.samples, 16_000)
    uri = put(tmp_path / "audio", f"{s3}/audio")
    lists = tmp_path / "lists"
    lists.mkdir()
    seconds = {row.id: len(row.samples) / 16_000 for row in ROWS}
    if form == "nemo":
        source = lists / "train.jsonl"
        lines = [{"audio_filepath": f"{uri}/{row.id}.flac", "text": row.text, "speaker": row.speaker} for row in ROWS]
        source.write_text("".join(json.dumps(line) + "\n" for line in lines))
    elif form == "kaldi":
        source = lists
        for name, value in (
            ("wav.scp", lambda row: f"{uri}/{row.id}.flac"),
            ("text", lambda row: row.text),
            ("utt2spk", lambda row: row.speaker),
        ):
            (lists / name).write_text("".join(f"{row.id} {value(row)}\n" for row in ROWS))
    else:
        source = lists / "cuts.jsonl.gz"
        with gzip.open(source, "wt") as file:
            for row in ROWS:
                length = seconds[row.id]
                recording = {
                    "id": row.id,
                    "sources": [{"type": "url", "channels": [0], "source": f"{uri}/{row.id}.flac"}],
                    "sampling_rate": 16_000,
                    "num_samples": len(row.samples),
                    "duration": length,
                    "channel_ids": [0],
                }
                said_of = {"id": row.id, "recording_id": row.id, "start": 0, "duration": length, "channel": 0}
                cut = {"id": row.id, "start": 0, "duration": length, "channel": 0, "recording": recording}
                cut["supervisions"] = [{**said_of, "text": row.text, "speaker": row.speaker}]
                file.write(json.dumps({**cut, "type": "MonoCut"}) + "\n")
    prepare_dataset(source, tmp_path / "dataset")
    found = {entry.id.rpartition("/")[2]: entry for entry in SpeechDataset.open(tmp_path / "dataset")}
    for row in ROWS:
        assert (np.asarray(found[row.id].samples) == row.samples).all()
        assert (found[row.id].transcript, found[row.id].speaker) == (row.text, row.speaker)


def test_audio_that_is_not_there_is_rejected_by_name(tmp_path, s3):
    soundfile.write(tmp_path / "a.wav", ROWS[0].samples, 16_000)
    (locate(s3) / "a.wav").write_bytes((tmp_path / "a.wav").read_bytes())
    lines = [f"{s3}/a.wav", f"{s3}/gone.wav", "https://example.org/b.wav"]
    (tmp_path / "list.jsonl").write_text("".join(json.dumps({"audio_filepath": line}) + "\n" for line in lines))
    summary = prepare_dataset(tmp_path / "list.jsonl", tmp_path / "dataset", max_rejects=1)
    assert summary.rejected == {"missing": 1, "not_as_listed": 1}
    rejects = [json.loads(line) for line in (tmp_path / "dataset" / "rejects.jsonl").read_text().splitlines()]
    assert sorted(reject["path"] for reject in rejects) == ["b.wav", "gone.wav"]


def test_recordings_in_a_store_are_cut_with_what_lies_beside_them(tmp_path, s3):
    source = tmp_path / "source"
    source.mkdir()
    samples = np.random.default_rng(3).integers(-9000, 9000, 10 * 16_000).astype(np.int16)
    soundfile.write(source / "talk.flac", samples, 16_000)
    (source / "talk.srt").write_text(
        "1\n00:00:01,000 --> 00:00:02,000\nhello\n\n2\n00:00:05,000 --> 00:00:07,000\nyou\n"
    )
    uri = put(source, f"{s3}/talks")
    segment = SegmentSettings("energy", PieceSettings())
    for name, where in (("folder", uri), ("file", f"{uri}/talk.flac")):
        prepare_dataset(where, tmp_path / name, segment=segment)
        found = contents(tmp_path / name)
        assert {key: value[0] for key, value in found.items()} == {"talk@1000ms": "hello", "talk@5000ms": "you"}
        assert found["talk@5000ms"][2] == samples[5 * 16_000 : 7 * 16_000].tobytes()


def test_an_error_names_the_uri(tmp_path, s3):
    (locate(s3) / "train.jsonl").write_bytes(b"no json\n")
    with pytest.raises(DatasetError, match=rf"^{s3}/train\.jsonl:1: is not JSON"):
        prepare_dataset(f"{s3}/train.jsonl", tmp_path / "dataset")
    with pytest.raises(DatasetError, match=rf"^{s3}/nothing: there is no such file or folder"):
        prepare_dataset(f"{s3}/nothing", tmp_path / "dataset")
