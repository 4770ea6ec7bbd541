"""What a user names to be transcribed: files, folders, datasets."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from w2v2_ray.data.corpora.files import list_audio
from w2v2_ray.data.corpora.notes import ListingNotes
from w2v2_ray.data.dataset import SpeechDataset
from w2v2_ray.data.schema import MANIFEST_NAME
from w2v2_ray.data.speech_file import open_speech
from w2v2_ray.errors import DatasetError
from w2v2_ray.recognition.transcription import Source


@dataclass(frozen=True)
class Inputs:
    """What is to be transcribed.

    Args:
        sources: Files as they are named, folders and datasets in the order of names.
        notes: What folders hold that is not heard.
    """

    sources: list[Source]
    notes: list[str]


def find_sources(inputs: Sequence[Path]) -> Inputs:
    """List what is to be transcribed; folders are listed as `prepare` lists them.

    Raises:
        DatasetError: When an input does not exist, or a folder holds no audio.
    """
    sources: list[Source] = []
    notes: list[str] = []
    for path in inputs:
        if path.is_dir() and not (path / MANIFEST_NAME).is_file():
            passed = ListingNotes()
            sources += (Source(str(file), partial(open_speech, file)) for file in list_audio(path, passed))
            notes += (f"{path}: passed over {line}" for line in passed.passed_lines())
        else:
            sources += _of(path)
    return Inputs(sources, notes)


def _of(path: Path) -> Iterator[Source]:
    """A file, or the utterances of a dataset."""
    if not path.exists():
        raise DatasetError(f"{path}: there is no such file or folder to transcribe")
    if path.is_file():
        yield Source(str(path), partial(open_speech, path))
        return
    dataset = SpeechDataset.open(path)
    for index in range(len(dataset)):
        yield Source(dataset.utterance_id(index), partial(_utterance, dataset, index))


class _Utterance:
    """An utterance of a dataset."""

    def __init__(self, dataset: SpeechDataset, index: int) -> None:
        self._dataset = dataset
        self._index = index
        self.num_samples = int(dataset.num_samples[index])

    def read(self, start: int, count: int) -> NDArray[np.int16]:
        """Samples `start` to `start + count`."""
        return self._dataset.crop(self._index, start, count)


@contextmanager
def _utterance(dataset: SpeechDataset, index: int) -> Iterator[_Utterance]:
    yield _Utterance(dataset, index)
