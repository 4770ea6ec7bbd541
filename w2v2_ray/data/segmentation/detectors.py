"""How much a stretch of audio is like speech, 32 ms at a time, in memory that does not grow with the recording."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

from w2v2_ray.audio.signal import INT16_SCALE
from w2v2_ray.audio.speech_file import SpeechPart
from w2v2_ray.errors import MissingExtraError

FRAME_SAMPLES = 512
"""At 16 kHz: 32 ms, the step of Silero's model."""
DetectorName = Literal["silero", "energy"]
Scores = npt.NDArray[np.float32]

_BLOCK_FRAMES = 1875
"""A minute."""
_FLOOR_QUANTILE = 0.1
_FLOOR_DB = -90.0
_HALF_AT_DB, _STEEPNESS_PER_DB = 12.0, 0.5


class Detector(Protocol):
    """Tells speech from the rest."""

    def scores(self, file: SpeechPart) -> Iterator[Scores]:
        """From 0 for no speech to 1, a block at a time. Shape: [frames]; all blocks together cover the file.

        Raises:
            AudioError: The file cannot be decoded.
        """
        ...


class EnergyDetector:
    """Sound above the noise: 0.5 where a frame is 12 dB louder than the quietest tenth of the minutes around it.

    It takes music, doors and laughter for speech, and needs nothing but numpy.
    """

    def scores(self, file: SpeechPart) -> Iterator[Scores]:
        """See `Detector`."""
        floor_db: float | None = None
        for block in _blocks(file, _BLOCK_FRAMES):
            power = np.square(block.reshape(-1, FRAME_SAMPLES)).mean(axis=1)
            level_db = 10 * np.log10(np.maximum(power, 1e-12))
            heard = level_db[level_db > _FLOOR_DB]
            quiet_db = float(np.quantile(heard, _FLOOR_QUANTILE)) if len(heard) else _FLOOR_DB
            # A minute of speech without a pause has no floor of its own.
            floor_db = quiet_db if floor_db is None else min(quiet_db, floor_db + 3.0)
            scores: Scores = 1 / (1 + np.exp(-_STEEPNESS_PER_DB * (level_db - floor_db - _HALF_AT_DB)))
            yield scores.astype(np.float32)


class SileroDetector:
    """Silero's network (https://github.com/snakers4/silero-vad, MIT), which comes with its wheel.

    A minute at a time, sixteen minutes side by side, each begun two seconds early so that the network has settled:
    eight times as fast as frame by frame.

    Raises:
        MissingExtraError: The extra [segment] is not installed.
    """

    _windows = 16
    _settling_frames = 62

    def __init__(self) -> None:
        if find_spec("silero_vad") is None:
            raise MissingExtraError(
                "--segment silero needs silero-vad; pip install 'w2v2-ray[segment]', or take --segment energy"
            )
        from silero_vad import load_silero_vad  # type: ignore[import-untyped]

        self._model: Any = load_silero_vad()

    def scores(self, file: SpeechPart) -> Iterator[Scores]:
        """See `Detector`."""
        import torch

        last = np.zeros(self._settling_frames * FRAME_SAMPLES, np.float32)
        for block in _blocks(file, self._windows * _BLOCK_FRAMES):
            frames = len(block) // FRAME_SAMPLES
            windows = -(-frames // _BLOCK_FRAMES)
            padded = np.zeros(windows * _BLOCK_FRAMES * FRAME_SAMPLES, np.float32)
            padded[: len(block)] = block
            body = padded.reshape(windows, -1)
            before = np.concatenate([last[None], body[:-1, -len(last) :]])
            batch = torch.from_numpy(np.concatenate([before, body], axis=1))
            self._model.reset_states()
            with torch.inference_mode():
                steps = [self._model(step, 16_000)[:, 0] for step in torch.split(batch, FRAME_SAMPLES, dim=1)]
            scores = torch.stack(steps[self._settling_frames :], dim=1).reshape(-1)[:frames].numpy()
            last = block[-len(last) :] if len(block) >= len(last) else last
            yield scores.astype(np.float32)


def make_detector(name: DetectorName) -> Detector:
    """The detector of a name.

    Raises:
        MissingExtraError: It needs an extra that is not installed.
    """
    return SileroDetector() if name == "silero" else EnergyDetector()


def _blocks(file: SpeechPart, frames: int) -> Iterator[npt.NDArray[np.float32]]:
    """The whole file from -1 to 1, so many frames at a time; the last frame is filled up with silence."""
    step = frames * FRAME_SAMPLES
    for start in range(0, file.num_samples, step):
        samples = file.read(start, min(step, file.num_samples - start))
        filled = np.zeros(-(-len(samples) // FRAME_SAMPLES) * FRAME_SAMPLES, np.float32)
        filled[: len(samples)] = samples
        yield filled / INT16_SCALE
