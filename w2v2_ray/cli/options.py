"""Arguments and options that several commands share."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

JobArgument = Annotated[Path, typer.Argument(metavar="JOB", help="Job spec, a YAML file.", show_default=False)]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="PATH=VALUE",
        help="Override a field of the spec, such as --set optim.lr=1e-4; may be repeated. The value is YAML.",
        show_default=False,
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object for scripts.")]
BestOption = Annotated[
    bool, typer.Option("--best", help="Of a run, take the checkpoint with the best validation, not the newest.")
]


class DeviceChoice(StrEnum):
    """Where to compute."""

    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"


DeviceOption = Annotated[DeviceChoice, typer.Option("--device", help="auto takes a GPU when there is one.")]
