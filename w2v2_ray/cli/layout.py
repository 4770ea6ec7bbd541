"""`w2v2-ray layout`: LibriSpeech and Libri-light, once downloaded, as the datasets that the published jobs name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from w2v2_ray.cli import prepare_options as options

if TYPE_CHECKING:
    from collections.abc import Sequence

    from w2v2_ray.data.layout import FoundPart


def layout(
    root: Annotated[str, typer.Argument(help="Folder where the archives were unpacked.")],
    out: Annotated[str, typer.Option(help="Folder or URI below which the datasets are made.")] = "datasets",
    part: Annotated[
        list[str] | None,
        typer.Option(help="Part to take, e.g. librispeech_train_clean_100; may be given again. All when not given."),
    ] = None,
    check: Annotated[bool, typer.Option("--check", help="Count and compare only; make nothing.")] = False,
    incomplete: Annotated[
        bool, typer.Option("--incomplete", help="Take parts with other counts than published, too.")
    ] = False,
    jobs: options.Jobs = 1,
    codec: options.Codec = options.CodecChoice.PCM16,
) -> None:
    """Find LibriSpeech's and Libri-light's parts, compare their counts and hours with the papers', and prepare each.

    The datasets have the names that `w2v2-ray jobs` use: afterwards `w2v2-ray train pretrain_base` needs no paths.
    """
    from functools import partial

    from w2v2_ray.api.layout import check_parts, lay_out
    from w2v2_ray.cli.progress import progress_bar
    from w2v2_ray.data.ingestion.ingest_plan import IngestSettings

    found = check_parts(root, part or (), incomplete=incomplete or check)
    for one in found:
        typer.echo(_found_line(one))
    if check:
        if any(one.differences for one in found):
            raise typer.Exit(2)
        return
    with progress_bar("preparing", "files") as progress:
        made = lay_out(
            found,
            out,
            settings=IngestSettings(codec=codec.value),
            jobs=jobs,
            progress=progress,
            notify=partial(typer.echo, err=True),
        )
        for dataset in made:
            totals = dataset.summary.manifest.totals
            note = "; ".join(dataset.differences) or "as published"
            typer.echo(
                f"{dataset.dataset}: {totals.utterances:,} utterances, {dataset.summary.hours:.2f} hours, "
                f"{totals.speakers:,} speakers ({note})"
            )


def _found_line(found: FoundPart) -> str:
    told: Sequence[str] = found.differences or ("as published" if found.part.utterances else "not told by the papers",)
    return f"{found.path}: {found.utterances:,} files, {found.speakers:,} speakers ({'; '.join(told)})"
