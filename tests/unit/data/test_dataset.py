from __future__ import annotations

import json
import pickle
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numpy as np
import pytest
import soundfile

from w2v2_ray.data import dataset as dataset_module
from w2v2_ray.data.dataset import SpeechDataset, Utterances
from w2v2_ray.data.inspection.report import dataset_report
from w2v2_ray.data.mixture import DatasetMixture, open_mixture, times_for
from w2v2_ray.errors import DatasetError


def source_audio(tmp_path, dataset, index):
    samples, _ = soundfile.read(tmp_path / "dataset-source" / dataset.source(index), dtype="int16")
    return samples


@pytest.mark.parametrize("codec", ["pcm16", "flac"])
def test_every_utterance_comes_back_bit_by_bit(tmp_path, make_dataset, codec):
    dataset = make_dataset(codec=codec)
    assert isinstance(dataset, Utterances)
    assert len(dataset) == 10
    assert len(dataset.manifest.shards) >= 2
    for index in range(len(dataset)):
        expected = source_audio(tmp_path, dataset, index)
        np.testing.assert_array_equal(dataset.audio(index), expected)
        np.testing.assert_array_equal(dataset.crop(index, 1234, 777), expected[1234 : 1234 + 777])
        assert dataset.num_samples[index] == len(expected)
        assert dataset.audio(index).dtype == np.int16


def test_texts_come_with_their_utterance(make_dataset):
    dataset = make_dataset()
    for index in range(len(dataset)):
        speaker, number = dataset.utterance_id(index).split("/")
        assert dataset.speaker(index) == speaker
        assert dataset.transcript(index) == f"NUMBER {int(number)}"


def test_hours_are_the_sum_of_the_lengths(make_dataset):
    dataset = make_dataset()
    assert dataset.hours == pytest.approx(sum(8000 + 100 * n for n in range(10)) / 16000 / 3600)


def test_pcm_is_a_read_only_view_of_the_file(make_dataset):
    audio = make_dataset().audio(3)
    assert not audio.flags.owndata
    assert not audio.flags.writeable


@pytest.mark.parametrize(("start", "length"), [(-1, 10), (0, 10**6), (7999, 1000), (0, -1)])
def test_a_crop_outside_the_utterance_is_an_error(make_dataset, start, length):
    with pytest.raises(IndexError):
        make_dataset().crop(0, start, length)


@pytest.mark.parametrize("codec", ["pcm16", "flac"])
def test_many_crops_at_once_are_those_one_by_one(make_dataset, codec):
    dataset = make_dataset(codec=codec)
    rng = np.random.default_rng(0)
    indices = rng.integers(0, len(dataset), 40)
    counts = rng.integers(0, 3000, 40)
    starts = rng.integers(0, dataset.num_samples[indices] - counts + 1)
    for sound, index, start, count in zip(dataset.crops(indices, starts, counts), indices, starts, counts, strict=True):
        np.testing.assert_array_equal(sound, dataset.crop(int(index), int(start), int(count)))


@pytest.mark.parametrize(
    ("index", "start", "count"), [(-1, 0, 10), (10, 0, 10), (0, -1, 10), (0, 0, 10**6), (0, 7999, 1000), (0, 0, -1)]
)
def test_one_crop_of_many_outside_its_utterance_is_an_error(make_dataset, index, start, count):
    dataset = make_dataset()
    wanted = [np.array([2, place, 3]) for place in (index, start, count)]
    with pytest.raises(IndexError):
        dataset.crops(*wanted)
    with pytest.raises(IndexError):
        DatasetMixture([(dataset, 1), (dataset, 1)]).crops(wanted[0] + 10 * (index > 0), *wanted[1:])


@pytest.mark.parametrize("index", [-1, 10])
def test_a_number_outside_the_dataset_is_an_error(make_dataset, index):
    with pytest.raises(IndexError):
        make_dataset().utterance_id(index)


def test_few_shards_stay_open(make_dataset, monkeypatch):
    monkeypatch.setattr(dataset_module, "_MAX_OPEN_SHARDS", 2)
    dataset = make_dataset()
    kept = [dataset.audio(index) for index in range(len(dataset))]
    assert len(dataset._readers) == 2
    for index, audio in enumerate(kept):  # views outlive their reader
        np.testing.assert_array_equal(audio, dataset.audio(index))


