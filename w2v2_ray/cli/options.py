"""Arguments and options that several commands share."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from w2v2_ray.data.listening.pieces import Cutting

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
InputsArgument = Annotated[
    list[Path],
    typer.Argument(metavar="INPUT...", help="Audio files, folders of them, datasets, or .txt lists of such by line."),
]
BestOption = Annotated[
    bool, typer.Option("--best", help="Of a run, take the checkpoint with the best validation, not the newest.")
]
AverageOption = Annotated[
    int, typer.Option(min=1, help="Of a run, take the mean of the weights of so many of its newest checkpoints.")
]


BatchSizeOption = Annotated[int, typer.Option(min=1, help="Pieces computed together; changes no result.")]
WindowOption = Annotated[float, typer.Option("--window-s", min=2.0, help="Longest piece heard at once, seconds.")]
OverlapOption = Annotated[
    float, typer.Option("--overlap-s", min=0.2, help="What two pieces of a long file share, seconds.")
]


def cutting_of(batch_size: int, window_s: float, overlap_s: float) -> Cutting:
    """How long audio is cut, from the options.

    Raises:
        SpecError: When the overlap is above half a window.
    """
    from w2v2_ray.data.listening.pieces import Cutting
    from w2v2_ray.errors import SpecError

    if overlap_s > window_s / 2:
        raise SpecError(
            f"--overlap-s {overlap_s:g}: above half of --window-s {window_s:g}; use {window_s / 2:g} or less"
        )
    return Cutting(batch_size, window_s, overlap_s)


class DeviceChoice(StrEnum):
    """Where to compute."""

    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"


DeviceOption = Annotated[DeviceChoice, typer.Option("--device", help="auto takes a GPU when there is one.")]


class PrecisionChoice(StrEnum):
    """In which numbers to compute."""

    FP32 = "fp32"
    BF16 = "bf16"
    FP16 = "fp16"


PrecisionOption = Annotated[
    PrecisionChoice,
    typer.Option("--precision", help="Of matrix products; bf16 and fp16 are faster where there is hardware."),
]
LmOption = Annotated[
    Path | None,
    typer.Option("--lm", help="n-gram language model, ARPA or KenLM binary, for beam search.", show_default=False),
]
LexiconOption = Annotated[
    Path | None,
    typer.Option(
        help="With --lm: one word a line, its spelling after it unless it is as written. Default: words of the ARPA.",
        show_default=False,
    ),
]
BeamOption = Annotated[int, typer.Option(min=1, help="With --lm: hypotheses kept at each frame.")]
LmWeightOption = Annotated[float, typer.Option(help="With --lm: weight of its log10 probabilities.")]
WordScoreOption = Annotated[float, typer.Option(help="With --lm: added to a hypothesis for each word.")]
LmWeightsOption = Annotated[
    str,
    typer.Option("--lm-weight", help="With --lm: weight of its log10 probabilities; several (0.5,1,2) are tried."),
]
WordScoresOption = Annotated[
    str, typer.Option("--word-score", help="With --lm: added to a hypothesis for each word; several are tried.")
]
