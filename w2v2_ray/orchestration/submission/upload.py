"""How large the working directory of a job is, measured as Ray will pack it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from w2v2_ray.errors import StorageError, UserError
from w2v2_ray.orchestration.ray_private.core import walk_upload

DEFAULT_EXCLUDES = ("/runs", "/datasets", "/demo", "/sweeps", ".venv", ".git", "*.egg-info", ".*_cache", "__pycache__")
"""Left out where no runtime environment file says what is."""
_MIB = 2**20
_NAMED = 5
_WORTH_NAMING = 0.01
_DEEPEST = 3


@dataclass(frozen=True)
class Upload:
    """Files that would be sent.

    Args:
        folder: The working directory.
        sizes: Bytes by path relative to it.
    """

    folder: Path
    sizes: dict[str, int]

    @property
    def num_bytes(self) -> int:
        """All of them together."""
        return sum(self.sizes.values())

    def biggest(self) -> list[tuple[str, int]]:
        """The files and folders that it would help most to leave out, biggest first.

        A folder is named rather than its parent where it makes up most of it.
        """
        entries: Counter[str] = Counter()
        for file, size in self.sizes.items():
            parts = file.split("/")
            for depth in range(1, min(len(parts), _DEEPEST) + 1):
                entries["/".join(parts[:depth]) + ("/" if depth < len(parts) else "")] += size
        named: list[tuple[str, int]] = []
        for entry, size in sorted(entries.items(), key=lambda item: (-item[1], -len(item[0]))):
            if size >= _WORTH_NAMING * self.num_bytes and not any(
                other.startswith(entry) or entry.startswith(other) for other, _ in named
            ):
                named.append((entry, size))
        return named[:_NAMED]

    def check(self, limit_mib: float) -> None:
        """Refuse what is too big to be meant.

        Raises:
            UserError: Naming the biggest entries and the limit.
        """
        if self.num_bytes <= limit_mib * _MIB:
            return
        entries = ", ".join(f"{entry} {size / _MIB:.1f} MiB" for entry, size in self.biggest())
        raise UserError(
            f"{self.folder}: the working directory to upload has {self.num_bytes / _MIB:.1f} MiB, above the limit of "
            f"{limit_mib:g} MiB; the biggest: {entries}. Name what the job does not need under `excludes` in the "
            "runtime environment file (jobs/runtime_env.yaml) or in .rayignore, submit from another --working-dir, or "
            "raise --max-upload-mib; data belong on a shared file system or in a bucket"
        )


def measure(folder: Path, excludes: Sequence[str]) -> Upload:
    """Walk a working directory as Ray does: without `excludes`, and without what .gitignore and .rayignore name.

    Raises:
        StorageError: When the folder cannot be read.
    """
    folder = folder.absolute()
    if not folder.is_dir():
        raise StorageError(f"{folder}: no such folder; give --working-dir a folder that holds the job's files")
    sizes: dict[str, int] = {}

    def note(path: Path) -> None:
        if path.is_file():
            sizes[path.relative_to(folder).as_posix()] = path.stat().st_size

    try:
        walk_upload(folder, excludes, note)
    except OSError as error:
        raise StorageError(
            f"{error.filename or folder}: cannot be read ({error.strerror}); mend its permissions or exclude it"
        ) from error
    return Upload(folder, sizes)