def test_a_pickled_dataset_opens_itself_again(make_dataset):
    dataset = make_dataset()
    copy = pickle.loads(pickle.dumps(dataset))
    assert copy.fingerprint == dataset.fingerprint
    np.testing.assert_array_equal(copy.audio(4), dataset.audio(4))
    assert len(pickle.dumps(dataset)) < 2000


def test_a_dataset_that_changed_is_not_unpickled(tmp_path, make_dataset):
    pickled = pickle.dumps(make_dataset())
    other = make_dataset("other", seed=5)
    other_files = {path.name: path for path in (tmp_path / "other").iterdir()}
    for path in list((tmp_path / "dataset").iterdir()):
        path.unlink()
    for name, path in other_files.items():
        path.rename(tmp_path / "dataset" / name)
    with pytest.raises(DatasetError, match=f"changed while in use: fingerprint {other.fingerprint}"):
        pickle.loads(pickled)


def test_threads_may_read_at_once(make_dataset):
    dataset = make_dataset()
    expected = [int(dataset.audio(index).sum(dtype=np.int64)) for index in range(10)] * 20
    dataset = SpeechDataset.open(dataset.uri)
    with ThreadPoolExecutor(8) as pool:
        sums = list(pool.map(lambda index: int(dataset.audio(index % 10).sum(dtype=np.int64)), range(200)))
    assert sums == expected


def test_the_fingerprint_depends_on_content_and_codec_only(make_dataset):
    first = make_dataset("a")
    assert make_dataset("b").fingerprint == first.fingerprint
    assert make_dataset("c", seed=1).fingerprint != first.fingerprint
    assert make_dataset("d", codec="flac").fingerprint != first.fingerprint


@pytest.mark.parametrize("verify", ["sizes", "checksums"])
def test_a_truncated_shard_is_reported_by_name_with_both_sizes(tmp_path, make_dataset, verify):
    shard = make_dataset().manifest.shards[1]
    path = tmp_path / "dataset" / shard.file
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(DatasetError, match=f"{shard.file}: is truncated: {shard.bytes - 100} bytes.*{shard.bytes} exp"):
        SpeechDataset.open(tmp_path / "dataset", verify=verify)


def test_an_altered_shard_of_the_same_size_fails_its_checksum(tmp_path, make_dataset):
    shard = make_dataset().manifest.shards[1]
    path = tmp_path / "dataset" / shard.file
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(DatasetError, match=f"{shard.file}: is altered: sha256 .* found, {shard.sha256} expected"):
        SpeechDataset.open(tmp_path / "dataset", verify="checksums")


@pytest.mark.parametrize("name", ["shard-00001.arrow", "index.arrow"])
def test_a_missing_file_is_reported_by_name(tmp_path, make_dataset, name):
    make_dataset()
    (tmp_path / "dataset" / name).unlink()
    with pytest.raises(DatasetError, match=f"{name}: is missing"):
        SpeechDataset.open(tmp_path / "dataset")


def test_a_shard_that_breaks_after_opening_is_a_clear_error(tmp_path, make_dataset):
    dataset = make_dataset()
    (tmp_path / "dataset" / "shard-00000.arrow").write_bytes(b"nothing of a shard")
    with pytest.raises(DatasetError, match=r"shard-00000\.arrow: is not a whole shard"):
        dataset.audio(0)


def test_an_edited_shard_list_is_noticed(tmp_path, make_dataset):
    make_dataset()
    path = tmp_path / "dataset" / "dataset.json"
    content = json.loads(path.read_text())
    del content["shards"][0]
    path.write_text(json.dumps(content))
    with pytest.raises(DatasetError, match=r"dataset\.json: was altered: fingerprint"):
        SpeechDataset.open(tmp_path / "dataset")


def test_an_index_of_another_dataset_is_noticed(tmp_path, make_dataset):
    make_dataset()
    make_dataset("other", seed=5)
    index = tmp_path / "dataset" / "index.arrow"
    content = bytearray(index.read_bytes())
    position = content.find((8000).to_bytes(4, "little"))
    content[position : position + 4] = (8001).to_bytes(4, "little")
    index.write_bytes(content)
    with pytest.raises(DatasetError, match=r"index\.arrow: does not belong to this dataset"):
        SpeechDataset.open(tmp_path / "dataset")


