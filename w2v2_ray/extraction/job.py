"""An extraction from its beginning to its end: in this process, or by several workers that share the files."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from w2v2_ray.audio.samples import SAMPLE_RATE
from w2v2_ray.data.listening.inputs import Source
from w2v2_ray.data.listening.pieces import Failure
from w2v2_ray.errors import SpecError
from w2v2_ray.extraction.extract import extract_features
from w2v2_ray.extraction.extractor import Extractor
from w2v2_ray.extraction.folder import ExtractionFolder
from w2v2_ray.extraction.layers import FEATURES, chosen_layers
from w2v2_ray.extraction.rows import Row, rows_of
from w2v2_ray.extraction.settings import ExtractSettings, describe, schema_of
from w2v2_ray.extraction.units import Units, fit_units
from w2v2_ray.model.interop.loaded_model import LoadedModel
from w2v2_ray.model.precision import Precision
from w2v2_ray.places.new_files import new_file
from w2v2_ray.sharing import RunOnWorkers

FORMAT = 1
UNITS_FILE = "units.npy"
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Extraction:
    """What to extract, from what, to where. Picklable: workers carry it out.

    Attributes:
        load: Gives the model and where to compute.
        sources: What to hear.
        settings: What is wanted.
        units: Clusters, where those are wanted.
        out: The folder.
        rows_per_file: Sources of a file; a killed extraction goes on with the files that are missing.
        precision: In which numbers to compute.
    """

    load: Callable[[], tuple[LoadedModel, torch.device]]
    sources: tuple[Source, ...]
    settings: ExtractSettings
    out: Path
    units: Units | None = None
    rows_per_file: int = 256
    precision: Precision = "fp32"

    @property
    def parts(self) -> int:
        """Files that it makes."""
        return -(-len(self.sources) // self.rows_per_file)

    def sources_of(self, part: int) -> tuple[Source, ...]:
        """What a file holds."""
        return self.sources[part * self.rows_per_file : (part + 1) * self.rows_per_file]

    def schema(self, extractor: Extractor) -> pa.Schema:
        """The columns."""
        encoder, channels = extractor.spec.encoder.dim, extractor.spec.feature_encoder.channels
        widths = [channels if layer == FEATURES else encoder for layer in self.settings.layers or ()]
        width = widths[: len(self.settings.columns)]
        return schema_of(self.settings, width, extractor.spec.quantizer.codebooks, extractor.num_outputs)


def settled(settings: ExtractSettings, extractor: Extractor) -> ExtractSettings:
    """The settings with layers by the model's own numbers.

    Args:
        settings: With any layers.
        extractor: The model.

    Raises:
        SpecError: When the model has no such layer, or layers of several widths are to be weighed.
    """
    chosen = tuple(chosen_layers(settings.layers, extractor.num_layers))
    if settings.weights is not None and FEATURES in chosen:
        raise SpecError("--weights: the feature encoder's frames are of another width; leave `features` out")
    if settings.weights is not None and settings.shortened and extractor.grid > 1:
        raise SpecError("--weights and --shortened: layers of several rates cannot be weighed; leave --shortened out")
    return replace(settings, layers=chosen)


def carry_out(
    extraction: Extraction,
    model: LoadedModel,
    extractor: Extractor,
    *,
    workers: int = 1,
    run_on_workers: RunOnWorkers | None = None,
    progress: Progress = lambda done, total: None,
) -> list[Failure]:
    """Write the files that are missing; what is written does not depend on the number of workers.

    Args:
        extraction: What to do.
        model: The same model that `extraction.load` gives.
        extractor: Made of it.
        workers: That share the files.
        run_on_workers: How to reach them; without it there is one, this process.
        progress: Told how many sources are done.

    Returns:
        What could not be extracted.

    Raises:
        StorageError: When the folder holds something else, or cannot be written.
        UserError: When the model cannot give what is wanted.
    """
    list(rows_of((), extractor, extraction.settings, extraction.units))  # what it lacks is said before anything is made
    folder = ExtractionFolder.begin(extraction.out, _identity(extraction, model), extraction.parts)
    missing, total = folder.missing(), len(extraction.sources)
    done = total - sum(len(extraction.sources_of(part)) for part in missing)
    progress(done, total)
    workers = min(workers, len(missing))
    if workers <= 1 or run_on_workers is None:
        _write(extraction, extractor, folder, missing, lambda count: progress(done + count, total))
    else:
        shares = [missing[rank::workers] for rank in range(workers)]
        finished = 0

        def count(number: int) -> None:
            nonlocal finished
            finished += sum(len(extraction.sources_of(part)) for part in shares[number])
            progress(done + finished, total)

        run_on_workers(partial(_work, extraction), shares, use_gpus=True, on_done=count)
    return folder.finish(extraction.schema(extractor))


def fitted_units(
    extractor: Extractor,
    sources: Sequence[Source],
    settings: ExtractSettings,
    clusters: int,
    *,
    sample_frames: int,
    seed: int,
) -> Units:
    """Fit clusters to frames of a layer, taken from sources spread over all of them.

    Raises:
        SpecError: When scikit-learn is missing.
        DatasetError: When there are fewer frames than clusters.
    """
    order = np.random.default_rng(seed).permutation(len(sources))
    chosen = (sources[number] for number in order)
    features = extract_features(chosen, extractor, settings.layers, cutting=settings.cutting)
    return fit_units(features, clusters, sample_frames=sample_frames, seed=seed)


def write_array(
    path: Path, source: Source, extractor: Extractor, settings: ExtractSettings, units: Units | None
) -> Failure | None:
    """Write one array of one source as a .npy file.

    Returns:
        Why it could not be extracted.

    Raises:
        SpecError: When more than one array is wanted.
        StorageError: When it cannot be written.
    """
    if settings.collapsed or (settings.what == "features" and len(settings.columns) > 1):
        raise SpecError(f"--out {path}: a .npy file holds one array; give a folder, or one layer and no --collapse")
    if settings.dtype == "bfloat16":
        raise SpecError(f"--out {path}: numpy knows no bfloat16; give --dtype float16 or float32, or a folder")
    [row] = rows_of((source,), extractor, settings, units)
    if isinstance(row, Failure):
        return row
    column = settings.columns[0] if settings.what == "features" else settings.what
    with new_file(path) as temporary, temporary.open("wb") as file:
        np.save(file, row[column], allow_pickle=False)
    return None


def _identity(extraction: Extraction, model: LoadedModel) -> dict[str, Any]:
    names = hashlib.sha256("\n".join(source.name for source in extraction.sources).encode())
    return {
        "format": FORMAT,
        "model": model.source,
        "weights": _fingerprint(model),
        "precision": extraction.precision,
        "settings": describe(extraction.settings, extraction.units),
        "sources": names.hexdigest()[:16],
        "rows": len(extraction.sources),
        "parts": extraction.parts,
        "frame_s": model.spec.feature_encoder.stride_samples / SAMPLE_RATE,
        "vocabulary": list(model.vocabulary) if model.vocabulary is not None else None,
    }


def _fingerprint(model: LoadedModel) -> str:
    total = hashlib.sha256()
    for name, tensor in sorted(model.state.items()):
        total.update(name.encode())
        total.update(np.ascontiguousarray(tensor.numpy()).data)
    return total.hexdigest()[:16]


def _write(
    extraction: Extraction,
    extractor: Extractor,
    folder: ExtractionFolder,
    parts: Sequence[int],
    on_row: Callable[[int], None],
) -> None:
    schema = extraction.schema(extractor)
    done = 0

    def counted(rows: Iterator[Row | Failure]) -> Iterator[Row | Failure]:
        nonlocal done
        for row in rows:
            done += 1
            on_row(done)
            yield row

    for part in parts:
        rows = rows_of(extraction.sources_of(part), extractor, extraction.settings, extraction.units)
        folder.write(part, schema, counted(rows))


def _work(extraction: Extraction, parts: list[int]) -> None:
    """What one worker does."""
    model, device = extraction.load()
    folder = ExtractionFolder(extraction.out, extraction.parts)
    _write(extraction, Extractor(model, device, extraction.precision), folder, parts, lambda count: None)
