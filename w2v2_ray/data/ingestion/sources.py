"""What `prepare` reads: corpora in the forms of other tools, tables, archives, folders of audio, single files.

Every source lists its utterances in an order that depends only on names, and gives each an id of its own. The readers
are in `corpora/`; this module tells them apart.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, get_args

from w2v2_ray.audio.suffixes import AUDIO_SUFFIXES, CONVERTIBLE_SUFFIXES, conversion_hint
from w2v2_ray.data.corpora import arrow_table, json_manifest, lhotse, sphinx, table, webdataset
from w2v2_ray.data.corpora.files import ARCHIVE_SUFFIXES, is_audio_name, no_audio
from w2v2_ray.data.corpora.folder import find_tables, read_file, read_folder
from w2v2_ray.data.corpora.item import SourceItem, item_of
from w2v2_ray.data.corpora.kaldi import is_kaldi, read_kaldi
from w2v2_ray.data.corpora.keys import USUAL_KEYS, ChosenKeys
from w2v2_ray.data.corpora.librispeech import is_librispeech, read_librispeech
from w2v2_ray.data.corpora.notes import ListingNotes, Passed
from w2v2_ray.data.corpora.text_lines import numbered_lines as _lines
from w2v2_ray.data.piece_settings import PieceSettings
from w2v2_ray.data.segmentation.recordings import SegmentReport
from w2v2_ray.errors import DatasetError

SourceFormat = Literal[
    "librispeech", "manifest", "jsonl", "table", "folder", "kaldi", "sphinx", "lhotse", "tar", "arrow"
]
"""`librispeech`: a tree with `*.trans.txt`; `manifest`: `.tsv` of fairseq, with the `.ltr` or `.wrd` beside it;
`jsonl`: NeMo and other JSON; `table`: Common Voice, Hugging Face, LJSpeech and other columns; `folder`: audio at any
depth (or one file), with a `.txt` transcript beside each file or not; `kaldi`: a folder with `wav.scp`; `sphinx`: a
folder with `etc/*.fileids`; `lhotse`: cuts, or recordings with supervisions; `tar`: WebDataset's and NeMo's archives;
`arrow`: Hugging Face datasets, as Parquet or as `save_to_disk` writes them."""

_MOST_DIGITS = 15
"""Of a number of samples; Python itself refuses thousands of them."""
FORMATS: tuple[SourceFormat, ...] = get_args(SourceFormat)


@dataclass(frozen=True)
class SourceListing:
    """The utterances of a source and how they were found.

    Args:
        items: In an order that depends on names only, with unique ids.
        source_format: How the source was read.
        description: The same in words.
        notes: What was read from where, and what was passed over.
        renamed: Utterances whose id had occurred before.
        contradictions: Parts of audio that are listed with different texts, each in words.
        segmented: How recordings were cut, where they were: `items` are the pieces then.
    """

    items: list[SourceItem]
    source_format: SourceFormat
    description: str
    notes: ListingNotes
    renamed: int = 0
    contradictions: tuple[str, ...] = ()
    segmented: SegmentReport | None = None


def guess_format(source: Path, chosen: ChosenKeys = USUAL_KEYS) -> SourceFormat:
    """Tell the format of a source by its suffix, its first lines or its files.

    Raises:
        DatasetError: It does not exist or is of no known format.
    """
    if source.is_dir():
        return _format_of_folder(source)
    if not source.exists():
        raise DatasetError(f"{source}: there is no such file or folder to prepare")
    suffix = source.suffix.lower()
    if lhotse.kind_of(source) in ("cuts", "recordings"):
        return "lhotse"
    if suffix == webdataset.SUFFIX:
        return "tar"
    if suffix == ".parquet":
        return "arrow"
    if suffix in json_manifest.SUFFIXES:
        return "jsonl"
    if is_audio_name(source.name):
        return "folder"
    if suffix in table.SUFFIXES and table.shape_of(source, chosen) is not None:
        return "table"
    if suffix == ".tsv":
        return "manifest"
    raise _unknown(source, suffix)


def _format_of_folder(source: Path) -> SourceFormat:
    """By the files that only one form has."""
    if is_kaldi(source):
        return "kaldi"
    if sphinx.find_lists(source):
        return "sphinx"
    if (source / "dataset_dict.json").is_file() or arrow_table.find_parts(source):
        return "arrow"
    if lhotse.find_manifests(source) is not None:
        return "lhotse"
    if webdataset.find_archives(source) and not any(is_audio_name(path.name) for path in source.iterdir()):
        return "tar"
    return "librispeech" if is_librispeech(source) else "folder"


def list_items(source: Path, source_format: SourceFormat) -> list[SourceItem]:
    """List the utterances of a source, with unique ids; see `read_source`."""
    return read_source(source, source_format).items


def read_source(
    source: Path,
    source_format: SourceFormat | None = None,
    chosen: ChosenKeys = USUAL_KEYS,
    pieces: PieceSettings | None = None,
) -> SourceListing:
    """List the utterances of a source, with unique ids, and note what else it holds.

    An id that occurs again gets `~2`, `~3`, ... appended. A part of a file that is listed twice with different
    transcripts is rejected: one of them is wrong.

    Args:
        source: File or folder.
        source_format: None to guess it; a folder's tables are read then, too.
        chosen: Keys that the user names.
        pieces: How recordings are cut, where they are: transcripts with times are joined to pieces then.

    Raises:
        DatasetError: The source does not exist, is malformed (the message gives file and line), or holds no audio.
    """
    if not source.exists():
        raise DatasetError(f"{source}: there is no such file or folder to prepare")
    known = source_format or guess_format(source, chosen)
    needs_folder = known in ("librispeech", "folder", "kaldi", "sphinx")
    either = known in ("tar", "arrow", "lhotse") or (known == "folder" and is_audio_name(source.name))
    if needs_folder != source.is_dir() and not either:
        wanted, found = ("a folder", "a file") if needs_folder else ("a file", "a folder")
        raise DatasetError(f"{source}: --format {known} reads {wanted}, but this is {found}")
    notes = ListingNotes()
    description, items = _read(source.absolute(), known, chosen, notes, pieces, guessed=source_format is None)
    named = list(items)
    listed = _with_unique_ids(named)
    if not listed:
        raise (
            no_audio(source, notes)
            if source.is_dir()
            else DatasetError(f"{source}: no audio found with --format {known}: it lists none")
        )
    renamed = sum(new.id != old.id for new, old in zip(listed, named, strict=True))
    return SourceListing(listed, known, description, notes, renamed, _contradictions(named))


def _read(
    source: Path,
    source_format: SourceFormat,
    chosen: ChosenKeys,
    notes: ListingNotes,
    pieces: PieceSettings | None,
    *,
    guessed: bool,
) -> tuple[str, Iterator[SourceItem]]:
    if source_format == "librispeech":
        return "LibriSpeech tree", read_librispeech(source, notes)
    if source_format in _READERS:
        described, read = _READERS[source_format]
        return described, read(source, notes, chosen)
    if source_format == "manifest":
        return "fairseq manifest", _manifest(source, notes)
    if source_format == "jsonl":
        return "JSON manifest", json_manifest.read_json_manifest(source, notes, chosen)
    if source_format == "table":
        shape = table.shape_of(source, chosen)
        if shape is None:
            raise _unknown(source, source.suffix.lower())
        return str(shape), table.read_table(source, shape, notes, chosen)
    if not source.is_dir():
        return "audio file", read_file(source, notes, pieces)
    tables = find_tables(source, chosen) if guessed else []
    names = ", ".join(found.path.relative_to(source).as_posix() for found in tables)
    return f"folder of audio{f' with {names}' if names else ''}", read_folder(source, notes, tables, pieces)


def _kaldi(source: Path, notes: ListingNotes, chosen: ChosenKeys) -> Iterator[SourceItem]:
    if not is_kaldi(source):
        raise DatasetError(f"{source}: has no wav.scp, so it is no data folder of Kaldi's")
    return read_kaldi(source, notes)


def _sphinx(source: Path, notes: ListingNotes, chosen: ChosenKeys) -> Iterator[SourceItem]:
    if not sphinx.find_lists(source):
        raise DatasetError(f"{source}: has no etc/*.fileids with a .transcription beside it, as CMU Sphinx keeps them")
    return sphinx.read_sphinx(source, notes)


def _lhotse(source: Path, notes: ListingNotes, chosen: ChosenKeys) -> Iterator[SourceItem]:
    if source.is_dir():
        found = lhotse.find_manifests(source)
        if found is None:
            raise DatasetError(
                f"{source}: holds no recordings of lhotse's (*recordings*.jsonl.gz); give a file of cuts"
            )
        return lhotse.read_recordings(*found, notes)
    kind = lhotse.kind_of(source)
    if kind == "cuts":
        return lhotse.read_cuts(source, notes)
    if kind == "recordings":
        return lhotse.read_recordings(source, lhotse.supervisions_beside(source), notes)
    raise DatasetError(f"{source}: holds neither cuts nor recordings of lhotse's; supervisions are read with those")


def _archives(source: Path, notes: ListingNotes, chosen: ChosenKeys) -> Iterator[SourceItem]:
    if not webdataset.find_archives(source):
        raise DatasetError(f"{source}: holds no .tar archive; unpack compressed ones: tar -xf")
    return webdataset.read_archives(source, notes, chosen)


def _arrow(source: Path, notes: ListingNotes, chosen: ChosenKeys) -> Iterator[SourceItem]:
    if not arrow_table.find_parts(source):
        raise DatasetError(f"{source}: holds no .parquet file and no dataset that `save_to_disk` wrote")
    return arrow_table.read_parts(source, notes, chosen)


_READERS: dict[str, tuple[str, Callable[[Path, ListingNotes, ChosenKeys], Iterator[SourceItem]]]] = {
    "kaldi": ("Kaldi data folder", _kaldi),
    "sphinx": ("CMU Sphinx training folder", _sphinx),
    "lhotse": ("lhotse manifest", _lhotse),
    "tar": ("tar archives of audio", _archives),
    "arrow": ("Hugging Face dataset", _arrow),
}


def _unknown(source: Path, suffix: str) -> DatasetError:
    """The error for a file that cannot be read as a source; it says what it seems to be."""
    start = f"{source}: cannot guess the format of a {suffix or 'nameless'} file; "
    if suffix in ARCHIVE_SUFFIXES:
        return DatasetError(
            f"{start}it is an archive: unpack it ({ARCHIVE_SUFFIXES[suffix]} {source.name}) and give the folder"
        )
    if suffix in CONVERTIBLE_SUFFIXES:
        return DatasetError(f"{start}libsndfile cannot decode it{conversion_hint(source)}")
    if suffix in table.SUFFIXES:
        next(_lines(source), None)  # refuses what is not UTF-8
        return DatasetError(
            f"{start}its first line names no column of audio (such as path, file_name, audio_filepath) and its lines "
            "do not begin with audio files: name the columns (--audio-key, --text-key), "
            f"or say --format {'|'.join(FORMATS)}"
        )
    if suffix in (".arrow", ".h5", ".hdf5", ".tfrecord"):
        return DatasetError(f"{start}write its audio to files, and their texts to a metadata.csv beside them")
    return DatasetError(
        f"{start}give a folder, an audio file ({', '.join(AUDIO_SUFFIXES[:4])}, ...), a .tsv, .csv or .jsonl, "
        f"or say --format {'|'.join(FORMATS)}"
    )


def _manifest(path: Path, notes: ListingNotes) -> Iterator[SourceItem]:
    """Utterances of a fairseq `.tsv`: a line with the root folder, then `path<TAB>frames` each.

    A relative root counts from the manifest. The `.ltr` file beside it, where there is one, holds the transcripts as
    letters with `|` between words; else the `.wrd` file, as words.
    """
    lines = list(_lines(path, keep_blank=True))
    while lines and not lines[-1][1]:
        lines.pop()
    if not lines or "\t" in lines[0][1]:
        raise DatasetError(
            f"{path}:1: the first line must be the folder of the audio files; in a table with a header it must name a "
            "column of audio, such as path (--audio-key NAME says which it is)"
        )
    root = path.parent / lines[0][1]
    if not root.is_dir():
        raise DatasetError(f"{path}:1: there is no folder {root}; correct the first line (relative to the manifest)")
    transcripts = _transcripts_beside(path, len(lines) - 1, notes)
    for (number, line), transcript in zip(lines[1:], transcripts, strict=True):
        name, tab, frames = line.partition("\t")
        if not tab or not name or not _is_count(frames.strip()):
            raise DatasetError(f"{path}:{number}: a line must be `path<TAB>number of samples`, this is {line!r}")
        item = item_of(root / name, Path(name))
        yield replace(item, transcript=transcript, frames=int(frames))


def _transcripts_beside(path: Path, count: int, notes: ListingNotes) -> list[str | None]:
    """Transcripts of a fairseq manifest, from the `.ltr` or the `.wrd` beside it."""
    beside = {suffix: path.with_suffix(suffix) for suffix in (".ltr", ".wrd", ".phn", ".km", ".txt")}
    there = [suffix for suffix, file in beside.items() if file.exists()]
    chosen = next((suffix for suffix in (".ltr", ".wrd") if suffix in there), None)
    if chosen is None:
        transcripts: list[str | None] = [None] * count
    elif chosen == ".ltr":
        transcripts = _letters(beside[".ltr"], count)
    else:
        transcripts = _words(beside[".wrd"], count)
    for suffix in there:
        if suffix != chosen:
            notes.passed_over(Passed.OTHER_TEXTS if chosen else Passed.TEXTS_OF_MANIFEST, beside[suffix].name)
    for transcript in transcripts:
        if transcript is not None:
            notes.read(f"transcripts from {beside[chosen or '.ltr'].name}")
        if transcript == "":
            notes.passed_over(Passed.EMPTY_TEXTS, beside[chosen or ".ltr"].name)
    return transcripts


def _words(path: Path, count: int) -> list[str | None]:
    lines = [line for _, line in _lines(path, keep_blank=True)]
    if len(lines) != count:
        raise DatasetError(f"{path}: has {len(lines)} transcripts for the {count} files of the .tsv beside it")
    return [" ".join(line.split()) for line in lines]


def _letters(path: Path, count: int) -> list[str | None]:
    if not path.exists():
        return [None] * count
    lines = [line for _, line in _lines(path, keep_blank=True)]
    if len(lines) != count:
        raise DatasetError(f"{path}: has {len(lines)} transcripts for the {count} files of the .tsv beside it")
    tokens = [line.split() for line in lines]
    if any(_is_unit(token) for line in tokens for token in line):
        # Phones or words: what stands apart stays apart.
        return [" ".join(token for token in line if token != "|") for line in tokens]
    return [" ".join("".join(line).replace("|", " ").split()) for line in tokens]


def _is_unit(token: str) -> bool:
    """Whether a token is more than a letter, so that its file is none of letters."""
    if token.startswith("<") and token.endswith(">"):
        return False
    composed = unicodedata.normalize("NFC", token)
    return sum(not unicodedata.combining(character) for character in composed) > 1 and "|" not in token


def _is_count(text: str) -> bool:
    return text.isdecimal() and len(text) <= _MOST_DIGITS


def _contradictions(items: Iterable[SourceItem]) -> tuple[str, ...]:
    """Parts of audio with several texts. All are kept, since each may be right: nobody but the user can tell."""
    texts: dict[tuple[str, float | None, float | None], dict[str, None]] = {}
    names: dict[tuple[str, float | None, float | None], str] = {}
    for item in items:
        part = (item.path, item.offset_s, item.duration_s)
        names.setdefault(part, item.source)
        if item.transcript is not None:
            texts.setdefault(part, {})[" ".join(item.transcript.split())] = None
    return tuple(
        f"{names[part]} has {len(known)} different texts: " + ", ".join(repr(text[:40]) for text in [*known][:3])
        for part, known in texts.items()
        if len(known) > 1
    )


def _with_unique_ids(items: Iterable[SourceItem]) -> list[SourceItem]:
    seen: set[str] = set()
    unique = []
    for item in items:
        utterance_id, copies = item.id, 1
        while utterance_id in seen:
            copies += 1
            utterance_id = f"{item.id}~{copies}"
        seen.add(utterance_id)
        unique.append(item if utterance_id == item.id else replace(item, id=utterance_id))
    return unique
