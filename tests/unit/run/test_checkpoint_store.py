"""Checkpoints: committed in one step by all workers, verified before use, pruned by the spec."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from w2v2_ray.errors import CheckpointError, RunFailedError
from w2v2_ray.run.checkpoints import store as checkpoint_store
from w2v2_ray.run.checkpoints.files import (
    FORMAT_VERSION,
    MANIFEST,
    CheckpointManifest,
    best_checkpoint,
    check_identity,
    list_checkpoints,
    newest_good,
    read_manifest,
    update_of,
    verify,
)
from w2v2_ray.run.checkpoints.store import CheckpointStore
from w2v2_ray.spec.job import CheckpointSpec

IDENTITY = {"model": "aa", "dataset": "bb"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    return folder


def spec(**changes: Any) -> CheckpointSpec:
    return CheckpointSpec(**{"keep_last": 100, "milestone_updates": None, "keep_best": False, **changes})


def store_of(folder: Path, keep: CheckpointSpec | None = None, rank: int = 0, size: int = 1, **more: Any):
    return CheckpointStore(folder, keep or spec(), attempt="abc", world_rank=rank, world_size=size, **more)


def manifest_of(update: int, loss: float | None = None) -> CheckpointManifest:
    return CheckpointManifest(
        update=update,
        epoch=0,
        world_size=1,
        identity=IDENTITY,
        validation=None if loss is None else {"loss": loss},
    )


def writer(rank: int = 0, content: bytes = b"weights" * 100) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        (folder / f"state-{rank:05d}.bin").write_bytes(content)
        if rank == 0:
            (folder / "state.json").write_text("{}")

    return write


def save(store: CheckpointStore, update: int, loss: float | None = None) -> None:
    store.save(manifest_of(update, loss), writer())
    store.wait()


def names(folder: Path) -> list[int]:
    return [update_of(path) for path in list_checkpoints(folder)]


def nothing_bad(path: Path, error: CheckpointError) -> None:
    raise AssertionError(f"{path}: {error}")


def test_a_checkpoint_appears_only_when_every_workers_share_is_there(folder: Path):
    first, second = store_of(folder, rank=0, size=2), store_of(folder, rank=1, size=2)
    written = threading.Event()

    def write(place: Path) -> None:
        writer(0)(place)
        written.set()

    first.save(manifest_of(4), write)
    assert written.wait(10)
    assert list_checkpoints(folder) == []
    second.save(manifest_of(4), writer(1))
    second.close()
    first.close()
    (path,) = list_checkpoints(folder)
    manifest = verify(path)
    assert manifest.update == 4
    assert set(manifest.files) == {"state-00000.bin", "state-00001.bin", "state.json"}
    assert {entry.name for entry in path.iterdir()} == {*manifest.files, MANIFEST}
    assert [entry.name for entry in folder.iterdir()] == ["update-00000004"]


def test_the_commit_is_told_on_the_first_worker_only(folder: Path):
    told: list[tuple[str, int, str]] = []

    def teller(who: str) -> Callable[[CheckpointManifest, Path, float], None]:
        return lambda manifest, path, _: told.append((who, manifest.update, path.name))

    first = store_of(folder, rank=0, size=2, on_commit=teller("first"))
    second = store_of(folder, rank=1, size=2, on_commit=teller("second"))
    for store, rank in ((first, 0), (second, 1)):
        store.save(manifest_of(3), writer(rank))
    first.close()
    second.close()
    assert told == [("first", 3, "update-00000003")]


def test_the_newest_milestones_and_the_best_are_kept(folder: Path):
    store = store_of(folder, spec(keep_last=2, milestone_updates=4, keep_best=True))
    for update, loss in ((1, 3.0), (2, 1.0), (3, 2.0), (4, None), (5, 2.5), (6, None), (7, None), (8, None), (9, 1.5)):
        save(store, update, loss)
    store.close()
    assert names(folder) == [2, 4, 8, 9]
    best = best_checkpoint(folder)
    assert best is not None
    assert update_of(best) == 2


def test_without_milestones_and_best_only_the_newest_are_kept(folder: Path):
    store = store_of(folder, spec(keep_last=1))
    for update in (1, 2, 3):
        save(store, update, loss=float(update))
    store.close()
    assert names(folder) == [3]


def test_a_best_loss_that_is_no_number_does_not_hide_a_real_one(folder: Path):
    store = store_of(folder, spec(keep_last=1, keep_best=True))
    for update, loss in ((1, float("nan")), (2, 2.0), (3, None)):
        save(store, update, loss)
    store.close()
    best = best_checkpoint(folder)
    assert best is not None
    assert update_of(best) == 2


def test_damaged_checkpoints_of_a_lost_future_do_not_push_out_the_good_ones(folder: Path):
    store = store_of(folder)
    for update in (2, 4, 8):
        save(store, update)
    store.close()
    (folder / "update-00000008" / "state-00000.bin").write_bytes(b"damaged")
    resumed = store_of(folder, spec(keep_last=1))
    save(resumed, 6)
    resumed.close()
    good = newest_good(folder, lambda path, error: None)
    assert good is not None
    assert update_of(good) == 6


def truncate(path: Path) -> str:
    file = path / "state-00000.bin"
    file.write_bytes(file.read_bytes()[:-1])
    return r"state-00000\.bin: 699 bytes, expected 700"


def flip_a_bit(path: Path) -> str:
    file = path / "state-00000.bin"
    content = bytearray(file.read_bytes())
    content[350] ^= 1
    file.write_bytes(content)
    return r"state-00000\.bin: its checksum differs"


def lose_a_file(path: Path) -> str:
    (path / "state.json").unlink()
    return r"state\.json: missing"


def put_a_folder_in_its_place(path: Path) -> str:
    (path / "state.json").unlink()
    (path / "state.json").mkdir()
    return r"state\.json"


def lose_the_manifest(path: Path) -> str:
    (path / MANIFEST).unlink()
    return r"update-00000004: not a checkpoint \(checkpoint\.json is missing\)"


def truncate_the_manifest(path: Path) -> str:
    content = (path / MANIFEST).read_text()
    (path / MANIFEST).write_text(content[: len(content) // 2])
    return r"checkpoint\.json: unreadable"


def empty_the_manifest(path: Path) -> str:
    (path / MANIFEST).write_text("[]")
    return r"checkpoint\.json"


def nonsense_in_the_manifest(path: Path) -> str:
    content = json.loads((path / MANIFEST).read_text())
    content["files"] = {"state.json": None}
    (path / MANIFEST).write_text(json.dumps(content))
    return r"checkpoint\.json"


def binary_in_the_manifest(path: Path) -> str:
    (path / MANIFEST).write_bytes(b"\xff\xfe\x00")
    return r"checkpoint\.json: unreadable"


def newer_format(path: Path) -> str:
    content = json.loads((path / MANIFEST).read_text())
    content |= {"format_version": FORMAT_VERSION + 1, "a_field_of_the_future": 1}
    (path / MANIFEST).write_text(json.dumps(content))
    return rf"checkpoint\.json: format .* version {FORMAT_VERSION + 1}.*upgrade"


DAMAGES = [
    truncate,
    flip_a_bit,
    lose_a_file,
    put_a_folder_in_its_place,
    lose_the_manifest,
    truncate_the_manifest,
    empty_the_manifest,
    nonsense_in_the_manifest,
    binary_in_the_manifest,
    newer_format,
]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_newest_checkpoint_is_named_and_the_previous_one_is_used(folder: Path, damage):
    store = store_of(folder)
    save(store, 2)
    save(store, 4)
    store.close()
    message = damage(folder / "update-00000004")
    with pytest.raises(CheckpointError, match=message):
        verify(folder / "update-00000004")
    reported: list[tuple[str, str]] = []
    good = newest_good(folder, lambda path, error: reported.append((path.name, error.message)))
    assert good == folder / "update-00000002"
    assert [name for name, _ in reported] == ["update-00000004"]


def test_nothing_is_good_where_nothing_was_saved(folder: Path):
    assert newest_good(folder, nothing_bad) is None
    assert newest_good(folder / "missing", nothing_bad) is None


def test_folders_of_other_names_are_not_taken_for_checkpoints(folder: Path):
    store = store_of(folder, spec(keep_last=1))
    save(store, 2)
    shutil.copytree(folder / "update-00000002", folder / "update-00000002.backup")
    save(store, 4)
    store.close()
    assert names(folder) == [4]
    assert (folder / "update-00000002.backup").is_dir()


def test_a_first_worker_that_opens_late_does_not_remove_what_another_has_begun_to_write(folder: Path):
    second = store_of(folder, rank=1, size=2)
    second.save(manifest_of(4), writer(1))
    second.wait()
    first = store_of(folder, rank=0, size=2)
    assert (folder / ".writing-update-00000004-abc" / "rank-00001" / "state-00001.bin").exists()
    first.save(manifest_of(4), writer(0))
    first.close()
    assert names(folder) == [4]


def test_what_a_killed_attempt_left_half_written_is_removed(folder: Path):
    stale = folder / ".writing-update-00000002-dead" / "rank-00000"
    stale.mkdir(parents=True)
    (stale / "state-00000.bin").write_bytes(b"half")
    store_of(folder, rank=1, size=2)
    assert stale.exists()
    store_of(folder, rank=0, size=2)
    assert list(folder.iterdir()) == []


def test_a_failing_writer_surfaces_at_wait_and_leaves_earlier_checkpoints_intact(folder: Path):
    store = store_of(folder)
    save(store, 2)

    def disk_full(place: Path) -> None:
        (place / "state-00000.bin").write_bytes(b"half")
        raise OSError(28, "No space left on device")

    store.save(manifest_of(4), disk_full)
    with pytest.raises(RunFailedError, match=r"checkpoints: saving.*No space left on device.*earlier ones are intact"):
        store.wait()
    assert newest_good(folder, nothing_bad) == folder / "update-00000002"
    save(store, 6)
    assert names(folder) == [2, 6]
    store.close()


def test_a_save_is_given_up_and_made_up_for_although_its_folder_went_away_and_came_back(folder: Path):
    store = store_of(folder)
    save(store, 2)
    away = folder.rename(folder.with_name("away"))
    folder.write_text("a mount that is gone")
    store.save(manifest_of(4), writer())
    assert "Not a directory" in (store.share_problem or "")
    store.drop()
    folder.unlink()
    away.rename(folder)
    save(store, 6)
    store.close()
    assert names(folder) == [2, 6]


def test_a_failing_writer_surfaces_at_the_next_save_at_the_latest(folder: Path):
    store = store_of(folder)

    def fails(place: Path) -> None:
        raise PermissionError(13, "Permission denied")

    store.save(manifest_of(2), fails)
    with pytest.raises(RunFailedError, match="Permission denied"):
        store.save(manifest_of(4), writer())


def test_workers_that_never_deliver_their_share_fail_the_save(folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(checkpoint_store, "COMMIT_TIMEOUT_S", 0.05)
    store = store_of(folder, rank=0, size=2)
    store.save(manifest_of(2), writer())
    with pytest.raises(RunFailedError, match="did not finish their shares"):
        store.close()
    assert list_checkpoints(folder) == []


def test_an_abandoned_store_does_not_wait_for_the_others(folder: Path):
    store = store_of(folder, rank=0, size=2)
    store.save(manifest_of(2), writer())
    store.abandon()
    with pytest.raises(RunFailedError, match="given up"):
        store.wait()
    assert list_checkpoints(folder) == []


def test_the_same_update_saved_again_replaces_the_old_one(folder: Path):
    store = store_of(folder)
    save(store, 2)
    store.save(manifest_of(2), writer(content=b"new"))
    store.close()
    assert (folder / "update-00000002" / "state-00000.bin").read_bytes() == b"new"
    verify(folder / "update-00000002")


def test_what_is_written_is_what_is_read(folder: Path):
    store = store_of(folder)
    given = replace(manifest_of(5, 1.25), epoch=3, world_size=7)
    store.save(given, writer())
    store.close()
    read = read_manifest(folder / "update-00000005")
    assert (read.update, read.epoch, read.world_size, read.identity) == (5, 3, 7, IDENTITY)
    assert read.validation == {"loss": 1.25}
    assert read.files["state.json"]["bytes"] == 2


def test_another_identity_is_refused_naming_what_differs(tmp_path: Path):
    check_identity(IDENTITY, IDENTITY, tmp_path)
    with pytest.raises(CheckpointError, match=r"another batch, dataset; .*new run under another name"):
        check_identity(IDENTITY, {"model": "aa", "dataset": "cc", "batch": "dd"}, tmp_path)
