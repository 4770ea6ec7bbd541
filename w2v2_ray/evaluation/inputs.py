"""What a user names to be transcribed: files, folders, datasets."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from w2v2_ray.data.dataset import SpeechDataset
from w2v2_ray.data.schema import MANIFEST_NAME
from w2v2_ray.data.sources import AUDIO_SUFFIXES
from w2v2_ray.data.speech_file import open_speech
from w2v2_ray.errors import DatasetError
from w2v2_ray.evaluation.transcription import Source


def find_sources(inputs: Sequence[Path]) -> list[Source]:
    """List what is to be transcribed: files as they are named, folders and datasets in the order of names.

    Raises:
        DatasetError: When an input does not exist, or a folder holds no audio.
    """
    return [source for path in inputs for source in _of(path)]


def _of(path: Path) -> Iterator[Source]:
    if not path.exists():
        raise DatasetError(f"{path}: there is no such file or folder to transcribe")
    if path.is_file():
        yield Source(str(path), partial(open_speech, path))
        return
    if (path / MANIFEST_NAME).is_file():
        dataset = SpeechDataset.open(path)
        for index in range(len(dataset)):
            yield Source(dataset.utterance_id(index), partial(_utterance, dataset, index))
        return
    found = sorted(file for file in path.rglob("*") if file.suffix.lower() in AUDIO_SUFFIXES and file.is_file())
    if not found:
        raise DatasetError(f"{path}: no audio in this folder; files that count end in {', '.join(AUDIO_SUFFIXES)}")
    for file in found:
        yield Source(str(file), partial(open_speech, file))


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
