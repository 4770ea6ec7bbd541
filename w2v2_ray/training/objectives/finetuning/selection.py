"""Which utterances of a dataset can be learned from, what they spell, and how many cannot and why."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt

from w2v2_ray.data.augmentation import samples_at_speed
from w2v2_ray.data.dataset import Utterances
from w2v2_ray.data.text import Tokenizer
from w2v2_ray.errors import DatasetError
from w2v2_ray.spec.finetune import FinetuneJob


@dataclass(frozen=True)
class Census:
    """What becomes of a dataset's utterances.

    Attributes:
        total: All of them.
        usable: Those trained on, or judged by.
        no_transcript: Without one, or with an empty one.
        unknown_characters: Rejected because of characters outside the vocabulary, or nothing left without them.
        too_long: Longer than `batch.max_samples`.
        too_few_frames: Transcript longer than its audio, at the fastest speed it is played at, can spell: CTC needs a
            frame a symbol and one between repeats.
    """

    total: int
    usable: int
    no_transcript: int
    unknown_characters: int
    too_long: int
    too_few_frames: int

    def __str__(self) -> str:
        reasons = {name: count for name, count in asdict(self).items() if name not in ("total", "usable") and count}
        left_out = ", ".join(f"{name.replace('_', ' ')} {count}" for name, count in reasons.items())
        text = f"{self.usable} of {self.total} utterances are used"
        return f"{text}; left out: {left_out}" if left_out else text


@dataclass(frozen=True)
class Selection:
    """The usable utterances of a dataset and what they spell.

    Attributes:
        usable: By dataset index. Shape: [utterances].
        symbols: Outputs of all usable transcripts, one after the other.
        offsets: Where each utterance's begin. Shape: [utterances + 1].
        census: Counts.
    """

    usable: npt.NDArray[np.bool_]
    symbols: npt.NDArray[np.int32]
    offsets: npt.NDArray[np.int64]
    census: Census

    def target(self, utterance: int) -> npt.NDArray[np.int32]:
        """Outputs that spell an utterance; empty for one that is not usable."""
        return self.symbols[self.offsets[utterance] : self.offsets[utterance + 1]]


def select_utterances(job: FinetuneJob, data: Utterances, tokenizer: Tokenizer, *, fastest: float = 1.0) -> Selection:
    """Read all transcripts and keep the utterances that can be learned from.

    Args:
        job: The spec, its network settled.
        data: What to look at.
        tokenizer: To symbols.
        fastest: The largest speed factor at which audio is played: `job.augmentation.fastest` for what is trained on.

    Raises:
        DatasetError: When there is none.
    """
    assert job.model is not None
    lengths = data.num_samples
    encoder = job.model.feature_encoder
    frames = {int(n): encoder.num_frames(samples_at_speed(int(n), fastest)) for n in np.unique(lengths)}
    reasons = dict.fromkeys(("no_transcript", "unknown_characters", "too_long", "too_few_frames"), 0)
    targets: list[npt.NDArray[np.int32]] = []
    empty = np.empty(0, dtype=np.int32)
    for index in range(len(data)):
        transcript = data.transcript(index)
        written = tokenizer.normalise(transcript) if transcript and transcript.strip() else None
        target = tokenizer.encode(written) if written else empty
        reason = None
        if not transcript or not transcript.strip():
            reason = "no_transcript"
        elif not written:
            reason = "unknown_characters"
        elif lengths[index] > job.longest_samples:
            reason = "too_long"
        elif frames[int(lengths[index])] < len(target) + int(np.count_nonzero(target[1:] == target[:-1])):
            reason = "too_few_frames"
        if reason is not None:
            reasons[reason] += 1
        targets.append(target if reason is None else empty)
    sizes = np.asarray([len(target) for target in targets], dtype=np.int64)
    usable = sizes > 0
    census = Census(total=len(data), usable=int(usable.sum()), **reasons)
    if not census.usable:
        raise DatasetError(
            f"none of the {len(data)} utterances can be used ({census}); check transcripts, text.unknown, "
            "text.allowed and batch.max_samples"
        )
    return Selection(usable, np.concatenate(targets), np.concatenate([[0], np.cumsum(sizes)]), census)
