"""Features and codes of audio of any length: windows are joined as in transcription."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from w2v2_ray.data.listening.inputs import Source
from w2v2_ray.data.listening.pieces import Cutting, Failure, hear, joined
from w2v2_ray.extraction.extractor import Extractor, LayerFrames
from w2v2_ray.extraction.layers import Layer

USUAL = Cutting()


@dataclass(frozen=True)
class Features:
    """Hidden states of one source.

    Attributes:
        name: Of the source.
        duration_s: Its length.
        frame_s: Seconds from one frame to the next, at the full rate.
        layers: Frames by layer [T, D]; where they were pooled, their mean [D].
        note: Why they are not to be trusted, where the audio is silent or saturated.
    """

    name: str
    duration_s: float
    frame_s: float
    layers: LayerFrames
    note: str | None = None

    def mean_of_layers(self, weights: Sequence[float] | None = None) -> NDArray[np.float32]:
        """Weigh the layers into one, as a weighted sum of layers is used downstream (SUPERB, Yang et al. 2021).

        Args:
            weights: One for each layer, in their order; None takes their plain mean.

        Shape: [T, D] or [D], as the layers are.

        Raises:
            ValueError: When there are not as many weights, or the layers are of several shapes.
        """
        states = list(self.layers.values())
        weights = [1.0] * len(states) if weights is None else list(weights)
        if len(weights) != len(states) or not sum(weights):
            raise ValueError(f"{len(weights)} weights that sum to {sum(weights):g} for {len(states)} layers")
        if len({state.shape for state in states}) > 1:
            raise ValueError("the layers are of several shapes; leave the feature encoder out and take the full rate")
        mean: NDArray[np.float32] = np.average(np.stack(states), axis=0, weights=weights).astype(np.float32)
        return mean


@dataclass(frozen=True)
class Codes:
    """Quantizer codes of one source: pseudo-phonemes.

    Attributes:
        name: Of the source.
        duration_s: Its length.
        frame_s: Seconds from one frame to the next.
        entries: Entry of each codebook [T, G].
        num_entries: V, entries of a codebook.
        note: Why they are not to be trusted, where the audio is silent or saturated.
    """

    name: str
    duration_s: float
    frame_s: float
    entries: NDArray[np.int32]
    num_entries: int
    note: str | None = None

    @property
    def ids(self) -> NDArray[np.int64]:
        """One number for each combination of entries [T]."""
        ids = np.zeros(len(self.entries), dtype=np.int64)
        for group in self.entries.T:
            ids = ids * self.num_entries + group
        return ids

    def runs(self) -> list[tuple[int, float, float]]:
        """Equal neighbours as one: (id, start, end), in seconds."""
        return runs_of(self.ids, self.frame_s)


def runs_of(ids: NDArray[np.int64], frame_s: float) -> list[tuple[int, float, float]]:
    """Merge equal neighbours: (id, start, end), in seconds.

    Shape: ids [T].
    """
    starts = [frame for frame in range(len(ids)) if frame == 0 or ids[frame] != ids[frame - 1]]
    ends = [*starts[1:], len(ids)]
    pairs = zip(starts, ends, strict=True) if len(ids) else ()
    return [(int(ids[start]), start * frame_s, end * frame_s) for start, end in pairs]


def extract_features(
    sources: Iterable[Source],
    extractor: Extractor,
    layers: Sequence[Layer] | None = (-1,),
    *,
    shortened: bool = False,
    pooled: bool = False,
    cutting: Cutting = USUAL,
) -> Iterator[Features | Failure]:
    """Give the hidden states of sources, in their order; see `hear` for what is held in memory.

    Args:
        sources: What to hear.
        extractor: The model.
        layers: Which; None gives all.
        shortened: Give an Hourglass's middle layers at their own rate.
        pooled: Give the mean over frames instead of the frames.
        cutting: How long sources are cut. Audio no longer than a window is heard as a whole.

    Raises:
        SpecError: When the model has no such layer.
    """
    compute = partial(extractor.features, layers=layers, shortened=shortened)
    extractor.features([], layers)  # a layer that is none is said before anything is heard
    for heard in hear(sources, compute, extractor, replace(cutting, grid=extractor.grid)):
        if isinstance(heard, Failure):
            yield heard
            continue
        frames = {
            layer: joined(
                [(window, found[layer]) for window, found in heard.pieces], extractor.factor(layer) if shortened else 1
            )
            for layer in heard.pieces[0][1]
        }
        if pooled:
            frames = {layer: state.mean(0) if len(state) else state.sum(0) for layer, state in frames.items()}
        yield Features(heard.name, heard.duration_s, extractor.frame_s, frames, heard.hearing.note)


def extract_codes(
    sources: Iterable[Source], extractor: Extractor, *, cutting: Cutting = USUAL
) -> Iterator[Codes | Failure]:
    """Give the quantizer codes of sources, in their order.

    Args:
        sources: What to hear.
        extractor: A pre-trained model.
        cutting: How long sources are cut.

    Raises:
        CheckpointError: When the model has no quantizer.
    """
    extractor.codes([])
    for heard in hear(sources, extractor.codes, extractor, replace(cutting, grid=extractor.grid)):
        if isinstance(heard, Failure):
            yield heard
            continue
        num_entries = extractor.spec.quantizer.entries
        yield Codes(
            heard.name, heard.duration_s, extractor.frame_s, joined(heard.pieces), num_entries, heard.hearing.note
        )


@dataclass(frozen=True)
class Logits:
    """Outputs of a recogniser for one source.

    Attributes:
        name: Of the source.
        duration_s: Its length.
        frame_s: Seconds from one frame to the next.
        log_probs: Natural logarithms [T, vocabulary].
        note: Why they are not to be trusted, where the audio is silent or saturated.
    """

    name: str
    duration_s: float
    frame_s: float
    log_probs: NDArray[np.float32]
    note: str | None = None


def extract_logits(
    sources: Iterable[Source], extractor: Extractor, *, cutting: Cutting = USUAL
) -> Iterator[Logits | Failure]:
    """Give a recogniser's log-probabilities for sources, in their order, joined as for transcription.

    Args:
        sources: What to hear.
        extractor: A recogniser.
        cutting: How long sources are cut.

    Raises:
        CheckpointError: When the model is no recogniser.
    """
    extractor.log_probs([])
    for heard in hear(sources, extractor.log_probs, extractor, cutting):
        if isinstance(heard, Failure):
            yield heard
            continue
        yield Logits(heard.name, heard.duration_s, extractor.frame_s, joined(heard.pieces), heard.hearing.note)
