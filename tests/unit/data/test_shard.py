from __future__ import annotations

import hashlib

import numpy as np
import pyarrow as pa
import pytest

from w2v2_ray.data.index import DatasetIndex
from w2v2_ray.data.schema import shard_schema
from w2v2_ray.data.shard import ShardReader, ShardWriter
from w2v2_ray.errors import DatasetError
from w2v2_ray.places.checksums import sha256_of


def write(path, rows=300, codec="pcm16"):
    writer = ShardWriter(path, codec)
    for row in range(rows):
        writer.append(f"id{row}", np.arange(row, row + 50 + row, dtype=np.int16), None, f"s{row % 2}", f"{row}.wav")
    return writer.close()


@pytest.mark.parametrize("codec", ["pcm16", "flac"])
def test_rows_come_back_over_batch_borders(tmp_path, codec):
    written = write(tmp_path / "a", codec=codec)
    reader = ShardReader(tmp_path / "a", "a", 300)
    assert reader.codec == codec
    assert reader.rows == written.rows == 300
    assert len(reader._batches) > 1
    for row in (0, 127, 128, 299):
        np.testing.assert_array_equal(reader.audio(row), np.arange(row, row + 50 + row))
        assert (reader.text("id", row), reader.text("transcript", row)) == (f"id{row}", None)
    assert reader.texts("speaker") == [f"s{row % 2}" for row in range(300)]


def test_what_the_writer_says_is_what_is_there(tmp_path):
    written = write(tmp_path / "a", 10)
    content = (tmp_path / "a").read_bytes()
    assert written.num_bytes == len(content)
    assert written.sha256 == hashlib.sha256(content).hexdigest() == sha256_of(tmp_path / "a")
    assert written.samples == sum(50 + row for row in range(10))


def test_the_same_rows_give_the_same_bytes(tmp_path):
    assert write(tmp_path / "a", 10) == write(tmp_path / "b", 10)


def test_another_number_of_rows_than_promised_is_refused(tmp_path):
    write(tmp_path / "a", 10)
    with pytest.raises(DatasetError, match=r"a: holds 10 utterances, but dataset\.json says 11"):
        ShardReader(tmp_path / "a", "a", 11)


@pytest.mark.parametrize("keep", [0, 5, 500])
def test_a_shard_that_was_cut_is_named(tmp_path, keep):
    write(tmp_path / "a", 10)
    (tmp_path / "a").write_bytes((tmp_path / "a").read_bytes()[:keep])
    with pytest.raises(DatasetError, match="shard 7: is not a whole shard"):
        ShardReader(tmp_path / "a", "shard 7")


def write_columns(path, audio, lengths, codec="pcm16"):
    """A shard whose audio column and lengths are given, whatever they are."""
    schema = shard_schema(codec)
    schema = schema.set(1, pa.field("audio", audio.type))
    count = len(lengths)
    texts = pa.array(["x"] * count)
    columns = [texts, audio, pa.array(lengths, pa.int32()), texts, texts, texts]
    with pa.ipc.new_file(str(path), schema) as writer:
        writer.write_batch(pa.RecordBatch.from_arrays(columns, schema=schema))


def audio_column(offsets, data):
    buffers = [None, pa.py_buffer(np.asarray(offsets, np.int64)), pa.py_buffer(data)]
    return pa.Array.from_buffers(pa.large_binary(), len(offsets) - 1, buffers)


def test_audio_at_an_odd_byte_is_read(tmp_path):
    samples = np.arange(-3, 7, dtype="<i2")
    write_columns(tmp_path / "a", audio_column([1, 9, 21], b"?" + samples.tobytes() + b"??"), [4, 6])
    reader = ShardReader(tmp_path / "a", "a")
    assert reader.audio(0).tolist() == [-3, -2, -1, 0]
    assert reader.crop(1, 2, 3).tolist() == [3, 4, 5]
    assert not reader.audio(1).flags.writeable


@pytest.mark.parametrize(
    ("audio", "lengths", "message"),
    [
        (audio_column([0, 8, 16], bytes(16)), [4, 5], "row 1 has 8 bytes, not 10"),
        (audio_column([0, 7, 16], bytes(16)), [4, 4], "row 0 has 7 bytes, not 8"),
        (audio_column([0, 8, 16], bytes(16)), [4, -4], "row 1 has 8 bytes, not -8"),
        (pa.array([b"1234", None], pa.large_binary()), [2, 2], "large_binary with 1 nulls"),
        (pa.array([b"1234", b"1234"], pa.binary()), [2, 2], "its audio is binary with 0 nulls, not large_binary"),
    ],
)
def test_a_shard_whose_audio_is_something_else_is_refused(tmp_path, audio, lengths, message):
    write_columns(tmp_path / "a", audio, lengths)
    with pytest.raises(DatasetError, match=f"shard 7: is damaged: .*{message}.*prepare the dataset again"):
        ShardReader(tmp_path / "a", "shard 7")


@pytest.mark.parametrize("offsets", [[0, 8, 10**9], [-8, 0, 8], [0, 24, 16], [0, -(2**62), 16]])
@pytest.mark.parametrize("codec", ["pcm16", "flac"])
def test_a_shard_whose_audio_lies_outside_it_is_refused(tmp_path, offsets, codec):
    sound = [0, 8, 16]
    write_columns(tmp_path / "a", audio_column(sound, bytes(16)), [4, 4], codec)
    content = (tmp_path / "a").read_bytes()
    before, after = (np.asarray(places, "<i8").tobytes() for places in (sound, offsets))
    assert content.count(before) == 1
    (tmp_path / "a").write_bytes(content.replace(before, after))
    with pytest.raises(DatasetError, match="shard 7: is damaged: its audio points outside itself; prepare"):
        ShardReader(tmp_path / "a", "shard 7")


def test_flac_that_does_not_decode_names_its_row(tmp_path):
    write_columns(tmp_path / "a", pa.array([b"fLaC", b""], pa.large_binary()), [2, 2], "flac")
    for row in (0, 1):
        with pytest.raises(DatasetError, match=f"a: row {row} is damaged: FLAC does not decode"):
            ShardReader(tmp_path / "a", "a").audio(row)


def test_an_arrow_file_of_someone_else_is_refused(tmp_path):
    table = pa.table({"x": [1]})
    with pa.ipc.new_file(str(tmp_path / "a"), table.schema) as writer:
        writer.write_table(table)
    with pytest.raises(DatasetError, match="has schema version none"):
        ShardReader(tmp_path / "a", "a")


def test_an_index_is_mapped_without_copying(tmp_path):
    index = DatasetIndex.from_shards([np.array([5, 6], np.int32), np.array([7], np.int32)])
    (tmp_path / "index").write_bytes(index.to_bytes())
    read = DatasetIndex.open(tmp_path / "index", "index")
    assert (read.num_samples.tolist(), read.shard.tolist(), read.row.tolist()) == ([5, 6, 7], [0, 0, 1], [0, 1, 0])
    assert not read.num_samples.flags.owndata
    assert not read.num_samples.flags.writeable
