"""A source in a store, listed as if it lay here: its lists and texts are fetched, its audio is only named.

What the readers of corpora look at while listing are names, sizes and small files. So a skeleton of the source is laid
out in a temporary folder, in which an audio file is empty room of the right size, and what they list is given the
URIs of the real files. Workers fetch those, shard by shard.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from w2v2_ray.audio.rejection import RejectReason
from w2v2_ray.audio.suffixes import AUDIO_SUFFIXES, CONVERTIBLE_SUFFIXES
from w2v2_ray.data.corpora import table
from w2v2_ray.data.corpora.files import ARCHIVE_SUFFIXES
from w2v2_ray.data.corpora.item import SourceItem
from w2v2_ray.data.members import NOT_IN_STORE
from w2v2_ray.errors import DatasetError, UserError
from w2v2_ray.places.storage import Location, StoredFile, locate
from w2v2_ray.places.stores import file_at, is_uri

_AT_ONCE = 16
_CONTAINERS = (".tar", ".parquet", ".arrow")
"""Files whose entries are listed from their content: they are fetched whole, and removed after the listing."""
_LARGEST_LIST_BYTES = 2 * 2**30
_NOT_READ = frozenset((*AUDIO_SUFFIXES, *CONVERTIBLE_SUFFIXES, *ARCHIVE_SUFFIXES)) - frozenset(_CONTAINERS) - {".gz"}


@dataclass(frozen=True)
class LaidOut:
    """A source that can be listed.

    Attributes:
        path: Where the readers find it.
        finish: Gives an item the place of its real file.
    """

    path: Path
    finish: Callable[[list[SourceItem]], list[SourceItem]]


@contextmanager
def laid_out(source: str | os.PathLike[str] | Location) -> Iterator[LaidOut]:
    """Make a source listable for this block; one on this machine is taken as it is.

    Raises:
        DatasetError: There is nothing at its URI; or what the block raised, with the URI in place of the skeleton.
        StorageError: The store does not answer, or denies access.
    """
    if not isinstance(source, Location) and not is_uri(os.fspath(source)):
        yield LaidOut(Path(source).expanduser(), _stamped)
        return
    place = locate(source)
    if place.local_path is not None:
        yield LaidOut(place.local_path, _stamped)
        return
    with tempfile.TemporaryDirectory(prefix="w2v2-ray-") as folder:
        skeleton = Path(folder) / "source"
        base, files, listed = _listing(place)
        known = {f"{skeleton}/{file.name}": file for file in files}
        _lay_out(base, files, skeleton)
        try:
            yield LaidOut(skeleton / listed if listed else skeleton, lambda items: _real(items, skeleton, base, known))
        except UserError as error:
            raise type(error)(str(error).replace(str(skeleton), base.uri.partition("?")[0].rstrip("/"))) from None


def _listing(place: Location) -> tuple[Location, list[StoredFile], str]:
    """The folder that is laid out, its files, and the name of the source within it.

    Of a single file only what shares its name, up to the first dot, is of interest; a table may name anything below
    its folder.
    """
    found = place.stat()
    if found is None:
        files = place.files()
        if not files:
            raise DatasetError(f"{place}: there is no such file or folder to prepare")
        return place, files, ""
    base = _parent(place)
    if PurePosixPath(found.name).suffix.lower() in table.SUFFIXES:
        return base, base.files(), found.name
    stem = found.name.partition(".")[0]
    beside = [name for name in base.names() if name.partition(".")[0] == stem]
    stats = [(base / name).stat() for name in beside]
    return base, [stat for stat in stats if stat is not None], found.name


def _parent(place: Location) -> Location:
    uri, question, query = place.uri.partition("?")
    return replace(place, path=str(PurePosixPath(place.path).parent), uri=uri.rpartition("/")[0] + question + query)


def _lay_out(base: Location, files: list[StoredFile], skeleton: Path) -> None:
    """Write the skeleton; times are the store's."""

    def lay(file: StoredFile) -> None:
        target = skeleton / file.name
        if not target.resolve().is_relative_to(skeleton.resolve()):
            raise DatasetError(f"{base / file.name}: such a name leaves the folder that it is listed in; rename it")
        target.parent.mkdir(parents=True, exist_ok=True)
        if _is_read(file):
            (base / file.name).download(target)
        else:
            with target.open("wb") as empty:
                empty.truncate(file.bytes)
        os.utime(target, ns=(0, _modified_ns(file)))

    skeleton.mkdir()
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        for _ in pool.map(lay, files):
            pass


def _is_read(file: StoredFile) -> bool:
    suffix = PurePosixPath(file.name).suffix.lower()
    return suffix in _CONTAINERS or (suffix not in _NOT_READ and file.bytes <= _LARGEST_LIST_BYTES)


def _real(items: list[SourceItem], skeleton: Path, base: Location, known: dict[str, StoredFile]) -> list[SourceItem]:
    start = f"{skeleton}{os.sep}"
    found = []
    for item in items:
        if item.path.startswith(start):
            file = known.get(item.path)
            stamp = None if file is None else _stamp(file)
            item = replace(item, path=(base / item.path[len(start) :]).uri, stamp=stamp)
        found.append(item)
    return _stamped(found)


def _stamped(items: list[SourceItem]) -> list[SourceItem]:
    """Items whose list names URIs, with size and time of those files, so that a changed file is ingested anew."""
    asked = list(
        dict.fromkeys(item.path for item in items if is_uri(item.path) and item.stamp is None and item.problem is None)
    )
    if not asked:
        return items
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        stamps = dict(zip(asked, pool.map(lambda uri: file_at(uri).stat(), asked), strict=True))
    return [_with_stamp(item, stamps[item.path]) if item.path in stamps else item for item in items]


def _with_stamp(item: SourceItem, file: StoredFile | None) -> SourceItem:
    if file is None:
        return replace(item, problem=f"{RejectReason.MISSING}: {NOT_IN_STORE}")
    return replace(item, stamp=_stamp(file))


def _stamp(file: StoredFile) -> tuple[int, int]:
    return file.bytes, _modified_ns(file)


def _modified_ns(file: StoredFile) -> int:
    return round(file.modified_s * 1e9)
