"""A fine-tuned model ready to listen: waveforms in, log-probabilities out, whatever the batch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from w2v2_ray.audio.samples import SAMPLE_RATE
from w2v2_ray.data.text import Tokenizer
from w2v2_ray.errors import CheckpointError, SpecError
from w2v2_ray.model.ctc import CtcOutput, Wav2Vec2CtcModel
from w2v2_ray.model.interop.loaded_model import LoadedModel
from w2v2_ray.model.precision import Precision, in_precision
from w2v2_ray.model.waveforms import padded_batch, row_by_row
from w2v2_ray.recognition.hypothesis import FloatArray
from w2v2_ray.spec.job import TrainJob
from w2v2_ray.spec.loading import load_job
from w2v2_ray.spec.symbols import SPECIALS, are_tokens
from w2v2_ray.spec.text import TextSpec
from w2v2_ray.training.model_source import load_any, run_of

Device = Literal["auto", "cpu", "cuda"]


class Recogniser:
    """A CTC model in evaluation mode.

    Args:
        model: What was loaded; a recogniser with its vocabulary.
        text: How transcripts are written.
        device: Where to compute.
        precision: In which numbers.

    Attributes:
        notes: What was noticed when it was loaded, such as a damaged checkpoint that was passed over.

    Raises:
        CheckpointError: When the model is none, or its vocabulary is not known.
    """

    def __init__(self, model: LoadedModel, text: TextSpec, device: torch.device, precision: Precision = "fp32") -> None:
        if model.kind != "ctc":
            raise CheckpointError(
                f"{model.source}: a {model.kind} model has no outputs to transcribe with; fine-tune it first "
                "(kind: finetune, pretrained: this one)"
            )
        if model.vocabulary is None:
            raise CheckpointError(f"{model.source}: its file does not hold the vocabulary; give it with --vocabulary")
        built = model.build()
        assert isinstance(built, Wav2Vec2CtcModel)
        built.backbone.encoder.pos_conv.fold()
        self._network = in_precision(built, precision).to(device).eval()
        self._device = device
        self.spec = model.spec
        self.source = model.source
        self.notes = model.notes
        self.vocabulary = model.vocabulary
        self.tokenizer = Tokenizer(model.vocabulary, text)
        self.stride_samples = model.spec.feature_encoder.stride_samples
        self.frame_s = self.stride_samples / SAMPLE_RATE

    def num_frames(self, num_samples: int) -> int:
        """Frames of so many samples; 0 when they are too few to be heard."""
        return self.spec.feature_encoder.num_frames(num_samples)

    def log_probs(self, waveforms: Sequence[NDArray[np.int16]]) -> list[FloatArray]:
        """Natural logarithms of the outputs' probabilities, [T, vocabulary] for each waveform.

        The first block's GroupNorm and attention see valid samples only, so a waveform's result does not depend on
        the others' (reference section 7). Waveforms too short for a frame give none.

        Args:
            waveforms: 16 kHz mono int16 [S].
        """
        nothing = np.zeros((0, len(self.vocabulary)), dtype=np.float32)
        return row_by_row(waveforms, self.num_frames, self._log_probs, nothing)

    def _log_probs(self, waveforms: Sequence[NDArray[np.int16]]) -> FloatArray:
        """Shape: [B, T, vocabulary]."""
        eps = self.spec.normalize_eps if self.spec.normalize_waveform else None
        x, lengths = padded_batch(waveforms, self._device, eps)
        with torch.inference_mode():
            output: CtcOutput = self._network(x, lengths)
        array: FloatArray = output.log_probs.cpu().numpy()
        return array


def load_recogniser(
    source: str | Path,
    *,
    best: bool = False,
    average: int = 1,
    vocabulary: Path | None = None,
    device: Device = "auto",
    precision: Precision = "fp32",
) -> Recogniser:
    """Load a recogniser from a run, a checkpoint, a model folder or another tool's file.

    Args:
        source: Where it is.
        best: Of a run, the checkpoint with the lowest validation WER instead of the newest.
        average: Of a run, the mean of so many of its newest checkpoints.
        vocabulary: Its symbols, where the file does not hold them.
        device: auto takes a GPU when there is one.
        precision: In which numbers to compute.

    Raises:
        UserError: When there is none, or it is damaged.
    """
    where = device_of(device)
    model = load_any(source, best=best, average=average, vocabulary=vocabulary)
    return recogniser_of(model, source, where, precision)


def recogniser_of(
    model: LoadedModel, source: str | Path, device: torch.device, precision: Precision = "fp32"
) -> Recogniser:
    """Make a recogniser of a model that was loaded.

    Args:
        model: What was loaded.
        source: From where; of a run, its transcripts are written as its spec says.
        device: Where to compute.
        precision: In which numbers.

    Raises:
        CheckpointError: When the model is none, or its vocabulary is not known.
    """
    return Recogniser(model, _text_spec(source, model), device, precision)


def device_of(device: Device) -> torch.device:
    """Where to compute; `auto` takes a GPU when there is one.

    Raises:
        SpecError: When a GPU is wanted and none is there.
    """
    there = torch.cuda.is_available()
    if device == "cuda" and not there:
        raise SpecError("--device cuda: PyTorch finds no CUDA device here; use --device cpu")
    return torch.device("cuda" if there and device != "cpu" else "cpu")


def _text_spec(source: str | Path, model: LoadedModel) -> TextSpec:
    """The run's own; of a model from elsewhere, the case of its vocabulary, other characters dropped."""
    run = run_of(source)
    if run is not None:
        job = load_job(run.spec).job
        if isinstance(job, TrainJob) and job.transcripts is not None:
            return job.transcripts
    letters = [
        symbol for symbol in model.vocabulary or () if symbol not in SPECIALS and symbol.lower() != symbol.upper()
    ]
    units: Literal["letters", "tokens"] = "tokens" if are_tokens(model.vocabulary or ()) else "letters"
    if all(symbol == symbol.upper() for symbol in letters):
        return TextSpec(units=units, case="upper", unknown="drop")
    case: Literal["lower", "keep"] = "lower" if all(s == s.lower() for s in letters) else "keep"
    return TextSpec(units=units, case=case, unknown="drop")
