"""Features, codes and units of much audio, to a folder."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

from w2v2_ray.api.places import absolute
from w2v2_ray.data.listening.inputs import Source, find_sources
from w2v2_ray.data.listening.pieces import Failure
from w2v2_ray.errors import SpecError
from w2v2_ray.extraction.extractor import Extractor
from w2v2_ray.extraction.job import UNITS_FILE, Extraction, Progress, carry_out, fitted_units, settled, write_array
from w2v2_ray.extraction.settings import ExtractSettings
from w2v2_ray.extraction.units import Units
from w2v2_ray.model.interop.loaded_model import LoadedModel
from w2v2_ray.model.precision import Precision
from w2v2_ray.orchestration.share import run_on_workers
from w2v2_ray.recognition.recogniser import Device, device_of
from w2v2_ray.training.model_source import load_any

_FEATURES = ExtractSettings()


@dataclass(frozen=True)
class Extracted:
    """What an extraction gave.

    Attributes:
        path: The folder, or the .npy file.
        sources: How many were heard.
        failures: Those that could not be extracted, and why.
        notes: What was noticed about the model and the inputs.
    """

    path: Path
    sources: int
    failures: tuple[Failure, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class FitUnits:
    """How clusters are to be fitted.

    Attributes:
        clusters: K.
        sample_frames: Frames to fit to.
        seed: Of the sample and the fit.
        out: File to write the centres to; None keeps them in the folder only.
    """

    clusters: int
    sample_frames: int = 200_000
    seed: int = 0
    out: Path | None = None


def extract(
    model: str | os.PathLike[str],
    inputs: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    out: str | os.PathLike[str],
    *,
    settings: ExtractSettings = _FEATURES,
    units: str | os.PathLike[str] | FitUnits | None = None,
    best: bool = False,
    average: int = 1,
    device: Device = "auto",
    precision: Precision = "fp32",
    workers: int = 1,
    address: str | None = None,
    rows_per_file: int = 256,
    progress: Progress = lambda done, total: None,
    notify: Callable[[str], None] = lambda message: None,
) -> Extracted:
    """Extract features, codes or units of audio files, folders and datasets.

    Killed at any time, the same call goes on with the files that are missing.

    Args:
        model: As for `load`.
        inputs: Audio files, folders of them, or datasets.
        out: A folder, read by `open_extraction` and by `datasets.load_from_disk`; or, for one source, a .npy file.
        settings: What is wanted.
        units: Centres to take, or how to fit some.
        best: As for `load`.
        average: As for `load`.
        device: As for `load`.
        precision: As for `load`.
        workers: Ray workers that share the files; 1 needs no Ray.
        address: Ray cluster to join; None joins the one the environment names or starts one here.
        rows_per_file: Sources of a file.
        progress: Told how many sources are done.
        notify: Told what is waited for.

    Raises:
        UserError: When the model, an input or the folder cannot be used.
    """
    if (settings.what == "units") != (units is not None):
        raise SpecError("--what units goes with --units FILE or --fit-units K")
    several = [inputs] if isinstance(inputs, (str, os.PathLike)) else inputs
    found = find_sources([Path(path).resolve() for path in several])
    load = partial(_load, absolute(model), best, average, device)
    loaded, where = load()
    extractor = Extractor(loaded, where, precision)
    settings = settled(settings, extractor)
    centres = _units(units, extractor, found.sources, settings)
    path = Path(out)
    notes = (*loaded.notes, *found.notes)
    if path.suffix == ".npy":
        if len(found.sources) != 1:
            raise SpecError(f"--out {path}: a .npy file holds one source, not {len(found.sources)}; give a folder")
        failure = write_array(path, found.sources[0], extractor, settings, centres)
        return Extracted(path, 1, (failure,) if failure is not None else (), notes)
    extraction = Extraction(load, tuple(found.sources), settings, path.resolve(), centres, rows_per_file, precision)
    share = partial(run_on_workers, address=address, notify=notify)
    failures = carry_out(extraction, loaded, extractor, workers=workers, run_on_workers=share, progress=progress)
    if centres is not None:
        centres.save(path / UNITS_FILE)
    return Extracted(path, len(found.sources), tuple(failures), notes)


def _load(source: str, best: bool, average: int, device: Device) -> tuple[LoadedModel, torch.device]:
    return load_any(source, best=best, average=average), device_of(device)


def _units(
    units: str | os.PathLike[str] | FitUnits | None,
    extractor: Extractor,
    sources: Sequence[Source],
    settings: ExtractSettings,
) -> Units | None:
    if units is None:
        return None
    if not isinstance(units, FitUnits):
        return Units.load(Path(units))
    fitted = fitted_units(
        extractor,
        sources,
        settings,
        units.clusters,
        sample_frames=units.sample_frames,
        seed=units.seed,
    )
    if units.out is not None:
        fitted.save(units.out)
    return fitted
