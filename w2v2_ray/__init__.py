"""Elastic wav2vec 2.0 training with the Hourglass Transformer on Ray and DeepSpeed.

The Python interface; `docs/python.md` shows it in use. Names are loaded when they are first used: importing this
imports neither torch nor ray.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from w2v2_ray.api.datasets import inspect as inspect
    from w2v2_ray.api.datasets import open_dataset as open_dataset
    from w2v2_ray.api.datasets import prepare as prepare
    from w2v2_ray.api.datasets import unpack as unpack
    from w2v2_ray.api.extraction import FitUnits as FitUnits
    from w2v2_ray.api.extraction import extract as extract
    from w2v2_ray.api.jobs import load_job as load_job
    from w2v2_ray.api.jobs import plan as plan
    from w2v2_ray.api.jobs import train as train
    from w2v2_ray.api.jobs import tune as tune
    from w2v2_ray.api.jobs import validate as validate
    from w2v2_ray.api.language_models import language_model as language_model
    from w2v2_ray.api.models import Model as Model
    from w2v2_ray.api.models import evaluate as evaluate
    from w2v2_ray.api.models import load as load
    from w2v2_ray.api.models import tune_decoding as tune_decoding
    from w2v2_ray.data.dataset import SpeechDataset as SpeechDataset
    from w2v2_ray.data.ingestion.ingest_plan import IngestSettings as IngestSettings
    from w2v2_ray.data.ingestion.text_limits import TextLimits as TextLimits
    from w2v2_ray.data.listening.pieces import Cutting as Cutting
    from w2v2_ray.data.piece_settings import PieceSettings as PieceSettings
    from w2v2_ray.data.segmentation.recordings import SegmentSettings as SegmentSettings
    from w2v2_ray.errors import RunFailedError as RunFailedError
    from w2v2_ray.errors import UserError as UserError
    from w2v2_ray.errors import W2v2RayError as W2v2RayError
    from w2v2_ray.extraction.reading import open_extraction as open_extraction
    from w2v2_ray.extraction.settings import ExtractSettings as ExtractSettings
    from w2v2_ray.recognition.decoding import Decoding as Decoding

_HOMES = {
    "inspect": "api.datasets",
    "open_dataset": "api.datasets",
    "prepare": "api.datasets",
    "unpack": "api.datasets",
    "extract": "api.extraction",
    "FitUnits": "api.extraction",
    "load_job": "api.jobs",
    "plan": "api.jobs",
    "train": "api.jobs",
    "tune": "api.jobs",
    "validate": "api.jobs",
    "language_model": "api.language_models",
    "Model": "api.models",
    "evaluate": "api.models",
    "load": "api.models",
    "tune_decoding": "api.models",
    "SpeechDataset": "data.dataset",
    "IngestSettings": "data.ingestion.ingest_plan",
    "TextLimits": "data.ingestion.text_limits",
    "Cutting": "data.listening.pieces",
    "PieceSettings": "data.piece_settings",
    "SegmentSettings": "data.segmentation.recordings",
    "open_extraction": "extraction.reading",
    "ExtractSettings": "extraction.settings",
    "Decoding": "recognition.decoding",
    "RunFailedError": "errors",
    "UserError": "errors",
    "W2v2RayError": "errors",
}
"""Where each name of the interface is defined."""

__all__ = [  # noqa: PLE0604
    "__version__",
    *_HOMES,
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
