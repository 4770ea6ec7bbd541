"""What checkpoints say of themselves and which of a run's there are: names, manifests, checksums, the newest good one.

A checkpoint is a folder `update-00001000` that holds each worker's share of the state and `checkpoint.json`, a list of
its files with sizes and checksums. A snapshot, `snapshot-00001000`, is the same but for its name: only the newest two
are kept.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from w2v2_ray.errors import CheckpointError
from w2v2_ray.places.checksums import sha256_of

FORMAT = "w2v2-ray training state"
FORMAT_VERSION = 1
MANIFEST = "checkpoint.json"
StateKind = Literal["checkpoint", "snapshot"]
_PREFIXES: dict[StateKind, str] = {"checkpoint": "update-", "snapshot": "snapshot-"}


@dataclass(frozen=True)
class CheckpointManifest:
    """What a checkpoint says of itself.

    Attributes:
        update: Updates completed.
        epoch: Epoch that the next micro-batch belongs to.
        world_size: Workers that wrote it; for the record only, any number can load it.
        identity: What must agree for a run to go on: digests of the spec's parts and of the dataset.
        validation: Held-out measurements at this update, where it was validated.
        files: Size in bytes and SHA-256 of each file.
        kind: Whether it is kept, or replaced by the next snapshots.
        watchdog: State of the watchdog.
        rollbacks: How many rollbacks the run had had.
        folder: On an object store, where beside the manifest the files lie; "" where they lie with it.
    """

    update: int
    epoch: int
    world_size: int
    identity: dict[str, str]
    validation: dict[str, float] | None = None
    files: dict[str, dict[str, Any]] = field(default_factory=dict)
    kind: StateKind = "checkpoint"
    watchdog: dict[str, Any] | None = None
    rollbacks: int = 0
    folder: str = ""
    format: str = FORMAT
    format_version: int = FORMAT_VERSION


def read_manifest(folder: Path) -> CheckpointManifest:
    """Read `checkpoint.json`.

    Raises:
        CheckpointError: When it is missing, not ours, or of a newer format.
    """
    path = folder / MANIFEST
    try:
        content = json.loads(path.read_text())
        # Before the fields: those of another version may be others.
        _check_format(path, content["format"], int(content["format_version"]))
        manifest = CheckpointManifest(**content)
        for facts in manifest.files.values():
            int(facts["bytes"]), str(facts["sha256"])
    except FileNotFoundError as error:
        raise CheckpointError(f"{folder}: not a checkpoint ({MANIFEST} is missing)") from error
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise CheckpointError(f"{path}: unreadable ({error}); use an earlier checkpoint") from error
    return manifest


def manifest_text(manifest: CheckpointManifest) -> str:
    """What `checkpoint.json` holds."""
    return json.dumps(asdict(manifest), indent=1)


def _check_format(path: Path, name: str, version: int) -> None:
    if name != FORMAT or version > FORMAT_VERSION:
        raise CheckpointError(
            f"{path}: format {name!r} version {version}, but this release reads "
            f"{FORMAT!r} up to version {FORMAT_VERSION}; upgrade w2v2-ray"
        )


def every_file(name: str) -> bool:
    """Take all files of a state."""
    return True


def verify(folder: Path, *, checksums: bool = True, needed: Callable[[str], bool] = every_file) -> CheckpointManifest:
    """Check every file of a checkpoint against its size and checksum.

    Args:
        folder: The checkpoint.
        checksums: False compares names and sizes only.
        needed: Other files, by name, are not looked at.

    Raises:
        CheckpointError: Naming the first file that differs.
    """
    manifest = read_manifest(folder)
    for name, expected in manifest.files.items():
        path = folder / name
        if not needed(name):
            continue
        if not path.exists():
            raise CheckpointError(f"{path}: missing; use an earlier checkpoint")
        try:
            size = path.stat().st_size
            if size != expected["bytes"]:
                raise CheckpointError(f"{path}: {size} bytes, expected {expected['bytes']}; use an earlier checkpoint")
            if checksums and sha256_of(path) != expected["sha256"]:
                raise CheckpointError(f"{path}: its checksum differs, the file was altered; use an earlier checkpoint")
        except OSError as error:
            raise CheckpointError(f"{path}: unreadable ({error.strerror}); use an earlier checkpoint") from error
    return manifest


def name_of(manifest: CheckpointManifest) -> str:
    """Name of a state's folder."""
    return f"{_PREFIXES[manifest.kind]}{manifest.update:08d}"


