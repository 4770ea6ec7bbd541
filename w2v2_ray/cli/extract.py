"""`w2v2-ray extract`: hidden states, codes and units, for other programs."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from w2v2_ray.cli.options import (
    AverageOption,
    BatchSizeOption,
    BestOption,
    DeviceChoice,
    DeviceOption,
    InputsArgument,
    OverlapOption,
    PrecisionChoice,
    PrecisionOption,
    WindowOption,
    cutting_of,
)


class WhatChoice(StrEnum):
    """What to extract."""

    FEATURES = "features"
    CODES = "codes"
    UNITS = "units"
    LOGITS = "logits"


class DtypeChoice(StrEnum):
    """How features are kept."""

    FLOAT32 = "float32"
    FLOAT16 = "float16"
    BFLOAT16 = "bfloat16"


def extract(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A run, a checkpoint, what `import` reads; or a URI.")],
    inputs: InputsArgument,
    out: Annotated[
        Path,
        typer.Option(help="Folder of Arrow files, also for `datasets.load_from_disk`; for one source NAME.npy."),
    ],
    what: Annotated[
        WhatChoice,
        typer.Option(
            help="features: hidden states; codes: the quantizer's choices; units: clusters of a layer; "
            "logits: log-probabilities of a recogniser."
        ),
    ] = WhatChoice.FEATURES,
    layers: Annotated[
        str, typer.Option(help="all, or numbers parted by commas, with `features` and `last`: features,4,last.")
    ] = "last",
    weights: Annotated[
        str | None, typer.Option(help="Weigh the layers into one: a number for each, parted by commas.")
    ] = None,
    pooled: Annotated[bool, typer.Option("--pooled", help="The mean over frames instead of the frames.")] = False,
    shortened: Annotated[
        bool, typer.Option("--shortened", help="An Hourglass's middle layers at their own rate, not repeated.")
    ] = False,
    collapse: Annotated[
        bool, typer.Option("--collapse", help="Equal neighbours of codes and units as one, with times.")
    ] = False,
    dtype: Annotated[DtypeChoice, typer.Option(help="How features are kept.")] = DtypeChoice.FLOAT32,
    units: Annotated[Path | None, typer.Option(help="Centres that --fit-units wrote.", show_default=False)] = None,
    fit: Annotated[
        int | None, typer.Option("--fit-units", min=2, help="Fit so many clusters to a sample.", show_default=False)
    ] = None,
    sample_frames: Annotated[int, typer.Option(min=1, help="Frames of that sample.")] = 200_000,
    seed: Annotated[int, typer.Option(help="Of the sample and the fit.")] = 0,
    best: BestOption = False,
    average: AverageOption = 1,
    batch_size: BatchSizeOption = 8,
    window_s: WindowOption = 15.0,
    overlap_s: OverlapOption = 3.0,
    workers: Annotated[int, typer.Option(min=1, help="Ray workers that share the files; 1 needs no Ray.")] = 1,
    address: Annotated[
        str | None, typer.Option(help="Ray cluster to join; without it (and RAY_ADDRESS) one is started here.")
    ] = None,
    device: DeviceOption = DeviceChoice.AUTO,
    precision: PrecisionOption = PrecisionChoice.FP32,
) -> None:
    """Extract hidden states, quantizer codes, units or log-probabilities of audio of any length.

    A file that cannot be used is reported, the others are extracted all the same; the exit code is then 2. Killed and
    run again, it goes on with the files that are missing.
    """
    from functools import partial

    from w2v2_ray.api import extraction
    from w2v2_ray.cli.output import print_notes
    from w2v2_ray.cli.progress import progress_bar
    from w2v2_ray.errors import AudioError, SpecError
    from w2v2_ray.extraction.layers import parse_layers
    from w2v2_ray.extraction.settings import ExtractSettings

    cutting = cutting_of(batch_size, window_s, overlap_s)
    if units is not None and fit is not None:
        raise SpecError("--units and --fit-units: one of them")
    chosen = parse_layers(layers)
    settings = ExtractSettings(
        what=what.value,
        layers=tuple(chosen) if chosen is not None else None,
        weights=_numbers(weights),
        pooled=pooled,
        shortened=shortened,
        collapsed=collapse,
        dtype=dtype.value,
        cutting=cutting,
    )
    with progress_bar("extracting", "files") as progress:
        done = extraction.extract(
            model,
            inputs,
            out,
            settings=settings,
            units=extraction.FitUnits(fit, sample_frames, seed) if fit is not None else units,
            best=best,
            average=average,
            device=device.value,
            precision=precision.value,
            workers=workers,
            address=address,
            progress=progress,
            notify=partial(typer.echo, err=True),
        )
    print_notes(done.notes)
    typer.echo(f"{done.path}: {settings.what} of {done.sources - len(done.failures):,} sources")
    if done.failures:
        listed = "\n".join(f"{failure.name}: {failure.reason}" for failure in done.failures)
        raise AudioError(f"{len(done.failures)} of {done.sources} could not be extracted:\n{listed}")


def _numbers(text: str | None) -> tuple[float, ...] | None:
    from w2v2_ray.errors import SpecError

    if text is None:
        return None
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise SpecError(f"--weights {text}: numbers parted by commas are wanted, such as 1,2,1") from None
