"""An evaluation as files: `evaluation.json`, `report.md` for people, `utterances.jsonl`."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from w2v2_ray.places.new_files import new_file
from w2v2_ray.recognition.measuring import PERCENTILES, Timing
from w2v2_ray.recognition.scoring import Errors, Scores
from w2v2_ray.spec.symbols import visible


@dataclass(frozen=True)
class Evaluation:
    """A recogniser on a dataset.

    Attributes:
        model: Where it came from.
        datasets: What it was judged on.
        utterances: Judged.
        without_transcript: Left out: nothing is known to be said.
        unspellable: Left out: their transcripts hold characters that the recogniser does not know.
        audio_s: Judged audio.
        decoder: How words were found.
        scores: Errors.
        timings: One entry a batch size.
        workers: That shared the utterances.
        notes: What was noticed when the recogniser was loaded.
    """

    model: str
    datasets: tuple[str, ...]
    utterances: int
    without_transcript: int
    unspellable: int
    audio_s: float
    decoder: str
    scores: Scores
    timings: tuple[Timing, ...]
    workers: int = 1
    notes: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Everything but the list of all utterances."""
        scores = self.scores
        return {
            "model": self.model,
            "datasets": list(self.datasets),
            "utterances": self.utterances,
            "without_transcript": self.without_transcript,
            "unspellable": self.unspellable,
            "audio_s": self.audio_s,
            "decoder": self.decoder,
            "workers": self.workers,
            "notes": list(self.notes),
            "wer": scores.words.rate,
            "cer": scores.characters.rate,
            "words": scores.words.as_dict(),
            "characters": scores.characters.as_dict(),
            "by_speaker": {speaker: errors.as_dict() for speaker, errors in scores.by_speaker.items()},
            "worst": [{**asdict(scored), **errors.as_dict()} for scored, errors in scores.worst],
            "confused_words": [list(entry) for entry in scores.confused_words],
            "confused_characters": [list(entry) for entry in scores.confused_characters],
            "latency": [timing.as_dict() for timing in self.timings],
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
        with new_file(folder / name) as temporary:
            temporary.write_text(text + "\n", encoding="utf-8")
    return tuple(folder / name for name in contents)


def markdown(evaluation: Evaluation) -> str:
    """The report for people."""
    scores = evaluation.scores
    parts = [
        f"# Evaluation of {evaluation.model}",
        f"{evaluation.utterances} utterances, {evaluation.audio_s / 60:.1f} minutes of "
        f"{', '.join(evaluation.datasets)}; "
        f"left out: {evaluation.without_transcript} without a transcript, {evaluation.unspellable} with characters "
        f"outside the vocabulary. Decoding: {evaluation.decoder}. Workers: {evaluation.workers}.",
        _errors_table({"words": scores.words, "characters": scores.characters}, "unit"),
        "## Time\n\n" + _latency_table(evaluation.timings),
        "## By speaker\n\n" + _errors_table(scores.by_speaker, "speaker"),
        "## Most often confused (∅: nothing)\n\n" + _confusions(scores.confused_words, "word"),
        _confusions(scores.confused_characters, "character"),
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


def _latency_table(timings: tuple[Timing, ...]) -> str:
    """Milliseconds of a batch."""
    rows = [timing.as_dict() for timing in timings]
    columns = {name: name.removesuffix("_ms").replace("_", " ") for name in rows[0]}
    percentiles = {f"p{p}_ms": f"{p} % ms" for p in PERCENTILES}
    columns |= percentiles | {"mean_ms": "mean ms"}
    lines = ["| " + " | ".join(columns.values()) + " |", "| --- " * len(columns) + "|"]
    for row in rows:
        shown = (str(value) if isinstance(value, int) else f"{value:.4g}" for value in row.values())
        lines.append("| " + " | ".join(shown) + " |")
    return "\n".join(lines)


def _confusions(pairs: tuple[tuple[str, str, int], ...], unit: str) -> str:
    lines = [f"| {unit} said | understood | times |", "| --- | --- | --- |"]
    lines += [f"| {_shown(said)} | {_shown(understood)} | {times} |" for said, understood, times in pairs]
    return "\n".join(lines)


def _shown(text: str) -> str:
    return visible(text.replace(" ", "␣")).replace("|", "\\|")
