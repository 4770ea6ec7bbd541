from __future__ import annotations

import pickle

import pytest

from w2v2_ray.errors import StorageError
from w2v2_ray.places.storage import atomic_path, locate


def test_paths_and_file_uris_name_the_same_place(tmp_path):
    plain, uri = locate(tmp_path / "a"), locate(f"file://{tmp_path}/a")
    assert plain.local_path == uri.local_path == tmp_path / "a"


def test_a_relative_path_is_made_absolute_but_shown_as_typed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    place = locate("some/folder")
    assert place.local_path == tmp_path / "some" / "folder"
    assert str(place / "name") == "some/folder/name"


def test_the_query_of_a_uri_stays_at_its_end():
    place = locate("s3://bucket/data?region=eu-west-1&endpoint_override=localhost:9000") / "shard"
    assert place.path == "bucket/data/shard"
    assert place.uri == "s3://bucket/data/shard?region=eu-west-1&endpoint_override=localhost:9000"
    assert place.local_path is None


def test_a_place_is_picklable(tmp_path):
    assert pickle.loads(pickle.dumps(locate(tmp_path))) == locate(tmp_path)


@pytest.mark.parametrize("uri", ["nonsense://bucket/a", "://", "s4://x/y"])
def test_an_unknown_scheme_is_refused_with_examples(uri):
    with pytest.raises(StorageError, match=r"cannot be opened as a storage URI.*s3://bucket/folder"):
        locate(uri)


def test_reading_what_is_not_there_names_it(tmp_path):
    with pytest.raises(StorageError, match="none: cannot read: there is no such file"):
        locate(tmp_path / "none").read_bytes()


def test_writing_below_a_file_names_the_place(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="file/below: cannot write"):
        locate(tmp_path / "file" / "below").write_bytes(b"x")


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path):
    target = tmp_path / "a"
    target.write_text("old")

    def fail():
        with atomic_path(target) as temporary:
            temporary.write_text("half")
            raise RuntimeError("power cut")

    with pytest.raises(RuntimeError):
        fail()
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("a", "old")]
    with atomic_path(target) as temporary:
        temporary.write_text("new")
    assert target.read_text() == "new"


def test_listing_a_folder_that_is_not_there_is_empty(tmp_path):
    assert locate(tmp_path / "none").names() == []
