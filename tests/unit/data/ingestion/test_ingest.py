from __future__ import annotations

import json

import numpy as np
import pytest
import soundfile
from filelock import FileLock
from pyarrow import fs

from w2v2_ray.audio.reading import DurationLimits
from w2v2_ray.data.dataset import SpeechDataset
from w2v2_ray.data.ingestion import ingest
from w2v2_ray.data.ingestion.ingest_plan import IngestSettings, plan_shards
from w2v2_ray.data.ingestion.sources import list_items
from w2v2_ray.errors import DatasetError
from w2v2_ray.orchestration.ingest import prepare_dataset
from w2v2_ray.places.storage import Location, locate

SMALL = IngestSettings(target_shard_bytes=48_000, limits=DurationLimits(0.1, 2.0))


@pytest.fixture
def source(tmp_path):
    for number in range(9):
        path = tmp_path / "source" / f"speaker{number % 2}" / f"{number}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        samples = np.random.default_rng(number).normal(0, 3000, 9000).astype(np.int16)
        soundfile.write(path, samples, 16000)
    return tmp_path / "source"


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def killed_after(items, monkeypatch):
    """Let `judge_speech` be the last thing the process does after some items."""
    calls = []
    real = ingest.judge_speech

    def load(*args, **kwargs):
        if len(calls) == items:
            raise KeyboardInterrupt
        calls.append(args[0])
        return real(*args, **kwargs)

    monkeypatch.setattr(ingest, "judge_speech", load)
    return calls


def test_the_plan_cuts_shards_of_the_target_size_in_order(source):
    items = list_items(source, "folder")
    tasks = plan_shards(items, SMALL, locate(source.parent / "out"))
    assert [item for task in tasks for item in task.items] == items
    assert [len(task.items) for task in tasks] == [3, 3, 3]
    assert len({task.key for task in tasks}) == 3


def test_the_same_source_gives_the_same_bytes_wherever_it_lies(source, tmp_path):
    prepare_dataset(source, tmp_path / "a", settings=SMALL)
    moved = tmp_path / "moved"
    source.rename(moved)
    prepare_dataset(moved, tmp_path / "b", settings=SMALL)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


def test_an_interrupted_ingest_goes_on_and_doubles_nothing(source, tmp_path, monkeypatch):
    prepare_dataset(source, tmp_path / "undisturbed", settings=SMALL)
    with monkeypatch.context() as patch:
        killed_after(5, patch)
        with pytest.raises(KeyboardInterrupt):
            prepare_dataset(source, tmp_path / "out", settings=SMALL)
    assert not (tmp_path / "out" / "dataset.json").exists()
    with pytest.raises(DatasetError, match="is not finished; run the same `w2v2-ray prepare` again"):
        SpeechDataset.open(tmp_path / "out")
    calls = killed_after(100, monkeypatch)
    prepare_dataset(source, tmp_path / "out", settings=SMALL)
    assert len(calls) == 6  # the first shard of three was kept
    assert contents(tmp_path / "out") == contents(tmp_path / "undisturbed")


def test_half_written_files_of_a_kill_are_cleared(source, tmp_path):
    out = tmp_path / "out"
    (out / ".ingest").mkdir(parents=True)
    (out / ".shard-00000.arrow.99999.tmp").write_bytes(b"half a shard")
    (out / "shard-00077.arrow").write_bytes(b"of an earlier plan")
    prepare_dataset(source, out, settings=SMALL)
    assert sorted(path.name for path in out.iterdir()) == [
        "dataset.json",
        "index.arrow",
        "ingest.json",
        "rejects.jsonl",
        *(f"shard-0000{n}.arrow" for n in range(3)),
    ]


def test_a_finished_shard_that_lost_its_end_is_written_again(source, tmp_path, monkeypatch):
    prepare_dataset(source, tmp_path / "undisturbed", settings=SMALL)
    with monkeypatch.context() as patch:
        killed_after(5, patch)
        with pytest.raises(KeyboardInterrupt):
            prepare_dataset(source, tmp_path / "out", settings=SMALL)
    shard = tmp_path / "out" / "shard-00000.arrow"
    shard.write_bytes(shard.read_bytes()[:-10])
    prepare_dataset(source, tmp_path / "out", settings=SMALL)
    assert contents(tmp_path / "out") == contents(tmp_path / "undisturbed")


def test_a_source_that_changed_between_attempts_is_read_again(source, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        killed_after(5, patch)
        with pytest.raises(KeyboardInterrupt):
            prepare_dataset(source, tmp_path / "out", settings=SMALL)
    first = list_items(source, "folder")[0]
    samples = np.tile(np.array([77, -77], np.int16), 4500)
    soundfile.write(first.path, samples, 16000)  # same size, another time and content
    prepare_dataset(source, tmp_path / "out", settings=SMALL)
    np.testing.assert_array_equal(SpeechDataset.open(tmp_path / "out").audio(0), samples)


def test_a_finished_dataset_is_left_alone(source, tmp_path):
    first = prepare_dataset(source, tmp_path / "out", settings=SMALL)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()}
    again = prepare_dataset(source, tmp_path / "out", settings=SMALL)
    assert again.was_finished
    assert not first.was_finished
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()} == before


def test_a_dataset_of_other_settings_is_not_overwritten(source, tmp_path):
    prepare_dataset(source, tmp_path / "out", settings=SMALL)
    with pytest.raises(DatasetError, match="already holds a dataset made from another source, files or settings"):
        prepare_dataset(source, tmp_path / "out", settings=IngestSettings(codec="flac"))


