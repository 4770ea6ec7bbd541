"""A model to use from Python: transcripts, features, codes."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import TypeVar, overload

from w2v2_ray.api.audio import AudioLike, as_sources
from w2v2_ray.api.places import absolute, place_of
from w2v2_ray.audio.samples import SAMPLE_RATE
from w2v2_ray.data.listening.inputs import Source
from w2v2_ray.data.listening.pieces import Cutting, Failure
from w2v2_ray.errors import AudioError, SpecError
from w2v2_ray.extraction.extract import Codes, Features, extract_codes, extract_features
from w2v2_ray.extraction.extractor import Extractor
from w2v2_ray.extraction.layers import Layer
from w2v2_ray.model.interop.loaded_model import LoadedModel, ModelKind
from w2v2_ray.model.precision import Precision
from w2v2_ray.orchestration.share import run_on_workers
from w2v2_ray.recognition import tuning
from w2v2_ray.recognition.decoding import GREEDY, Decoding
from w2v2_ray.recognition.evaluate import Progress, Subject, evaluate_model
from w2v2_ray.recognition.recogniser import Device, Recogniser, device_of, recogniser_of
from w2v2_ray.recognition.report import Evaluation
from w2v2_ray.recognition.transcription import Transcript, transcribe
from w2v2_ray.recognition.tuning import Tried
from w2v2_ray.spec.model import ModelSpec
from w2v2_ray.training.model_source import load_any

R = TypeVar("R")
Several = list[AudioLike] | tuple[AudioLike, ...]

_PIECES = Cutting()


class Model:
    """A model in evaluation mode; make one with `load`.

    Audio is a path or mono samples, or a list of either (`AudioLike`); for a list, a list is returned, in its order.
    Audio of any length is taken, in overlapping windows where it is longer than `cutting.window_s`. No result depends
    on what else is in the list or on `cutting.batch_size`.

    Args:
        loaded: Weights and what they are.
        source: What was given to `load`.
        device: Where to compute.
        precision: In which numbers.
    """

    def __init__(
        self, loaded: LoadedModel, source: str | Path, device: Device = "auto", precision: Precision = "fp32"
    ) -> None:
        self._loaded = loaded
        self._given = source
        self._device = device_of(device)
        self._precision: Precision = precision

    @property
    def kind(self) -> ModelKind:
        """`ctc`: a recogniser; `pretrain`: with a quantizer; `backbone`: neither."""
        return self._loaded.kind

    @property
    def spec(self) -> ModelSpec:
        """The network."""
        return self._loaded.spec

    @property
    def vocabulary(self) -> tuple[str, ...] | None:
        """Symbol of each output of a recogniser, the blank first."""
        return self._loaded.vocabulary

    @property
    def num_parameters(self) -> int:
        """Elements of all weights."""
        return self._loaded.num_parameters

    @property
    def num_layers(self) -> int:
        """Transformer layers."""
        return self._loaded.spec.encoder.layers

    @property
    def notes(self) -> tuple[str, ...]:
        """What was noticed when it was loaded, such as a damaged checkpoint that was passed over."""
        return self._loaded.notes

    @property
    def source(self) -> str:
        """The file or folder that the weights came from."""
        return self._loaded.source

    def __repr__(self) -> str:
        return f"<{self.kind} model of {self.num_parameters:,} parameters from {self.source}>"

    @cached_property
    def recogniser(self) -> Recogniser:
        """The model as a recogniser, for log-probabilities.

        Raises:
            CheckpointError: When it is none.
        """
        return recogniser_of(self._loaded, self._given, self._device, self._precision)

    @cached_property
    def extractor(self) -> Extractor:
        """The model as an extractor of batches."""
        return Extractor(self._loaded, self._device, self._precision)

    @overload
    def transcribe(
        self, audio: AudioLike, *, sample_rate: int = ..., decoding: Decoding = ..., cutting: Cutting = ...
    ) -> Transcript: ...
    @overload
    def transcribe(
        self, audio: Several, *, sample_rate: int = ..., decoding: Decoding = ..., cutting: Cutting = ...
    ) -> list[Transcript]: ...
    def transcribe(
        self,
        audio: AudioLike | Several,
        *,
        sample_rate: int = SAMPLE_RATE,
        decoding: Decoding = GREEDY,
        cutting: Cutting = _PIECES,
    ) -> Transcript | list[Transcript]:
        """Say what is said.

        Args:
            audio: What to hear.
            sample_rate: Of samples; files know their own.
            decoding: Greedy, or with a language model.
            cutting: How long audio is cut.

        Raises:
            CheckpointError: When the model is no recogniser.
            AudioError: When a file cannot be read, or samples are none.
        """
        decoder = decoding.decoder(self.recogniser.vocabulary)
        return self._each(
            audio, sample_rate, partial(transcribe, listener=self.recogniser, decoder=decoder, cutting=cutting)
        )

    @overload
    def features(
        self,
        audio: AudioLike,
        layers: Sequence[Layer] | None = ...,
        *,
        pooled: bool = ...,
        shortened: bool = ...,
        sample_rate: int = ...,
        cutting: Cutting = ...,
    ) -> Features: ...
    @overload
    def features(
        self,
        audio: Several,
        layers: Sequence[Layer] | None = ...,
        *,
        pooled: bool = ...,
        shortened: bool = ...,
        sample_rate: int = ...,
        cutting: Cutting = ...,
    ) -> list[Features]: ...
    def features(
        self,
        audio: AudioLike | Several,
        layers: Sequence[Layer] | None = (-1,),
        *,
        pooled: bool = False,
        shortened: bool = False,
        sample_rate: int = SAMPLE_RATE,
        cutting: Cutting = _PIECES,
    ) -> Features | list[Features]:
        """Give hidden states.

        Args:
            audio: What to hear.
            layers: 1 to `num_layers`, -1 the last, 0 what the first layer receives, "features" the feature encoder;
                None gives all.
            pooled: The mean over frames instead of the frames.
            shortened: An Hourglass's middle layers at their own rate instead of repeated to the full one.
            sample_rate: Of samples; files know their own.
            cutting: How long audio is cut.

        Raises:
            SpecError: When the model has no such layer.
            AudioError: When a file cannot be read, or samples are none.
        """
        extract = partial(
            extract_features,
            extractor=self.extractor,
            layers=layers,
            shortened=shortened,
            pooled=pooled,
            cutting=cutting,
        )
        return self._each(audio, sample_rate, extract)

    @overload
    def codes(self, audio: AudioLike, *, sample_rate: int = ..., cutting: Cutting = ...) -> Codes: ...
    @overload
    def codes(self, audio: Several, *, sample_rate: int = ..., cutting: Cutting = ...) -> list[Codes]: ...
    def codes(
        self,
        audio: AudioLike | Several,
        *,
        sample_rate: int = SAMPLE_RATE,
        cutting: Cutting = _PIECES,
    ) -> Codes | list[Codes]:
        """Give the quantizer's choices: pseudo-phonemes.

        Args:
            audio: What to hear.
            sample_rate: Of samples; files know their own.
            cutting: How long audio is cut.

        Raises:
            CheckpointError: When the model has no quantizer.
            AudioError: When a file cannot be read, or samples are none.
        """
        return self._each(audio, sample_rate, partial(extract_codes, extractor=self.extractor, cutting=cutting))

    def _each(
        self,
        audio: AudioLike | Several,
        sample_rate: int,
        function: Callable[[Iterable[Source]], Iterator[R | Failure]],
    ) -> R | list[R]:
        results: list[R] = []
        for result in function(as_sources(audio, sample_rate)):
            if isinstance(result, Failure):
                raise AudioError(f"{result.name}: {result.reason}")
            results.append(result)
        return results if isinstance(audio, (list, tuple)) else results[0]


def load(
    source: str | os.PathLike[str],
    *,
    best: bool = False,
    average: int = 1,
    vocabulary: str | os.PathLike[str] | None = None,
    device: Device = "auto",
    precision: Precision = "fp32",
) -> Model:
    """Load a model.

    Args:
        source: A run's folder, a checkpoint, a model folder, a file of fairseq, transformers or the reference; a path
            or a URI.
        best: Of a run, take the checkpoint with the best validation instead of the newest.
        average: Of a run, take the mean of the weights of so many of its newest checkpoints.
        vocabulary: File with the symbols of a recogniser that does not hold its own.
        device: auto takes a GPU when there is one.
        precision: "bf16" and "fp16" compute matrix products in half precision: faster on GPUs and on CPUs with
            instructions for it.

    Raises:
        UserError: When there is no model, or it is damaged.
    """
    place = place_of(source)
    symbols = Path(vocabulary) if vocabulary is not None else None
    return Model(load_any(place, best=best, average=average, vocabulary=symbols), place, device, precision)


def evaluate(
    model: str | os.PathLike[str],
    datasets: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    *,
    best: bool = False,
    average: int = 1,
    vocabulary: str | os.PathLike[str] | None = None,
    device: Device = "auto",
    precision: Precision = "fp32",
    decoding: Decoding = GREEDY,
    batch_sizes: Sequence[int] = (8,),
    limit: int | None = None,
    workers: int = 1,
    address: str | None = None,
    progress: Progress = lambda done, total: None,
    notify: Callable[[str], None] = lambda message: None,
) -> Evaluation:
    """Judge a recogniser: WER, CER, errors by kind and speaker, latency and real-time factor.

    Args:
        model: As for `load`.
        datasets: One or more datasets with transcripts: folders or URIs.
        best: As for `load`.
        average: As for `load`.
        vocabulary: As for `load`.
        device: As for `load`.
        precision: As for `load`.
        decoding: Greedy, or with a language model.
        batch_sizes: To be timed; transcripts do not depend on them.
        limit: Judge this many utterances only.
        workers: Ray workers that share the utterances; 1 needs no Ray.
        address: Ray cluster to join; None joins the one the environment names or starts one here.
        progress: Told how many utterances are done.
        notify: Told what is waited for.

    Raises:
        UserError: When the model, a dataset or the language model cannot be used.
    """
    if address is not None and workers == 1:
        raise SpecError("--address: one worker needs no Ray; give --workers too")
    subject = _subject(model, datasets, best, average, vocabulary, device, precision, decoding)
    subject = replace(subject, batch_sizes=tuple(batch_sizes))
    run = partial(run_on_workers, address=address, notify=notify)
    return evaluate_model(subject, limit=limit, workers=workers, run_on_workers=run, progress=progress)


def tune_decoding(
    model: str | os.PathLike[str],
    datasets: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    decoding: Decoding,
    *,
    lm_weights: Sequence[float],
    word_scores: Sequence[float],
    best: bool = False,
    average: int = 1,
    vocabulary: str | os.PathLike[str] | None = None,
    device: Device = "auto",
    precision: Precision = "fp32",
    limit: int | None = None,
    progress: Progress = lambda done, total: None,
) -> tuple[Tried, ...]:
    """Find weights of a language model: every pair of some, best first.

    Args:
        model: As for `evaluate`, also what is not described here.
        datasets: Held-out speech, other than what is to be judged with these weights.
        decoding: With a language model; its own weights are not used.
        lm_weights: To be tried.
        word_scores: To be tried with each of them.
        best: As for `load`.
        average: As for `load`.
        vocabulary: As for `load`.
        device: As for `load`.
        precision: As for `load`.
        limit: Utterances to use at most.
        progress: Told how much is done.

    Raises:
        UserError: When the model, a dataset or the language model cannot be used.
    """
    subject = _subject(model, datasets, best, average, vocabulary, device, precision, decoding)
    return tuning.tune_decoding(subject, lm_weights, word_scores, limit=limit, progress=progress)


def _subject(
    model: str | os.PathLike[str],
    datasets: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    best: bool,
    average: int,
    vocabulary: str | os.PathLike[str] | None,
    device: Device,
    precision: Precision,
    decoding: Decoding,
) -> Subject:
    several = [datasets] if isinstance(datasets, (str, os.PathLike)) else datasets
    return Subject(
        model=absolute(model),
        datasets=tuple(absolute(uri) for uri in several),
        best=best,
        average=average,
        vocabulary=Path(vocabulary).resolve() if vocabulary is not None else None,
        device=device,
        precision=precision,
        decoding=decoding.with_absolute_paths(),
    )
