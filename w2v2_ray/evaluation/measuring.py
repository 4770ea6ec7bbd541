"""Running a recogniser over a dataset: transcripts, and how long they took for every batch size."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from w2v2_ray.data.dataset import Utterances
from w2v2_ray.data.schema import SAMPLE_RATE
from w2v2_ray.errors import DatasetError
from w2v2_ray.evaluation.hypothesis import Decoder
from w2v2_ray.evaluation.recogniser import Recogniser
from w2v2_ray.evaluation.scoring import Scored

PERCENTILES = (90, 95, 99)


@dataclass(frozen=True)
class Latency:
    """How long batches took, from samples in memory to words.

    Attributes:
        batch_size: Utterances of a batch.
        batches: Batches measured, after one to warm up.
        mean_ms: Mean over batches.
        percentiles_ms: By percentile.
        real_time_factor: Seconds of computing for a second of audio.
    """

    batch_size: int
    batches: int
    mean_ms: float
    percentiles_ms: dict[int, float]
    real_time_factor: float

    def as_dict(self) -> dict[str, Any]:
        """For reports."""
        return asdict(self)


@dataclass(frozen=True)
class Judgeable:
    """The utterances of a dataset that can be judged.

    Attributes:
        indices: Dataset indices, longest first, so that batches are filled well.
        references: Their normalised transcripts.
        left_out: Utterances without a transcript that can be spelt.
    """

    indices: tuple[int, ...]
    references: tuple[str, ...]
    left_out: int


def judgeable(data: Utterances, recogniser: Recogniser, limit: int | None = None) -> Judgeable:
    """Choose what to judge.

    Raises:
        DatasetError: When no utterance has a transcript.
    """
    found: list[tuple[int, str]] = []
    looked_at = 0
    for index in range(len(data)):
        if limit is not None and len(found) >= limit:
            break
        looked_at += 1
        transcript = data.transcript(index)
        written = recogniser.tokenizer.normalise(transcript) if transcript else None
        if written:
            found.append((index, written))
    if not found:
        raise DatasetError(
            f"none of the {len(data)} utterances has a transcript that can be spelt with the recogniser's symbols; "
            "evaluate needs transcripts (transcribe does not)"
        )
    found.sort(key=lambda entry: (-int(data.num_samples[entry[0]]), entry[0]))
    return Judgeable(tuple(i for i, _ in found), tuple(text for _, text in found), looked_at - len(found))


def recognise(
    data: Utterances, chosen: Judgeable, recogniser: Recogniser, decoder: Decoder, batch_size: int
) -> Iterator[tuple[list[Scored], float, float]]:
    """Transcribe what was chosen, batch by batch.

    Yields:
        Utterances of the batch, seconds of computing, seconds of audio.
    """
    for start in range(0, len(chosen.indices), batch_size):
        part = chosen.indices[start : start + batch_size]
        waveforms = [data.audio(index) for index in part]
        began = time.perf_counter()
        hypotheses = [decoder.decode(log_probs) for log_probs in recogniser.log_probs(waveforms)]
        elapsed_s = time.perf_counter() - began
        scored = [
            Scored(data.utterance_id(index), data.speaker(index), reference, hypothesis.text)
            for index, reference, hypothesis in zip(
                part, chosen.references[start : start + batch_size], hypotheses, strict=True
            )
        ]
        yield scored, elapsed_s, sum(len(waveform) for waveform in waveforms) / SAMPLE_RATE


def measure(
    data: Utterances,
    chosen: Judgeable,
    recogniser: Recogniser,
    decoder: Decoder,
    batch_sizes: Sequence[int],
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[list[Scored], list[Latency]]:
    """Transcribe with every batch size; transcripts are those of the first, and the others' must equal them.

    Raises:
        RuntimeError: When a batch size changed a transcript: a defect of this program.
    """
    transcripts: list[Scored] = []
    latencies = []
    total = len(batch_sizes) * len(chosen.indices)
    for round_number, batch_size in enumerate(batch_sizes):
        warm_up = chosen.indices[:batch_size]
        recogniser.log_probs([data.audio(index) for index in warm_up])
        scored: list[Scored] = []
        times, audio_s = [], 0.0
        for batch, elapsed_s, seconds in recognise(data, chosen, recogniser, decoder, batch_size):
            scored += batch
            times.append(elapsed_s)
            audio_s += seconds
            progress(round_number * len(chosen.indices) + len(scored), total)
        latencies.append(_latency(batch_size, times, audio_s))
        if not transcripts:
            transcripts = scored
        elif changed := [one.id for one, other in zip(transcripts, scored, strict=True) if one != other]:
            raise RuntimeError(f"batch size {batch_size} changed transcripts of {changed[:5]}; please report this")
    return transcripts, latencies


def _latency(batch_size: int, times_s: Sequence[float], audio_s: float) -> Latency:
    milliseconds = np.asarray(times_s) * 1e3
    return Latency(
        batch_size,
        len(times_s),
        float(milliseconds.mean()),
        {p: float(np.percentile(milliseconds, p)) for p in PERCENTILES},
        float(sum(times_s) / audio_s),
    )
