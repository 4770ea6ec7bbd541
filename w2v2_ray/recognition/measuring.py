"""Running a recogniser over a dataset: transcripts, and how long they took for every batch size."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from w2v2_ray.audio.samples import SAMPLE_RATE
from w2v2_ray.data.dataset import Utterances
from w2v2_ray.data.listening.hearing import note_of
from w2v2_ray.errors import DatasetError
from w2v2_ray.recognition.hypothesis import Decoder
from w2v2_ray.recognition.recogniser import Recogniser
from w2v2_ray.recognition.scoring import Scored

PERCENTILES = (90, 95, 99)


@dataclass(frozen=True)
class Timing:
    """What was measured with one batch size.

    Attributes:
        batch_size: Utterances of a batch.
        batches_s: Seconds of each batch, from samples in memory to words; one to warm up is not among them.
        audio_s: Audio of all batches.
        changed: Utterances transcribed otherwise than with the first batch size. Padding changes nothing, but sums
            are rounded differently in matrices of another shape: where two outputs are equally probable to the last
            digits, either may win.
    """

    batch_size: int
    batches_s: tuple[float, ...]
    audio_s: float
    changed: int = 0

    @staticmethod
    def merged(timings: Sequence[Timing]) -> Timing:
        """Join the timings of several workers."""
        return Timing(
            timings[0].batch_size,
            tuple(seconds for timing in timings for seconds in timing.batches_s),
            sum(timing.audio_s for timing in timings),
            sum(timing.changed for timing in timings),
        )

    def as_dict(self) -> dict[str, Any]:
        """Milliseconds of a batch, and seconds of computing for a second of audio."""
        milliseconds = np.asarray(self.batches_s) * 1e3
        return {
            "batch_size": self.batch_size,
            "batches": len(self.batches_s),
            "mean_ms": float(milliseconds.mean()),
            **{f"p{p}_ms": float(np.percentile(milliseconds, p)) for p in PERCENTILES},
            "real_time_factor": sum(self.batches_s) / self.audio_s,
            "changed_transcripts": self.changed,
        }


@dataclass(frozen=True)
class Judgeable:
    """The utterances of a dataset that can be judged.

    Attributes:
        indices: Dataset indices, longest first, so that batches are filled well.
        references: Their normalised transcripts.
        without_transcript: Utterances left out because nothing is known to be said.
        unspellable: Utterances left out because their transcript is rejected by the text rules.
    """

    indices: tuple[int, ...]
    references: tuple[str, ...]
    without_transcript: int
    unspellable: int

    def share(self, rank: int, workers: int) -> Judgeable:
        """Every n-th utterance, so that all workers get long and short ones."""
        return replace(self, indices=self.indices[rank::workers], references=self.references[rank::workers])


def judgeable(data: Utterances, recogniser: Recogniser, limit: int | None = None) -> Judgeable:
    """Choose what to judge: the first `limit` utterances that can be.

    Raises:
        DatasetError: When there is none.
    """
    found: list[tuple[int, str]] = []
    without_transcript = unspellable = 0
    for index in range(len(data)):
        if limit is not None and len(found) >= limit:
            break
        transcript = data.transcript(index)
        written = recogniser.tokenizer.normalise(transcript) if transcript and transcript.strip() else ""
        if written:
            found.append((index, written))
        elif written is None:
            unspellable += 1
        else:
            without_transcript += 1
    if not found:
        raise DatasetError(
            f"none of the {len(data)} utterances can be judged: {without_transcript} have no transcript, {unspellable} "
            "one with characters outside the recogniser's vocabulary; evaluate needs transcripts (transcribe does not)"
        )
    found.sort(key=lambda entry: (-int(data.num_samples[entry[0]]), entry[0]))
    return Judgeable(tuple(i for i, _ in found), tuple(text for _, text in found), without_transcript, unspellable)


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
            Scored(data.utterance_id(index), data.speaker(index), reference, hypothesis.text, note_of(waveform))
            for index, reference, hypothesis, waveform in zip(
                part, chosen.references[start : start + batch_size], hypotheses, waveforms, strict=True
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
) -> tuple[list[Scored], list[Timing]]:
    """Transcribe with every batch size; the transcripts returned are those of the first."""
    transcripts: list[Scored] = []
    timings = []
    total = len(batch_sizes) * len(chosen.indices)
    for round_number, batch_size in enumerate(batch_sizes):
        warm_up = [data.audio(index) for index in chosen.indices[:batch_size]]
        for log_probs in recogniser.log_probs(warm_up):
            decoder.decode(log_probs)
        scored: list[Scored] = []
        times_s, audio_s = [], 0.0
        for batch, elapsed_s, seconds in recognise(data, chosen, recogniser, decoder, batch_size):
            scored += batch
            times_s.append(elapsed_s)
            audio_s += seconds
            progress(round_number * len(chosen.indices) + len(scored), total)
        transcripts = transcripts or scored
        changed = sum(first != now for first, now in zip(transcripts, scored, strict=True))
        timings.append(Timing(batch_size, tuple(times_s), audio_s, changed))
    return transcripts, timings
