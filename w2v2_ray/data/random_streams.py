"""Every random draw of a run, keyed by what it is for and where it stands, never by who makes it.

A stream is named by (seed, domain, purpose, position). Two workers, two hosts or two attempts that ask for the same
stream get the same numbers; that is what makes a run's result independent of its workers (the virtual world).
"""

from __future__ import annotations

import enum
import hashlib
from dataclasses import dataclass

import numpy as np


class Purpose(enum.Enum):
    """What a stream is for. The values enter the key: never rename or reuse one, or old runs cannot be resumed."""

    WEIGHTS = "weights"
    """Initial weights; no position."""
    TIES = "ties"
    """Order of utterances of equal length; position: epoch."""
    SHUFFLE = "shuffle"
    """Order of micro-batches; position: epoch."""
    CROP = "crop"
    """Where utterances are cropped; position: micro-batch."""
    MASK = "mask"
    """Masked spans; position: micro-batch, and the view where there are several, but for the first."""
    CHANNEL_MASK = "channel_mask"
    """Masked channels; position as for `MASK`."""
    NEGATIVES = "negatives"
    """Distractors; position: micro-batch."""
    CROSS_NEGATIVES = "cross_negatives"
    """Distractors from the whole sub-batch; position: micro-batch."""
    CODEBOOK_NEGATIVES = "codebook_negatives"
    """Distractors from the codebooks; position: micro-batch."""
    LAYER_DROP = "layer_drop"
    """Skipped layers; position: micro-batch."""
    STEP = "step"
    """torch's generators during a forward pass (dropout, Gumbel noise); position: micro-batch."""
    AUGMENT = "augment"
    """Changes of the training audio (speed, noise and the like); position: micro-batch."""
    SPEECH = "speech"
    """Words and voices of synthesised speech; position: what is drawn, utterance, attempt."""


@dataclass(frozen=True)
class RandomStreams:
    """The streams of one run.

    Attributes:
        seed: The job's seed.
        domain: `train` or `validation`; the two never share a draw.
    """

    seed: int
    domain: str = "train"

    def _digest(self, purpose: Purpose, position: tuple[int, ...]) -> bytes:
        name = "/".join([str(self.seed), self.domain, purpose.value, *map(str, position)])
        return hashlib.blake2b(name.encode(), digest_size=16).digest()

    def generator(self, purpose: Purpose, *position: int) -> np.random.Generator:
        """A fresh generator at the start of a stream.

        Philox, because its 128-bit key is the stream's name and its output is the same on every platform.
        """
        key = np.frombuffer(self._digest(purpose, position), dtype="<u8")
        return np.random.Generator(np.random.Philox(key=key.astype(np.uint64)))

    def torch_seed(self, purpose: Purpose, *position: int) -> int:
        """A 63-bit seed for torch's own generators."""
        return int.from_bytes(self._digest(purpose, position)[:8], "little") >> 1
