"""`w2v2-ray jobs`: the specs that come with the package."""

from __future__ import annotations

from typing import Annotated

import typer


def jobs(
    name: Annotated[
        str | None, typer.Argument(help="Print this one, to begin your own with: w2v2-ray jobs NAME > my.yaml")
    ] = None,
) -> None:
    """List the job specs, sweeps and search spaces that come with the package, or print one.

    Their names stand for them wherever a spec is wanted: `w2v2-ray validate pretrain_base --set data.train=DATASET`.
    """
    from w2v2_ray.errors import SpecError
    from w2v2_ray.spec.diagnostics import did_you_mean
    from w2v2_ray.spec.published import FOLDERS, published_specs

    found = {spec: file for folder in FOLDERS for spec, file in published_specs(folder).items()}
    if name is not None:
        file = found.get(name.removesuffix(".yaml"))
        if file is None:
            raise SpecError(f"{name}: no spec of that name comes with the package; {did_you_mean(name, list(found))}")
        typer.echo(file.read_text(encoding="utf-8"), nl=False)
        return
    width = max(map(len, found), default=0)
    for spec, file in found.items():
        typer.echo(f"{spec:{width}}  {_purpose(file.read_text(encoding='utf-8'))}")


def _purpose(text: str) -> str:
    """The first sentence of the comment that a spec begins with."""
    comment = []
    for line in text.splitlines():
        if not line.startswith("#"):
            break
        comment.append(line.lstrip("# ").strip())
    whole = " ".join(comment)
    return whole.partition(". ")[0].rstrip(".")
