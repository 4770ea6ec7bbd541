"""The parts of LibriSpeech and Libri-light: where they lie once unpacked, and how much the papers say is in them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class PublishedPart:
    """A part of a published corpus.

    Attributes:
        name: Of the dataset that is made of it; the published job specs use it.
        folder: How its folder's path ends, in the archive as published.
        hours: Of audio.
        utterances: Audio files; None where nobody says.
        speakers: None where nobody says.
        archive: What to download for it.
    """

    name: str
    folder: tuple[str, ...]
    hours: float
    utterances: int | None
    speakers: int | None
    archive: str


def _librispeech(folder: str, hours: float, utterances: int, speakers: int) -> PublishedPart:
    name = "librispeech_" + folder.replace("-", "_")
    return PublishedPart(name, (folder,), hours, utterances, speakers, f"openslr.org/12: {folder}.tar.gz")


def _labelled(name: str, *folder: str, hours: float, speakers: int) -> PublishedPart:
    archive = "Libri-light: librispeech_finetuning.tgz"
    return PublishedPart(f"librilight_{name}", ("librispeech_finetuning", *folder), hours, None, speakers, archive)


PUBLISHED_PARTS = (
    _librispeech("train-clean-100", 100.6, 28_539, 251),
    _librispeech("train-clean-360", 363.6, 104_014, 921),
    _librispeech("train-other-500", 496.7, 148_688, 1_166),
    _librispeech("dev-clean", 5.4, 2_703, 40),
    _librispeech("dev-other", 5.3, 2_864, 33),
    _librispeech("test-clean", 5.4, 2_620, 40),
    _librispeech("test-other", 5.1, 2_939, 33),
    _labelled("10min", "1h", "0", hours=1 / 6, speakers=4),
    _labelled("1h", "1h", hours=1.0, speakers=24),
    _labelled("9h", "9h", hours=9.0, speakers=24),
    PublishedPart("librilight_small", ("small",), 577.2, None, 489, "Libri-light: small.tar"),
    PublishedPart("librilight_medium", ("medium",), 5_193.5, None, None, "Libri-light: medium.tar"),
    PublishedPart("librilight_large", ("large",), 51_935.7, None, None, "Libri-light: large.tar"),
)
"""Hours and speakers: Panayotov et al. 2015, table 1; Kahn et al. 2020 (arXiv 1912.07875), table 1, whose 6 000 and
60 000 hours hold the smaller sets, while the archives do not. Utterances of LibriSpeech are files of its archives."""

LIBRI_LIGHT_AUDIO = frozenset({"librilight_small", "librilight_medium", "librilight_large"})
"""Those without transcripts, whose recordings are chapters."""
