"""A dataset of ours back to audio files and the lists of other tools, so that nobody is locked in."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args
from urllib.parse import quote

import soundfile

from w2v2_ray.audio.samples import SAMPLE_RATE
from w2v2_ray.data.dataset import SpeechDataset, Utterance
from w2v2_ray.errors import StorageError, UserError
from w2v2_ray.places.new_files import new_folder

ListForm = Literal["nemo", "huggingface", "lhotse", "kaldi"]
"""`nemo`: manifest.jsonl; `huggingface`: metadata.jsonl, as `load_dataset("audiofolder", ...)` reads it; `lhotse`:
cuts.jsonl.gz; `kaldi`: wav.scp, text and utt2spk."""
FORMS: tuple[ListForm, ...] = get_args(ListForm)
AUDIO_FOLDER = "audio"
_MARK = ".w2v2-ray-unpacked"
_LONGEST_NAME = 200


@dataclass(frozen=True)
class _Row:
    """An utterance and the file that it was written to, relative to the folder."""

    utterance: Utterance
    file: str


def unpack_dataset(
    dataset: SpeechDataset,
    folder: Path,
    forms: Iterable[ListForm] = FORMS,
    progress: Callable[[int], None] | None = None,
) -> int:
    """Write every utterance as FLAC (16 kHz, 16 bits: lossless) below `audio/`, and the lists beside it.

    Args:
        dataset: What to write.
        folder: Where to; it takes its name once all is there. One that was written by this before is replaced.
        forms: Lists to write. A Kaldi folder knows its place: its paths are absolute.
        progress: Told how many more utterances are written.

    Returns:
        Utterances written.

    Raises:
        UserError: Kaldi's form cannot hold an id, since it has blanks.
        StorageError: The folder holds something else, or cannot be written.
    """
    wanted = tuple(forms)
    folder = folder.absolute()
    with new_folder(folder, replaces=(_MARK,)) as temporary, ExitStack() as lists:
        (temporary / _MARK).touch()
        (temporary / AUDIO_FOLDER).mkdir()
        writers = [lists.enter_context(_WRITERS[form](temporary, folder)) for form in wanted]
        taken: set[str] = set()
        for utterance in dataset:
            row = _Row(utterance, _file_name(utterance.id, taken))
            try:
                soundfile.write(temporary / row.file, utterance.samples, SAMPLE_RATE, subtype="PCM_16", format="FLAC")
            except soundfile.SoundFileError as error:
                raise StorageError(f"{folder / row.file}: cannot be written ({error})") from error
            for writer in writers:
                writer.write(row)
            if progress is not None:
                progress(1)
    return len(dataset)


def _file_name(utterance_id: str, taken: set[str]) -> str:
    """A file for an id: folders of an id stay folders in name only, and no two ids share a file."""
    name = quote(utterance_id.replace("/", "__"), safe=" @~+=,()[]'!&-_.")[:_LONGEST_NAME].strip(". ") or "utterance"
    unique, copies = name, 1
    while unique.casefold() in taken:
        copies += 1
        unique = f"{name}~{copies}"
    taken.add(unique.casefold())
    return f"{AUDIO_FOLDER}/{unique}.flac"


class _Lists:
    """Files of one form, open for writing."""

    def __init__(self, folder: Path, final: Path) -> None:
        self._folder = folder
        self._final = final
        self._open = ExitStack()

    def __enter__(self) -> _Lists:
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def write(self, row: _Row) -> None:
        """Add an utterance."""
        raise NotImplementedError

    def _file(self, name: str) -> Any:
        return self._open.enter_context((self._folder / name).open("w", encoding="utf-8", newline=""))


class _Nemo(_Lists):
    def __init__(self, folder: Path, final: Path) -> None:
        super().__init__(folder, final)
        self._manifest = self._file("manifest.jsonl")

    def write(self, row: _Row) -> None:
        entry = {"audio_filepath": row.file, "duration": row.utterance.duration_s, "id": row.utterance.id}
        if row.utterance.transcript is not None:
            entry["text"] = row.utterance.transcript
        if row.utterance.speaker is not None:
            entry["speaker"] = row.utterance.speaker
        self._manifest.write(json.dumps(entry, ensure_ascii=False) + "\n")


class _HuggingFace(_Lists):
    def __init__(self, folder: Path, final: Path) -> None:
        super().__init__(folder, final)
        # Not a table: in one, `datasets` takes the speaker 007 for the number 7 and the word "null" for none.
        self._list = self._file("metadata.jsonl")

    def write(self, row: _Row) -> None:
        said = row.utterance
        entry = {"file_name": row.file, "id": said.id, "transcription": said.transcript, "speaker_id": said.speaker}
        self._list.write(json.dumps(entry, ensure_ascii=False) + "\n")


class _Lhotse(_Lists):
    def __init__(self, folder: Path, final: Path) -> None:
        super().__init__(folder, final)
        path = folder / "cuts.jsonl.gz"
        # Without a time in it, so that the same dataset gives the same bytes.
        raw = self._open.enter_context(path.open("wb"))
        self._cuts = self._open.enter_context(gzip.GzipFile("", "wb", fileobj=raw, mtime=0))

    def write(self, row: _Row) -> None:
        said, duration_s = row.utterance, row.utterance.duration_s
        supervision: dict[str, Any] = {
            "id": said.id, "recording_id": said.id, "start": 0.0, "duration": duration_s, "channel": 0,
        }  # fmt: skip
        if said.transcript is not None:
            supervision["text"] = said.transcript
        if said.speaker is not None:
            supervision["speaker"] = said.speaker
        cut = {
            "id": said.id, "start": 0.0, "duration": duration_s, "channel": 0, "supervisions": [supervision],
            "recording": {
                "id": said.id,
                "sources": [{"type": "file", "channels": [0], "source": str(self._final / row.file)}],
                "sampling_rate": SAMPLE_RATE, "num_samples": len(said.samples), "duration": duration_s,
                "channel_ids": [0],
            },
            "type": "MonoCut",
        }  # fmt: skip
        self._cuts.write((json.dumps(cut, ensure_ascii=False) + "\n").encode())


class _Kaldi(_Lists):
    def __init__(self, folder: Path, final: Path) -> None:
        super().__init__(folder, final)
        self._files = {name: self._file(name) for name in ("wav.scp", "text", "utt2spk")}

    def write(self, row: _Row) -> None:
        said = row.utterance
        if len(said.id.split()) != 1 or len((said.speaker or said.id).split()) != 1:
            raise UserError(
                f"{said.id!r}: Kaldi's lists part their columns by blanks, so neither an id nor a speaker may have "
                f"one; leave them out: --form nemo --form huggingface --form lhotse"
            )
        self._files["wav.scp"].write(f"{said.id} {self._final / row.file}\n")
        words = (said.transcript or "").split()
        if words:  # a line without words is one that lhotse cannot read
            self._files["text"].write(f"{said.id} {' '.join(words)}\n")
        self._files["utt2spk"].write(f"{said.id} {said.speaker or said.id}\n")


_WRITERS: dict[ListForm, type[_Lists]] = {
    "nemo": _Nemo,
    "huggingface": _HuggingFace,
    "lhotse": _Lhotse,
    "kaldi": _Kaldi,
}