@pytest.mark.parametrize("content", ["{", "[]", '{"schema_version": 1}'])
def test_a_damaged_manifest_is_named(tmp_path, make_dataset, content):
    make_dataset()
    (tmp_path / "dataset" / "dataset.json").write_text(content)
    with pytest.raises(DatasetError, match=r"dataset\.json: "):
        SpeechDataset.open(tmp_path / "dataset")


def test_another_schema_version_is_refused(tmp_path, make_dataset):
    make_dataset()
    path = tmp_path / "dataset" / "dataset.json"
    path.write_text(path.read_text().replace('"schema_version": 1', '"schema_version": 99'))
    with pytest.raises(DatasetError, match="has schema version 99, this program reads 1"):
        SpeechDataset.open(tmp_path / "dataset")


def test_a_folder_that_is_no_dataset_says_how_to_make_one(tmp_path):
    with pytest.raises(DatasetError, match=r"holds no dataset.*w2v2-ray prepare"):
        SpeechDataset.open(tmp_path)


def test_a_mixture_repeats_its_parts_in_order(make_dataset):
    first, second = make_dataset("a", 4), make_dataset("b", 3, seed=9)
    mixture = DatasetMixture([(first, 2), (second, 1)])
    assert isinstance(mixture, Utterances)
    assert len(mixture) == 11
    assert mixture.hours == pytest.approx(2 * first.hours + second.hours)
    np.testing.assert_array_equal(
        mixture.num_samples, np.concatenate([first.num_samples, first.num_samples, second.num_samples])
    )
    for index in range(11):
        part, inner = (first, index % 4) if index < 8 else (second, index - 8)
        np.testing.assert_array_equal(mixture.audio(index), part.audio(inner))
        np.testing.assert_array_equal(mixture.crop(index, 5, 10), part.crop(inner, 5, 10))
        assert mixture.transcript(index) == part.transcript(inner)
        assert mixture.speaker(index) == part.speaker(inner)
        assert part.utterance_id(inner) in mixture.utterance_id(index)
    assert len({mixture.utterance_id(index) for index in range(11)}) == 11
    everywhere = np.array([10, 0, 8, 3, 4, 7, 9, 0, 5])
    starts = np.arange(len(everywhere))
    for sound, index, start in zip(
        mixture.crops(everywhere, starts, np.full(len(everywhere), 99)), everywhere, starts, strict=True
    ):
        np.testing.assert_array_equal(sound, mixture.crop(int(index), int(start), 99))


def test_the_fingerprint_of_a_mixture_depends_on_parts_order_and_repetition(make_dataset):
    a, b = make_dataset("a", 3), make_dataset("b", 3, seed=9)
    mixtures = [[(a, 1), (b, 1)], [(b, 1), (a, 1)], [(a, 2), (b, 1)], [(a, 1), (b, 2)], [(a, 1)], [(a, 2)]]
    assert len({DatasetMixture(parts).fingerprint for parts in mixtures}) == len(mixtures)


def test_a_mixture_of_one_dataset_is_that_dataset(make_dataset):
    dataset = make_dataset()
    mixture = open_mixture([(dataset.uri, 1)])
    assert mixture.fingerprint == dataset.fingerprint
    assert [mixture.utterance_id(i) for i in range(10)] == [dataset.utterance_id(i) for i in range(10)]


def test_a_mixture_is_picklable(make_dataset):
    mixture = DatasetMixture([(make_dataset(), 2)])
    copy = pickle.loads(pickle.dumps(mixture))
    assert copy.utterance_id(13) == mixture.utterance_id(13)


@pytest.mark.parametrize("repeat", [0, -1])
def test_a_repetition_below_one_is_refused(make_dataset, repeat):
    with pytest.raises(DatasetError, match="repeat"):
        DatasetMixture([(make_dataset(), repeat)])


def test_a_report_adds_up(make_dataset):
    dataset = make_dataset()
    report = dataset_report(dataset, checksums_verified=True)
    assert report.utterances == report.transcribed == sum(entry.utterances for entry in report.lengths) == 10
    assert sum(entry.hours for entry in report.lengths) == pytest.approx(report.hours) == pytest.approx(dataset.hours)
    assert report.speakers == 3
    assert (report.shortest_s, report.longest_s) == (8000 / 16000, 8900 / 16000)


