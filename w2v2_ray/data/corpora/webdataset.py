"""Tar archives of audio: WebDataset's shards, NeMo's tarred datasets, and a corpus that was packed as it is.

https://github.com/webdataset/webdataset: files of one name up to the first dot are one sample (`a.flac`, `a.txt`,
`a.json`). NeMo's archives have texts in a manifest beside them, of which a line names the member
(https://docs.nvidia.com/nemo-framework/user-guide/latest/nemotoolkit/asr/datasets.html). Lhotse's Shar has them in the
cuts beside each archive.
"""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any

from w2v2_ray.data.corpora.files import TRANSCRIPT_SUFFIXES, is_audio_name
from w2v2_ray.data.corpora.item import SourceItem, speaker_of, valid_text, writable
from w2v2_ray.data.corpora.json_manifest import entries_of
from w2v2_ray.data.corpora.keys import ChosenKeys
from w2v2_ray.data.corpora.lhotse import with_supervisions
from w2v2_ray.data.corpora.notes import ListingNotes, Passed
from w2v2_ray.data.corpora.rows import with_fields
from w2v2_ray.data.corpora.shar import cuts_beside, supervisions_of
from w2v2_ray.data.members import Member
from w2v2_ray.errors import DatasetError

SUFFIX = ".tar"
_LARGEST_TEXT_BYTES = 1 << 20
_MANIFESTS = ("tarred_audio_manifest.json", "manifest.json", "tarred_audio_manifest.jsonl", "manifest.jsonl")


@dataclass
class _Sample:
    """The files of one name."""

    audio: list[tarfile.TarInfo] = field(default_factory=list)
    texts: dict[str, str] = field(default_factory=dict)
    fields: Mapping[str, Any] = field(default_factory=dict)
    problem: str | None = None


def find_archives(source: Path) -> list[Path]:
    """The archives of a source: itself, or those at the top of a folder."""
    if source.is_file():
        return [source] if source.suffix.lower() == SUFFIX else []
    return sorted(path for path in source.iterdir() if path.suffix.lower() == SUFFIX and path.is_file())


def read_archives(source: Path, notes: ListingNotes, chosen: ChosenKeys) -> Iterator[SourceItem]:
    """Utterances of archives, in their order and that of their names.

    Raises:
        DatasetError: An archive is compressed, damaged, or a manifest's line is malformed.
    """
    archives = find_archives(source)
    manifest = _manifest(archives[0].parent, chosen)
    is_shar = any(cuts_beside(path) is not None for path in archives)
    for path in archives:
        if is_shar and cuts_beside(path) is None:
            notes.passed_over(Passed.OTHER_FILES, path.suffix, path.name)  # another field of the same cuts
            continue
        said = supervisions_of(path)
        for name, sample in _samples(path, notes).items():
            if not sample.audio:
                notes.passed_over(Passed.WITHOUT_AUDIO, "of an archive", f"{path.name}/{name}")
                continue
            listed = manifest.pop(PurePosixPath(sample.audio[0].name).name, {})
            for extra in sample.audio[1:]:
                notes.passed_over(Passed.TWINS, PurePosixPath(extra.name).suffix, f"{path.name}/{extra.name}")
            item = _item(path, sample, {**sample.fields, **listed}, notes, chosen)
            cut = str(PurePosixPath(sample.audio[0].name).with_suffix(""))
            yield with_supervisions(item, said.pop(cut), notes) if cut in said else item
        for cut in said:
            problem = f"missing: the cuts name it, and {path.name} does not have it"
            yield SourceItem(valid_text(cut), str(path), valid_text(f"{path.name}/{cut}"), problem=problem)
    for name in manifest:
        problem = "missing: the manifest names it, and no archive has it"
        yield SourceItem(valid_text(name), str(archives[0]), valid_text(name), problem=problem)


def _item(
    path: Path, sample: _Sample, fields: Mapping[str, Any], notes: ListingNotes, chosen: ChosenKeys
) -> SourceItem:
    info = sample.audio[0]
    member = PurePosixPath(info.name)
    item = SourceItem(
        id=valid_text(str(member.with_suffix(""))),
        path=str(path),
        source=valid_text(f"{path.name}/{info.name}"),
        speaker=speaker_of(Path(info.name)),
        problem=sample.problem,
        member=Member("tar", info.name, info.offset_data, info.size),
    )
    item, _ = with_fields(item, fields, notes, chosen)
    suffix = next((suffix for suffix in TRANSCRIPT_SUFFIXES if suffix in sample.texts), None)
    if item.transcript is None and suffix is not None:
        notes.read(f"transcripts from {suffix}")
        item = replace(item, transcript=writable(sample.texts[suffix]))
        if not sample.texts[suffix].strip():
            notes.passed_over(Passed.EMPTY_TEXTS, path.name)
    return item if item.transcript is None else replace(item, transcript=" ".join(item.transcript.split()))


def _samples(path: Path, notes: ListingNotes) -> dict[str, _Sample]:
    samples: dict[str, _Sample] = {}
    try:
        # "r:": no compression, so that a member can be read where it lies.
        with tarfile.open(path, "r:") as archive:
            for info in archive:
                name = PurePosixPath(info.name)
                if info.isdir() or name.name.startswith("."):
                    continue
                if not info.isfile():
                    notes.passed_over(Passed.NOT_FILES, path.name, f"{path.name}/{info.name}")
                    continue
                stem, _, rest = name.name.partition(".")
                if is_audio_name(name.name):
                    stem = name.stem if name.suffix and name.stem.count(".") else stem
                    samples.setdefault(str(name.with_name(stem)), _Sample()).audio.append(info)
                    continue
                _read_text(archive, info, f".{rest}".lower(), samples.setdefault(str(name.with_name(stem)), _Sample()))
    except tarfile.ReadError as error:
        raise DatasetError(
            f"{path}: is no plain tar archive, or a damaged one ({error}); unpack a compressed one first: "
            f"tar -xf {path.name}"
        ) from None
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read ({error.strerror})") from error
    return samples


def _read_text(archive: tarfile.TarFile, info: tarfile.TarInfo, suffix: str, sample: _Sample) -> None:
    """The text or the fields of a sample."""
    if suffix not in (*TRANSCRIPT_SUFFIXES, ".json") or info.size > _LARGEST_TEXT_BYTES:
        return
    file = archive.extractfile(info)
    assert file is not None, "it is a file"
    try:
        text = file.read().decode("utf-8-sig")
        if suffix == ".json":
            fields = json.loads(text)
            sample.fields = fields if isinstance(fields, dict) else {}
        else:
            sample.texts[suffix] = text
    except (UnicodeDecodeError, ValueError, RecursionError):
        sample.problem = f"bad_transcript: {info.name} is not {'JSON' if suffix == '.json' else 'UTF-8 text'}"


def _manifest(folder: Path, chosen: ChosenKeys) -> dict[str, Mapping[str, Any]]:
    """NeMo's lines by the member that they name; empty where no manifest lies beside the archives."""
    path = next((folder / name for name in _MANIFESTS if (folder / name).is_file()), None)
    if path is None:
        return {}
    found: dict[str, Mapping[str, Any]] = {}
    for place, fields in entries_of(path):
        name = fields.get(chosen.audio or "audio_filepath") if isinstance(fields, dict) else None
        if not isinstance(name, str):
            raise DatasetError(f"{place}: must have the string `audio_filepath`, a member of an archive")
        found[PurePosixPath(name).name] = fields
    return found
