"""What a user names to be heard: files, folders, datasets."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from w2v2_ray.audio.speech_file import open_speech
from w2v2_ray.data.corpora.files import list_audio
from w2v2_ray.data.corpora.notes import ListingNotes
from w2v2_ray.data.dataset import SpeechDataset, Utterances
from w2v2_ray.data.schema import MANIFEST_NAME
from w2v2_ray.errors import DatasetError


class Audio(Protocol):
    """What is heard: 16 kHz mono int16, read piece by piece."""

    num_samples: int

    def read(self, start: int, count: int) -> NDArray[np.int16]:
        """Samples `start` to `start + count`."""
        ...


@dataclass(frozen=True)
class Source:
    """Something to hear.

    Attributes:
        name: For the output.
        open: Gives its audio.
    """

    name: str
    open: Callable[[], AbstractContextManager[Audio]]


@dataclass(frozen=True)
class Inputs:
    """What is to be heard.

    Args:
        sources: Files as they are named, folders and datasets in the order of names.
        notes: What folders hold that is not heard.
    """

    sources: list[Source]
    notes: list[str]


def find_sources(inputs: Sequence[Path]) -> Inputs:
    """List what is to be heard; folders are listed as `prepare` lists them, a .txt file is a list of inputs.

    Raises:
        DatasetError: When an input does not exist, or a folder holds no audio.
    """
    sources: list[Source] = []
    notes: list[str] = []
    for path in _listed(inputs):
        if path.is_dir() and not (path / MANIFEST_NAME).is_file():
            passed = ListingNotes()
            sources += (Source(str(file), partial(open_speech, file)) for file in list_audio(path, passed))
            notes += (f"{path}: passed over {line}" for line in passed.passed_lines())
        else:
            sources += _of(path)
    return Inputs(sources, notes)


def _listed(inputs: Sequence[Path]) -> Iterator[Path]:
    """The inputs, with those that a list names in its place: a .txt file with a path a line, relative to it."""
    for path in inputs:
        if path.suffix != ".txt" or not path.is_file():
            yield path
            continue
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except UnicodeDecodeError as error:
            raise DatasetError(f"{path}: not a list of paths, one a line, in UTF-8 ({error})") from error
        for number, line in enumerate(lines, 1):
            if line.strip():
                named = path.parent / line.strip()
                if not named.exists():
                    raise DatasetError(f"{path}:{number}: {named}: there is no such file or folder")
                yield named


def _of(path: Path) -> Iterator[Source]:
    """A file, or the utterances of a dataset."""
    if not path.exists():
        raise DatasetError(f"{path}: there is no such file or folder")
    if path.is_file():
        yield Source(str(path), partial(open_speech, path))
        return
    dataset = SpeechDataset.open(path)
    for index in range(len(dataset)):
        yield utterance_source(dataset, index)


def utterance_source(data: Utterances, index: int) -> Source:
    """An utterance of a dataset as something to hear."""
    return Source(data.utterance_id(index), partial(_utterance, data, index))


def array_source(name: str, samples: NDArray[np.int16]) -> Source:
    """Samples in memory as something to hear.

    Shape: samples [S], 16 kHz mono.
    """
    return Source(name, partial(_array, samples))


class _Utterance:
    """An utterance of a dataset."""

    def __init__(self, data: Utterances, index: int) -> None:
        self._data = data
        self._index = index
        self.num_samples = int(data.num_samples[index])

    def read(self, start: int, count: int) -> NDArray[np.int16]:
        """Samples `start` to `start + count`."""
        return self._data.crop(self._index, start, count)


@contextmanager
def _utterance(data: Utterances, index: int) -> Iterator[_Utterance]:
    yield _Utterance(data, index)


class _Array:
    """Samples in memory."""

    def __init__(self, samples: NDArray[np.int16]) -> None:
        self._samples = samples
        self.num_samples = len(samples)

    def read(self, start: int, count: int) -> NDArray[np.int16]:
        """Samples `start` to `start + count`."""
        return self._samples[start : start + count]


@contextmanager
def _array(samples: NDArray[np.int16]) -> Iterator[_Array]:
    yield _Array(samples)
