from __future__ import annotations

import hashlib

import numpy as np
import pyarrow as pa
import pytest

from w2v2_ray.data.index import DatasetIndex
from w2v2_ray.data.shard import ShardReader, ShardWriter, sha256_of
from w2v2_ray.errors import DatasetError


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