def seconds_of(mixture, sizes) -> list[int]:
    ends = np.cumsum([0, *sizes])
    return [int(mixture.num_samples[a:b].sum()) for a, b in pairwise(ends)]


@pytest.mark.parametrize("shares", [(1, 1, 1), (7, 2, 1), (0.2, 0.3, 0.5), (1, 5, 20)])
def test_shares_are_of_the_seconds_and_nothing_is_left_out(make_dataset, shares):
    datasets = [make_dataset("a", 40), make_dataset("b", 17, seed=9), make_dataset("c", 9, seed=4)]
    times = times_for(datasets, shares)
    assert min(times) == 1
    mixture = DatasetMixture(list(zip(datasets, times, strict=True)))
    heard = seconds_of(mixture, [part.count for part in mixture._parts])
    assert sum(heard) == mixture.num_samples.sum()
    for dataset, count, share in zip(datasets, heard, shares, strict=True):
        # Off by no more than one utterance of each.
        assert abs(count / sum(heard) - share / sum(shares)) < 3 * dataset.num_samples.max() / sum(heard)
    ids = [mixture.utterance_id(index) for index in range(len(mixture))]
    assert len(set(ids)) == len(mixture)
    for number, dataset in enumerate(datasets):
        assert {f"{number}:{dataset.utterance_id(index)}" for index in range(len(dataset))} <= set(ids)


def test_what_is_heard_once_more_is_the_same_everywhere_and_is_that_audio(make_dataset):
    first, second = make_dataset("a", 12), make_dataset("b", 7, seed=9)
    mixture, again = (DatasetMixture([(first, 1), (second, 2.6)]) for _ in range(2))
    assert mixture.fingerprint == again.fingerprint
    assert mixture.fingerprint != DatasetMixture([(first, 1), (second, 2.4)]).fingerprint
    assert mixture.fingerprint != DatasetMixture([(first, 1), (second, 2)]).fingerprint
    extra = range(12 + 14, len(mixture))
    assert 2 <= len(extra) <= 6
    everywhere = np.arange(len(mixture))[::-1]
    sounds = mixture.crops(everywhere, np.zeros_like(everywhere), np.full(len(everywhere), 50))
    for sound, index in zip(sounds, everywhere, strict=True):
        np.testing.assert_array_equal(sound, mixture.crop(int(index), 0, 50))
        assert len(mixture.audio(int(index))) == mixture.num_samples[index]
    for index in extra:
        name = mixture.utterance_id(index)
        assert name.endswith("+2")
        inner = next(n for n in range(7) if name == f"1:{second.utterance_id(n)}+2")
        np.testing.assert_array_equal(mixture.audio(index), second.audio(inner))
        assert mixture.transcript(index) == second.transcript(inner)


def test_alpha_goes_from_the_sizes_to_equal_parts(make_dataset):
    uris = [make_dataset("a", 40).uri, make_dataset("b", 5, seed=9).uri]
    as_they_are, half, equal = (
        open_mixture([(uri, 1) for uri in uris], sampling_alpha=alpha) for alpha in (1.0, 0.5, 0.0)
    )
    assert [part.count for part in as_they_are._parts] == [40, 5]
    small, large = (SpeechDataset.open(uri).hours for uri in reversed(uris))
    wanted = (large / small) ** 0.5
    assert half._parts[1].count / 5 == pytest.approx(wanted, rel=0.1)
    assert equal.hours == pytest.approx(2 * large, rel=0.05)


def test_a_mixture_says_what_each_dataset_is_of_an_epoch(make_dataset):
    large, small = make_dataset("a", 40), make_dataset("b", 5, seed=9)
    mixture = open_mixture([(large.uri, 1), (small.uri, 1)], shares=[3, 1])
    first, second = mixture.shares
    assert (first.dataset, second.dataset) == (large.uri, small.uri)
    assert first.share + second.share == pytest.approx(1)
    assert second.share == pytest.approx(0.25, abs=0.02)
    assert first.times == 1
    assert second.times == pytest.approx(large.hours / small.hours / 3, rel=0.1)
    assert str(first) == f"{large.uri}: {first.share:.1%} (1.00 times)"
