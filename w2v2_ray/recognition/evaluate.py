"""Evaluating a recogniser in this process, or by several workers that share the utterances."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from w2v2_ray.audio.samples import SAMPLE_RATE
from w2v2_ray.data.dataset import Utterances
from w2v2_ray.data.mixture import open_mixture
from w2v2_ray.model.precision import Precision
from w2v2_ray.recognition.decoding import GREEDY, Decoding
from w2v2_ray.recognition.measuring import Judgeable, Timing, judgeable, measure
from w2v2_ray.recognition.recogniser import Device, Recogniser, load_recogniser
from w2v2_ray.recognition.report import Evaluation
from w2v2_ray.recognition.scoring import Scored, score
from w2v2_ray.sharing import RunOnWorkers

Part = tuple[list[Scored], list[Timing]]
Progress = Callable[[int, int], None]

_NAMED = 5


@dataclass(frozen=True)
class Subject:
    """What is judged, on what and how.

    Attributes:
        model: The recogniser; see `load_recogniser`, also for `best`, `vocabulary` and `device`.
        datasets: Paths or URIs of datasets with transcripts.
        best: Of a run, take the checkpoint with the lowest WER.
        average: Of a run, take the mean of so many of its newest checkpoints.
        vocabulary: Its symbols, where the file does not hold them.
        device: Where to compute.
        precision: In which numbers.
        decoding: How words are found.
        batch_sizes: To be timed.
    """

    model: str | Path
    datasets: tuple[str, ...]
    best: bool = False
    average: int = 1
    vocabulary: Path | None = None
    device: Device = "auto"
    precision: Precision = "fp32"
    decoding: Decoding = GREEDY
    batch_sizes: tuple[int, ...] = (8,)

    def load(self) -> Recogniser:
        """Load the recogniser."""
        return load_recogniser(
            self.model,
            best=self.best,
            average=self.average,
            vocabulary=self.vocabulary,
            device=self.device,
            precision=self.precision,
        )

    def open(self) -> Utterances:
        """Open the datasets as one."""
        return open_mixture([(uri, 1) for uri in self.datasets], verify="sizes")


def evaluate_model(
    subject: Subject,
    *,
    limit: int | None = None,
    workers: int = 1,
    run_on_workers: RunOnWorkers | None = None,
    progress: Progress = lambda done, total: None,
) -> Evaluation:
    """Judge a recogniser; the errors do not depend on the number of workers.

    Args:
        subject: What to judge.
        limit: Utterances to judge at most.
        workers: That share the utterances, each timing its own.
        run_on_workers: How to reach them; without it there is one, this process.
        progress: Told how many utterances are done, counted once for every batch size.

    Raises:
        UserError: When the model, a dataset or the language model cannot be used.
    """
    # Everything is opened here even if workers do the work: mistakes then show before any worker starts.
    recogniser, data = subject.load(), subject.open()
    chosen = judgeable(data, recogniser, limit)
    decoder = subject.decoding.decoder(recogniser.vocabulary)
    workers = min(workers, len(chosen.indices))
    if workers == 1 or run_on_workers is None:
        workers = 1
        scored, timings = measure(data, chosen, recogniser, decoder, subject.batch_sizes, progress)
    else:
        scored, timings = _shared(subject, chosen, workers, run_on_workers, progress)
    samples = sum(int(data.num_samples[index]) for index in chosen.indices)
    return Evaluation(
        model=recogniser.source or str(subject.model),
        datasets=subject.datasets,
        utterances=len(scored),
        without_transcript=chosen.without_transcript,
        unspellable=chosen.unspellable,
        audio_s=samples / SAMPLE_RATE,
        decoder=str(subject.decoding),
        scores=score(scored),
        timings=tuple(timings),
        workers=workers,
        notes=(*recogniser.notes, *decoder.notes, *_notes(scored)),
    )


def _notes(scored: Sequence[Scored]) -> tuple[str, ...]:
    """A line about utterances that nobody could understand; they count all the same."""
    odd = [f"{utterance.id} ({utterance.note})" for utterance in scored if utterance.note is not None]
    if not odd:
        return ()
    more = f", and {len(odd) - _NAMED} more" if len(odd) > _NAMED else ""
    return (f"{len(odd)} of {len(scored)} utterances cannot be understood: {', '.join(odd[:_NAMED])}{more}",)


def _shared(
    subject: Subject, chosen: Judgeable, workers: int, run_on_workers: RunOnWorkers, progress: Progress
) -> tuple[list[Scored], list[Timing]]:
    """The same as `measure`, by several workers."""
    parts = [chosen.share(rank, workers) for rank in range(workers)]
    rounds, done = len(subject.batch_sizes), 0

    def count(number: int) -> None:
        nonlocal done
        done += rounds * len(parts[number].indices)
        progress(done, rounds * len(chosen.indices))

    progress(0, rounds * len(chosen.indices))
    results = run_on_workers(partial(_measure_part, subject), parts, use_gpus=subject.device != "cpu", on_done=count)
    in_order: dict[int, Scored] = {}
    for rank, (scored, _) in enumerate(results):
        in_order.update(zip(range(rank, len(chosen.indices), workers), scored, strict=True))
    timings = [Timing.merged([own[number] for _, own in results]) for number in range(rounds)]
    return [in_order[position] for position in range(len(in_order))], timings


def _measure_part(subject: Subject, part: Judgeable) -> Part:
    """What one worker does."""
    recogniser = subject.load()
    decoder = subject.decoding.decoder(recogniser.vocabulary)
    return measure(subject.open(), part, recogniser, decoder, subject.batch_sizes)