def list_kind(folder: Path, kind: StateKind) -> list[Path]:
    """Committed states of one kind, oldest first."""
    prefix = _PREFIXES[kind]
    found = (path for path in folder.glob(f"{prefix}*") if path.name.removeprefix(prefix).isdecimal())
    return sorted((path for path in found if path.is_dir()), key=update_of)


def list_checkpoints(folder: Path) -> list[Path]:
    """Committed checkpoints, oldest first; folders of other names, such as a user's copies, are left alone."""
    return list_kind(folder, "checkpoint")


def list_states(folder: Path) -> list[Path]:
    """Committed checkpoints and snapshots, oldest first; of the same update, the checkpoint last."""
    return sorted([*list_kind(folder, "snapshot"), *list_kind(folder, "checkpoint")], key=update_of)


def remove_state(path: Path) -> None:
    """Delete a state; one that cannot be deleted stays."""
    shutil.rmtree(path, ignore_errors=True)


def is_snapshot(path: Path) -> bool:
    """Whether a state is a snapshot, by its name."""
    return path.name.startswith(_PREFIXES["snapshot"])


def update_of(path: Path) -> int:
    """Update number in the name of a checkpoint or snapshot."""
    return int(path.name.rpartition("-")[2])


def best_checkpoint(folder: Path, up_to: int | None = None) -> Path | None:
    """The checkpoint with the lowest validation score, if any was validated.

    Args:
        folder: Where the checkpoints are.
        up_to: Later updates do not count; None counts all.
    """
    best = _best(folder, up_to)
    return best[1] if best else None


def score(validation: Mapping[str, float]) -> float:
    """What checkpoints are compared by, lower is better: the WER of a recogniser, else the loss."""
    return validation.get("wer", validation["loss"])


def best_score(folder: Path, up_to: int) -> float:
    """Lowest validation score among the checkpoints up to an update; infinite when none was validated."""
    best = _best(folder, up_to)
    return best[0] if best else math.inf


def _best(folder: Path, up_to: int | None) -> tuple[float, Path] | None:
    best: tuple[float, Path] | None = None
    for path in list_checkpoints(folder):
        if up_to is not None and update_of(path) > up_to:
            break
        try:
            validation = read_manifest(path).validation
        except CheckpointError:
            continue
        if not validation or math.isnan(score(validation)):
            continue
        if best is None or score(validation) < best[0]:
            best = (score(validation), path)
    return best


def newest_good(
    folder: Path,
    on_bad: Callable[[Path, CheckpointError], None],
    wanted: Callable[[CheckpointManifest], bool] = lambda manifest: True,
    fetch: Callable[[Path], object] = lambda path: None,
    needed: Callable[[str], bool] = every_file,
) -> Path | None:
    """The newest checkpoint or snapshot whose every file is as it was written.

    Args:
        folder: Where they are.
        on_bad: Told of damaged ones, which are passed over.
        wanted: Others are passed over in silence.
        fetch: Brings the files of one that lies on an object store.
        needed: See `verify`.
    """
    for path in reversed(list_states(folder)):
        try:
            if not wanted(read_manifest(path)):
                continue
            fetch(path)
            verify(path, needed=needed)
        except CheckpointError as error:
            on_bad(path, error)
            continue
        return path
    return None


def none_is_usable(folder: Path, damaged: int) -> str:
    """Why a run that has nothing but damaged checkpoints is not begun anew: that would wipe its metrics."""
    return (
        f"{folder}: none of its {damaged} checkpoints can be used (events.jsonl says why); restore one, or move this "
        "folder away to begin the run anew"
    )


def check_identity(found: Mapping[str, str], wanted: Mapping[str, str], where: Path | str) -> None:
    """Refuse to go on with another model, virtual world or dataset than the run began with.

    Raises:
        CheckpointError: Naming the parts that differ.
    """
    differing = sorted(key for key in {*found, *wanted} if found.get(key) != wanted.get(key))
    if differing:
        raise CheckpointError(
            f"{where}: this run began with another {', '.join(differing)}; going on would break its loss curve. "
            "Restore the spec (spec.yaml in the run's folder has it), or start a new run under another name"
        )
