"""Evaluating a recogniser in this process, or by several workers that share the utterances."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from w2v2_ray.data.dataset import Utterances
from w2v2_ray.data.mixture import open_mixture
from w2v2_ray.data.schema import SAMPLE_RATE
from w2v2_ray.evaluation.greedy import GreedyDecoder
from w2v2_ray.evaluation.measuring import Judgeable, Latency, judgeable, measure
from w2v2_ray.evaluation.recogniser import Device, load_recogniser
from w2v2_ray.evaluation.report import Evaluation
from w2v2_ray.evaluation.scoring import Scored, score

Part = tuple[list[Scored], list[Latency]]
RunOnWorkers = Callable[[Callable[[int], Part], int], list[Part]]


def evaluate_model(
    model: Path,
    datasets: Sequence[Path],
    *,
    best: bool = False,
    vocabulary: Path | None = None,
    batch_sizes: Sequence[int] = (8,),
    workers: int = 1,
    limit: int | None = None,
    device: Device = "auto",
    run_on_workers: RunOnWorkers | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Evaluation:
    """Judge a recogniser on datasets; the errors do not depend on workers or batch size.

    Args:
        model: The recogniser; see `load_recogniser`, also for `best`, `vocabulary` and `device`.
        datasets: With transcripts.
        best: Of a run, take the checkpoint with the lowest WER.
        vocabulary: Its symbols, where the file does not hold them.
        batch_sizes: To be timed.
        workers: That share the utterances, each timing its own.
        limit: Utterances to judge at most.
        device: Where to compute.
        run_on_workers: Calls a function with every rank; without it there is one worker.
        progress: Told how many utterances are done; of several workers only the end is seen.

    Raises:
        UserError: When the model or a dataset cannot be used.
    """
    load = {"best": best, "vocabulary": vocabulary, "device": device}
    recogniser = load_recogniser(model, best=best, vocabulary=vocabulary, device=device)
    data = _open(datasets)
    chosen = judgeable(data, recogniser, limit)
    if workers == 1 or run_on_workers is None:
        decoder = GreedyDecoder(recogniser.vocabulary)
        scored, latencies = measure(data, chosen, recogniser, decoder, batch_sizes, progress)
    else:
        scored, latencies = _shared(model, datasets, chosen, load, batch_sizes, workers, run_on_workers)
    samples = sum(int(data.num_samples[index]) for index in chosen.indices)
    return Evaluation(
        model=recogniser.source or str(model),
        datasets=tuple(str(path) for path in datasets),
        utterances=len(scored),
        left_out=chosen.left_out,
        audio_s=samples / SAMPLE_RATE,
        decoder="greedy",
        scores=score(scored),
        latencies=tuple(latencies),
    )


def _open(datasets: Sequence[Path]) -> Utterances:
    return open_mixture([(str(path), 1) for path in datasets], verify="sizes")


def _shared(
    model: Path,
    datasets: Sequence[Path],
    chosen: Judgeable,
    load: dict[str, Any],
    batch_sizes: Sequence[int],
    workers: int,
    run_on_workers: RunOnWorkers,
) -> tuple[list[Scored], list[Latency]]:
    """Give every worker each n-th utterance, so that all get long and short ones."""
    model, datasets = model.resolve(), [path.resolve() for path in datasets]

    def share(rank: int) -> Part:
        mine = replace(chosen, indices=chosen.indices[rank::workers], references=chosen.references[rank::workers])
        if not mine.indices:
            return [], []
        recogniser = load_recogniser(model, **load)
        return measure(_open(datasets), mine, recogniser, GreedyDecoder(recogniser.vocabulary), batch_sizes)

    parts = run_on_workers(share, workers)
    scored = [entry for part, _ in parts for entry in part]
    return scored, [_merged([own[n] for _, own in parts if own]) for n in range(len(batch_sizes))]


def _merged(latencies: Sequence[Latency]) -> Latency:
    """Times of several workers: means over their batches; percentiles are those of the slowest."""
    batches = sum(entry.batches for entry in latencies)
    return Latency(
        latencies[0].batch_size,
        batches,
        sum(entry.mean_ms * entry.batches for entry in latencies) / batches,
        {p: max(entry.percentiles_ms[p] for entry in latencies) for p in latencies[0].percentiles_ms},
        sum(entry.real_time_factor for entry in latencies) / len(latencies),
    )
