"""`w2v2-ray import`: a model of another project to a model folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from w2v2_ray.model.interop.format_names import SourceFormat, TargetFormat

if TYPE_CHECKING:
    from w2v2_ray.model.interop.loaded_model import LoadedModel

VocabularyOption = Annotated[
    Path | None,
    typer.Option(
        help="Symbols of the outputs, where SOURCE has none: vocab.json, or a fairseq dictionary (dict.ltr.txt).",
        show_default=False,
    ),
]


def import_command(
    source: Annotated[
        Path,
        typer.Argument(
            help="fairseq or NVIDIA .pt, Hugging Face folder, torchaudio state dict (.pt, .pth, .safetensors)."
        ),
    ],
    out: Annotated[Path, typer.Option(help="Model folder to make: model.safetensors, spec.yaml, vocab.json.")],
    source_format: Annotated[
        SourceFormat, typer.Option("--format", help="Format of SOURCE; auto looks.")
    ] = SourceFormat.AUTO,
    vocabulary: VocabularyOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object for scripts.")] = False,
) -> None:
    """Convert a pre-trained or fine-tuned wav2vec 2.0 model into a model folder of this project.

    Nothing in SOURCE is executed: pickles are read with an allow-list, and one that asks for more is refused.
    """
    from w2v2_ray.model.interop.formats import export_model, import_model
    from w2v2_ray.model.interop.vocabulary import check_recogniser, read_vocabulary

    symbols = read_vocabulary(vocabulary) if vocabulary is not None else None
    model = import_model(source, source_format, symbols)
    if model.vocabulary is not None:
        check_recogniser(model.vocabulary, str(source))
    files = export_model(model, TargetFormat.OWN, out)
    report(model, out, files, as_json=as_json)


def report(model: LoadedModel, out: Path, files: tuple[Path, ...], *, as_json: bool) -> None:
    """Say what was converted; what was assumed goes to stderr."""
    from w2v2_ray.cli.output import print_json

    if as_json:
        print_json(
            {"out": str(out), "files": [str(file) for file in files], **facts(model), "notes": list(model.notes)}
        )
        return
    for note in model.notes:
        typer.echo(typer.style("note: ", fg=typer.colors.YELLOW) + note, err=True)
    encoder = model.spec.encoder
    hourglass = encoder.hourglass
    shape = f"{encoder.layers} layers of {encoder.dim}"
    if hourglass is not None:
        parts = (hourglass.pre_layers, (hourglass.middle_layers, hourglass.shorten_factor), hourglass.post_layers)
        shape += f", Hourglass {list(parts)} {hourglass.resample}"
    outputs = f", {model.vocab_size} outputs" if model.kind == "ctc" else ""
    typer.echo(f"{out}: {model.kind} model, {model.num_parameters:,} parameters, {shape}{outputs}")
    for file in files:
        typer.echo(f"  {file}")
    if model.kind == "ctc" and model.vocabulary is None:
        typer.echo(
            typer.style("warning: ", fg=typer.colors.YELLOW)
            + "no vocabulary: the outputs have no symbols; give one with --vocabulary",
            err=True,
        )


def facts(model: LoadedModel) -> dict[str, Any]:
    """What a script wants to know of a model."""
    return {
        "kind": model.kind,
        "parameters": model.num_parameters,
        "vocabulary": None if model.vocabulary is None else len(model.vocabulary),
        "model": model.spec.model_dump(mode="json"),
    }
