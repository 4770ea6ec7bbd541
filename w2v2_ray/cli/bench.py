"""`w2v2-ray bench`: figures of this machine beside those of others' programs on it."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from w2v2_ray.cli.options import JsonOption

if TYPE_CHECKING:
    from w2v2_ray.bench.report import Report

bench = typer.Typer(
    help="Measure speed and memory: every repeat in a fresh process, peers interleaved, medians with their spread.",
    no_args_is_help=True,
)

OutOption = Annotated[
    Path, typer.Option("--out", help="Folder for NAME.json and NAME.md; figures of an earlier run are replaced.")
]
RepeatsOption = Annotated[int, typer.Option(min=1, help="Rounds over all cells.")]
_OUT = Path("bench-results")


class Precision(StrEnum):
    """Of weights and activations."""

    FP32 = "fp32"
    BF16 = "bf16"


class Variant(StrEnum):
    """Encoder."""

    PLAIN = "plain"
    HOURGLASS = "hourglass"


class StepDevice(StrEnum):
    """Where to compute."""

    CPU = "cpu"
    CUDA = "cuda"


@bench.command("step")
def step(
    peer: Annotated[
        list[str] | None,
        typer.Option("--peer", help="Beside ours: transformers, nvidia. Default: transformers, and nvidia if given."),
    ] = None,
    peer_path: Annotated[
        Path | None,
        typer.Option(help="Checkout of the NVIDIA reference (its folder PyTorch/SpeechRecognition/wav2vec2)."),
    ] = None,
    variant: Annotated[list[Variant] | None, typer.Option(help="Encoder; may be repeated. Default: both.")] = None,
    precision: Annotated[list[Precision] | None, typer.Option(help="May be repeated. Default: fp32.")] = None,
    rows: Annotated[int, typer.Option(min=1, help="Utterances of a sub-batch.")] = 4,
    seconds: Annotated[float, typer.Option(min=1.0, help="Length of each.")] = 10.0,
    concat: Annotated[int, typer.Option(min=1, help="Sub-batches forwarded at once.")] = 1,
    layers: Annotated[int, typer.Option(min=3, help="Transformer layers; the recipe has 12.")] = 12,
    device: Annotated[StepDevice, typer.Option(help="Where to compute.")] = StepDevice.CPU,
    steps: Annotated[int, typer.Option(min=1, help="Measured in each process, after one to warm up.")] = 2,
    repeats: RepeatsOption = 3,
    out: OutOption = _OUT,
    as_json: JsonOption = False,
) -> None:
    """Forward and backward of Base pre-training: audio seconds a second and peak memory."""
    from w2v2_ray.bench.suites import step_report

    report = step_report(
        peers=peer if peer is not None else ["transformers", *(["nvidia"] if peer_path else [])],
        peer_path=None if peer_path is None else str(peer_path.resolve()),
        variants=[one.value for one in variant or list(Variant)],
        precisions=[one.value for one in precision or [Precision.FP32]],
        common={
            "rows": rows,
            "seconds": seconds,
            "concat": concat,
            "layers": layers,
            "device": device.value,
            "steps": steps,
        },
        repeats=repeats,
        command=_command(),
        notify=_notify,
    )
    _finish(report, out, as_json)


def _command() -> str:
    return " ".join(["w2v2-ray", *sys.argv[1:]])


def _notify(line: str) -> None:
    typer.echo(line, err=True)


def _finish(report: Report, out: Path, as_json: bool) -> None:
    from w2v2_ray.cli.output import print_json

    paths = report.write(out)
    if as_json:
        print_json(report.as_dict())
    else:
        typer.echo(report.markdown())
    typer.echo(f"written: {', '.join(map(str, paths))}", err=True)
