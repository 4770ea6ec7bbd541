"""`w2v2-ray bench`: figures of this machine beside those of others' programs on it."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from w2v2_ray.cli.options import JsonOption

if TYPE_CHECKING:
    from w2v2_ray.bench.report import BenchReport
    from w2v2_ray.bench.suites import Effort

bench = typer.Typer(
    help="Measure speed and memory: every repeat in a fresh process, peers interleaved, medians with their spread.",
    no_args_is_help=True,
)

OutOption = Annotated[
    Path, typer.Option("--out", help="Folder for NAME.json and NAME.md; figures of an earlier run are replaced.")
]
RepeatsOption = Annotated[int, typer.Option(min=1, help="Rounds over all cells.")]
QuickOption = Annotated[
    bool, typer.Option("--quick", help="One round of small sizes, in place of those asked for: does it work here?")
]
SourceOption = Annotated[
    Path | None,
    typer.Option(help="Speech, as `prepare` takes it. Default: synthesised (--hours; needs espeak-ng).", exists=True),
]
HoursOption = Annotated[float, typer.Option(min=0.001, help="Without --source: how much to synthesise.")]
CopiesOption = Annotated[int, typer.Option(min=1, help="How often each utterance is written.")]
WorkOption = Annotated[
    Path | None,
    typer.Option(help="Folder for what is written; kept and used again, on the disk to measure. Default: none kept."),
]
_OUT = Path("bench-results")
_QUICK_HOURS = 0.02
_QUICK_NOTE = "--quick: one round of small sizes; these figures mean nothing"


class Precision(StrEnum):
    """Of weights and activations."""

    FP32 = "fp32"
    BF16 = "bf16"


class Variant(StrEnum):
    """Encoder."""

    PLAIN = "plain"
    HOURGLASS = "hourglass"


class BenchDevice(StrEnum):
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
    device: Annotated[BenchDevice, typer.Option(help="Where to compute.")] = BenchDevice.CPU,
    steps: Annotated[int, typer.Option(min=1, help="Measured in each process, after one to warm up.")] = 2,
    repeats: RepeatsOption = 3,
    quick: QuickOption = False,
    out: OutOption = _OUT,
    as_json: JsonOption = False,
) -> None:
    """Forward and backward of Base pre-training: audio seconds a second and peak memory."""
    from w2v2_ray.bench.suites import step_report

    if quick:
        rows, seconds, layers, steps = 2, 2.0, 3, 1
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
        effort=_effort(repeats, quick),
    )
    _finish(report, out, as_json)


@bench.command("loader")
def loader(
    source: SourceOption = None,
    hours: HoursOption = 1.0,
    copies: CopiesOption = 1,
    workers: Annotated[int, typer.Option(min=1, help="Threads of ours, processes of the other.")] = 2,
    max_tokens: Annotated[int, typer.Option(min=16_000, help="Samples of a micro-batch.")] = 1_400_000,
    min_seconds: Annotated[float, typer.Option(min=0.0, help="How long to deliver, warm.")] = 5.0,
    cold: Annotated[
        bool, typer.Option(help="Also an epoch of files that are not in the page cache, where it can be emptied.")
    ] = True,
    work: WorkOption = None,
    repeats: RepeatsOption = 3,
    quick: QuickOption = False,
    out: OutOption = _OUT,
    as_json: JsonOption = False,
) -> None:
    """Audio delivered as ready micro-batches: shards beside a DataLoader of one file an utterance."""
    from w2v2_ray.bench.data_suites import loader_report, write_corpus

    if quick:
        hours, copies, min_seconds, workers = _QUICK_HOURS, 1, 0.2, 1
    with _work_folder(work) as folder:
        effort = _effort(repeats, quick)
        folders = write_corpus(source, folder, copies, (".wav", ".flac"), hours)
        common = {"workers": workers, "min_s": min_seconds, "max_tokens": max_tokens}
        report = loader_report(folders=folders, work=folder, cold=cold, common=common, effort=effort)
    _finish(report, out, as_json)


@bench.command("ingest")
def ingest(
    source: SourceOption = None,
    hours: HoursOption = 1.0,
    copies: CopiesOption = 1,
    work: WorkOption = None,
    repeats: RepeatsOption = 3,
    quick: QuickOption = False,
    out: OutOption = _OUT,
    as_json: JsonOption = False,
) -> None:
    """Audio hours a core-minute that `prepare` stores: beside decoding with soundfile and storing nothing."""
    from w2v2_ray.bench.data_suites import ingest_report, write_corpus

    if quick:
        hours, copies = _QUICK_HOURS, 1
    with _work_folder(work) as folder:
        folders = write_corpus(source, folder, copies, (".wav", ".flac"), hours)
        report = ingest_report(folders=folders, work=folder, effort=_effort(repeats, quick))
    _finish(report, out, as_json)


@bench.command("checkpoint")
def checkpoint(
    layers: Annotated[int, typer.Option(min=1, help="Transformer layers; Base has 12.")] = 12,
    dim: Annotated[int, typer.Option(min=64, help="Dimension, a multiple of 64; Base has 768.")] = 768,
    work: WorkOption = None,
    repeats: RepeatsOption = 3,
    quick: QuickOption = False,
    out: OutOption = _OUT,
    as_json: JsonOption = False,
) -> None:
    """How long a step stands still while weights and moments are saved: async, sync, and with torch.save."""
    from w2v2_ray.bench.suites import checkpoint_report
    from w2v2_ray.errors import SpecError

    if dim % 64:
        raise SpecError(f"--dim {dim}: heads have 64 each; use a multiple of 64 such as {dim // 64 * 64}")
    if quick:
        layers, dim = 1, 64
    with _work_folder(work) as folder:
        common = {"layers": layers, "dim": dim, "work": str(folder)}
        report = checkpoint_report(common=common, effort=_effort(repeats, quick))
    _finish(report, out, as_json)


@bench.command("inference")
def inference(
    batch: Annotated[
        list[int] | None, typer.Option(min=1, help="Utterances at once; may be repeated. Default: 1, 4, 8, 16.")
    ] = None,
    variant: Annotated[list[Variant] | None, typer.Option(help="Encoder; may be repeated. Default: plain.")] = None,
    precision: Annotated[list[Precision] | None, typer.Option(help="May be repeated. Default: fp32.")] = None,
    model: Annotated[
        str | None,
        typer.Option(help="A recogniser of your own: a run, a checkpoint, or anything that `import` reads."),
    ] = None,
    seconds: Annotated[float, typer.Option(min=0.1, help="Length of each.")] = 6.5,
    layers: Annotated[int, typer.Option(min=3, help="Transformer layers; Base has 12.")] = 12,
    device: Annotated[BenchDevice, typer.Option(help="Where to compute.")] = BenchDevice.CPU,
    steps: Annotated[int, typer.Option(min=1, help="Measured in each process, after one to warm up.")] = 3,
    repeats: RepeatsOption = 3,
    quick: QuickOption = False,
    out: OutOption = _OUT,
    as_json: JsonOption = False,
) -> None:
    """Latency of a recogniser, waveform to best path: Base with random weights, or yours; beside transformers."""
    from w2v2_ray.bench.suites import inference_report

    if quick:
        batch, seconds, layers, steps = [1, 2], 1.0, 3, 1
    variants = [one.value for one in variant or [Variant.PLAIN]]
    with tempfile.TemporaryDirectory() as folder:
        common = {"seconds": seconds, "layers": layers, "device": device.value, "steps": steps}
        if model is not None:
            common["model"], variants = folder, [_recogniser(model, Path(folder), given=bool(variant))]
        report = inference_report(
            batches=batch or [1, 4, 8, 16],
            variants=variants,
            precisions=[one.value for one in precision or [Precision.FP32]],
            common=common,
            effort=_effort(repeats, quick),
        )
    _finish(report, out, as_json)


def _recogniser(model: str, folder: Path, *, given: bool) -> str:
    """Write a model to a folder that every process of the measurement reads; its kind of encoder."""
    from w2v2_ray.errors import UserError
    from w2v2_ray.model.interop.model_folder import write_model
    from w2v2_ray.training.model_source import load_any

    if given:
        raise UserError("--variant is of random weights, --model has an encoder of its own; leave one of them out")
    loaded = load_any(model)
    if loaded.kind != "ctc":
        raise UserError(f"{model}: is no recogniser but a {loaded.kind} model; fine-tune it first: docs/recipes.md")
    write_model(loaded, folder)
    return "plain" if loaded.spec.encoder.hourglass is None else "hourglass"


@bench.command("planning")
def planning(
    utterances: Annotated[int, typer.Option(min=1, help="How many; 15 million are 60 000 h.")] = 15_000_000,
    max_tokens: Annotated[int, typer.Option(min=250_000, help="Samples of a sub-batch.")] = 1_400_000,
    work: WorkOption = None,
    repeats: RepeatsOption = 3,
    quick: QuickOption = False,
    out: OutOption = _OUT,
    as_json: JsonOption = False,
) -> None:
    """The batch plan of millions of utterances, and opening the index of such a dataset: seconds and memory."""
    from w2v2_ray.bench.data_suites import planning_report

    if quick:
        utterances = 10_000
    with _work_folder(work) as folder:
        report = planning_report(
            utterances=utterances, max_tokens=max_tokens, work=folder, effort=_effort(repeats, quick)
        )
    _finish(report, out, as_json)


def _effort(repeats: int, quick: bool) -> Effort:
    from w2v2_ray.bench.suites import Effort

    command = " ".join(["w2v2-ray", *sys.argv[1:]])
    return Effort(1 if quick else repeats, command, _notify, (_QUICK_NOTE,) if quick else ())


def _notify(line: str) -> None:
    typer.echo(line, err=True)


@contextmanager
def _work_folder(kept: Path | None) -> Iterator[Path]:
    from w2v2_ray.errors import StorageError

    if kept is None:
        with tempfile.TemporaryDirectory(prefix="w2v2-ray-bench-") as folder:
            yield Path(folder)
        return
    try:
        kept.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"--work {kept}: cannot be made: {error.strerror or error}") from error
    yield kept.resolve()


def _finish(report: BenchReport, out: Path, as_json: bool) -> None:
    from w2v2_ray.cli.output import print_json

    paths = report.write(out)
    if as_json:
        print_json(report.as_dict())
    else:
        typer.echo(report.markdown())
    typer.echo(f"written: {', '.join(map(str, paths))}", err=True)