def test_a_folder_with_other_files_is_not_used(source, tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "thesis.tex").write_text("years of work")
    with pytest.raises(DatasetError, match=r"is not empty and holds no dataset \(thesis.tex"):
        prepare_dataset(source, tmp_path / "thesis", settings=SMALL)
    assert [path.name for path in (tmp_path / "thesis").iterdir()] == ["thesis.tex"]


def test_two_ingests_do_not_write_at_once(source, tmp_path):
    (tmp_path / "out" / ".ingest").mkdir(parents=True)
    with (
        FileLock(tmp_path / "out" / ".ingest" / "lock"),
        pytest.raises(DatasetError, match="another `w2v2-ray prepare` is writing there"),
    ):
        prepare_dataset(source, tmp_path / "out", settings=SMALL)


def spoil(source):
    """One file for each reason."""
    (source / "empty.wav").touch()
    (source / "text.wav").write_text("no audio" * 100)
    whole = (source / "speaker0" / "0.wav").read_bytes()
    (source / "cut.wav").write_bytes(whole[:5000])
    samples = np.zeros(8000, np.float32)
    samples[3] = np.nan
    soundfile.write(source / "nan.wav", samples, 16000, subtype="FLOAT")
    soundfile.write(source / "short.wav", np.zeros(100, np.int16), 16000)
    soundfile.write(source / "long.wav", np.zeros(50_000, np.int16), 16000)
    soundfile.write(source / "scrawl.wav", np.zeros(8000, np.int16), 16000)
    (source / "scrawl.txt").write_bytes(b"\xff")
    return {
        "empty.wav": "empty",
        "text.wav": "wrong_header",
        "cut.wav": "truncated",
        "nan.wav": "not_finite",
        "short.wav": "too_short",
        "long.wav": "too_long",
        "scrawl.wav": "bad_transcript",
    }


def test_bad_files_are_listed_with_their_reasons_and_the_rest_is_kept(source, tmp_path):
    reasons = spoil(source)
    summary = prepare_dataset(source, tmp_path / "out", settings=SMALL, max_rejects=0.5)
    rejects = [json.loads(line) for line in (tmp_path / "out" / "rejects.jsonl").read_text().splitlines()]
    assert {reject["path"]: reject["reason"] for reject in rejects} == reasons
    assert all(reject["detail"] for reject in rejects)
    assert summary.rejected == dict.fromkeys(reasons.values(), 1)
    assert summary.listed == 16
    dataset = SpeechDataset.open(tmp_path / "out", verify="checksums")
    assert len(dataset) == 9
    assert dataset.manifest.totals.rejected == 7


def test_files_of_a_manifest_that_are_not_there_are_rejected(source, tmp_path):
    manifest = source / "all.jsonl"
    names = ["speaker0/0.wav", "nowhere.wav", "speaker1/1.wav"]
    manifest.write_text("".join(json.dumps({"audio_filepath": name}) + "\n" for name in names))
    summary = prepare_dataset(manifest, tmp_path / "out", settings=SMALL, max_rejects=0.5)
    assert summary.rejected == {"missing": 1}


def test_too_many_rejects_fail_with_counts_and_resume_with_a_higher_limit(source, tmp_path, monkeypatch):
    spoil(source)
    with pytest.raises(DatasetError, match=r"7 of 16 files were rejected \(bad_transcript 1, .*--max-rejects 0.438"):
        prepare_dataset(source, tmp_path / "out", settings=SMALL)
    assert not (tmp_path / "out" / "dataset.json").exists()
    assert len((tmp_path / "out" / "rejects.jsonl").read_text().splitlines()) == 7
    calls = killed_after(100, monkeypatch)
    assert len(prepare_dataset(source, tmp_path / "out", settings=SMALL, max_rejects=0.438).manifest.shards) > 1
    assert calls == []


def test_a_source_without_any_usable_file_fails_even_when_all_may_be_rejected(tmp_path):
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "a.wav").touch()
    with pytest.raises(DatasetError, match=r"no usable audio: 1 of 1 files were rejected \(empty 1\)"):
        prepare_dataset(tmp_path / "source", tmp_path / "out", max_rejects=1.0)


def test_a_shard_of_rejects_only_leaves_no_gap(source, tmp_path):
    for name in "abc":
        (source / f"{name}.wav").write_text("no audio" * 4000)  # they sort before the rest and fill a shard
    summary = prepare_dataset(source, tmp_path / "out", settings=SMALL, max_rejects=0.5)
    dataset = SpeechDataset.open(tmp_path / "out", verify="checksums")
    assert len(dataset) == 9
    assert dataset.index.shard.max() == len(summary.manifest.shards) - 1


def test_progress_counts_every_file_once(source, tmp_path):
    seen = []
    prepare_dataset(source, tmp_path / "out", settings=SMALL, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(done, 9) for done in range(10)]


def test_a_dataset_in_an_object_store_has_the_same_bytes(source, tmp_path):
    # A file system that is not the local one takes the path of an object store: whole files, no renaming.
    (tmp_path / "bucket").mkdir()
    store = Location(fs.SubTreeFileSystem(str(tmp_path / "bucket"), fs.LocalFileSystem()), "speech", "store://speech")
    prepare_dataset(source, tmp_path / "local", settings=SMALL)
    prepare_dataset(source, store, settings=SMALL)
    assert contents(tmp_path / "bucket" / "speech") == contents(tmp_path / "local")
    dataset = SpeechDataset.open(store, verify="checksums", cache_dir=tmp_path / "cache")
    np.testing.assert_array_equal(dataset.audio(8), SpeechDataset.open(tmp_path / "local").audio(8))
