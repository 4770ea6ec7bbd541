"""An evaluation as files: `evaluation.json`, `report.md` for people, `utterances.jsonl`."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from w2v2_ray.evaluation.measuring import Latency
from w2v2_ray.evaluation.scoring import Errors, Scores
from w2v2_ray.model.interop.files import write_text


@dataclass(frozen=True)
class Evaluation:
    """A recogniser on a dataset.

    Attributes:
        model: Where it came from.
        datasets: What it was judged on.
        utterances: Judged.
        left_out: Without a transcript.
        audio_s: Judged audio.
        decoder: How words were found.
        scores: Errors.
        latencies: Times, one entry a batch size.
    """

    model: str
    datasets: tuple[str, ...]
    utterances: int
    left_out: int
    audio_s: float
    decoder: str
    scores: Scores
    latencies: tuple[Latency, ...]

    def as_dict(self) -> dict[str, Any]:
        """Everything but the list of all utterances."""
        scores = self.scores
        return {
            "model": self.model,
            "datasets": list(self.datasets),
            "utterances": self.utterances,
            "left_out": self.left_out,
            "audio_s": self.audio_s,
            "decoder": self.decoder,
            "wer": scores.words.rate,
            "cer": scores.characters.rate,
            "words": scores.words.as_dict(),
            "characters": scores.characters.as_dict(),
            "by_speaker": {speaker: errors.as_dict() for speaker, errors in scores.by_speaker.items()},
            "worst": [{**asdict(scored), **errors.as_dict()} for scored, errors in scores.worst],
            "confused_words": [list(entry) for entry in scores.confused_words],
            "confused_characters": [list(entry) for entry in scores.confused_characters],
            "latency": [latency.as_dict() for latency in self.latencies],
        }


def write_evaluation(evaluation: Evaluation, folder: Path) -> tuple[Path, ...]:
    """Write the three files, each whole or not at all.

    Raises:
        StorageError: When the folder cannot be written.
    """
    lines = (
        json.dumps({**asdict(scored), "errors": errors.total, "wer": errors.rate}, ensure_ascii=False)
        for scored, errors in evaluation.scores.utterances
    )
    contents = {
        "evaluation.json": json.dumps(evaluation.as_dict(), indent=2, ensure_ascii=False),
        "report.md": markdown(evaluation),
        "utterances.jsonl": "\n".join(lines),
    }
    for name, text in contents.items():
        write_text(folder / name, text + "\n")
    return tuple(folder / name for name in contents)


def markdown(evaluation: Evaluation) -> str:
    """The report for people."""
    scores = evaluation.scores
    parts = [
        f"# Evaluation of {evaluation.model}",
        f"{evaluation.utterances} utterances, {evaluation.audio_s / 60:.1f} minutes of "
        f"{', '.join(evaluation.datasets)}; "
        f"{evaluation.left_out} without a transcript left out; {evaluation.decoder} decoding.",
        _errors_table({"words": scores.words, "characters": scores.characters}, "unit"),
        "## Time\n\n" + _latency_table(evaluation.latencies),
        "## By speaker\n\n" + _errors_table(scores.by_speaker, "speaker"),
        "## Most often confused\n\n" + _confusions(scores),
        "## Worst utterances\n\n"
        + "\n".join(
            f"- `{scored.id}` {errors.total} of {errors.reference} words\n  - said: {scored.reference}\n"
            f"  - understood: {scored.hypothesis or '(nothing)'}"
            for scored, errors in scores.worst
        ),
    ]
    return "\n\n".join(parts)


def _errors_table(rows: dict[str, Errors], title: str) -> str:
    lines = [
        f"| {title} | error rate | errors | of | substituted | deleted | inserted |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    lines += [
        f"| {name} | {e.rate:.2%} | {e.total} | {e.reference} | {e.substitutions} | {e.deletions} | {e.insertions} |"
        for name, e in rows.items()
    ]
    return "\n".join(lines)


def _latency_table(latencies: tuple[Latency, ...]) -> str:
    lines = ["| batch size | batches | mean ms | 90 % | 95 % | 99 % | real-time factor |"]
    lines.append("| --- | --- | --- | --- | --- | --- | --- |")
    lines += [
        f"| {entry.batch_size} | {entry.batches} | {entry.mean_ms:.1f} | "
        + " | ".join(f"{value:.1f}" for value in entry.percentiles_ms.values())
        + f" | {entry.real_time_factor:.4f} |"
        for entry in latencies
    ]
    return "\n".join(lines)


def _confusions(scores: Scores) -> str:
    lines = ["| said | understood | times |", "| --- | --- | --- |"]
    for confused in (scores.confused_words, scores.confused_characters):
        lines += [f"| {said.replace(' ', '␣')} | {heard.replace(' ', '␣')} | {n} |" for said, heard, n in confused]
    return "\n".join(lines)
