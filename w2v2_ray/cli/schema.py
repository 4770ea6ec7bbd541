"""`w2v2-ray schema`: JSON Schema of job files for editors."""

from __future__ import annotations

from typing import Annotated

import typer


def schema(
    kind: Annotated[str | None, typer.Option(help="Only this kind of job.", show_default="all kinds")] = None,
) -> None:
    """Print the JSON Schema of job files.

    An editor with YAML support then completes and checks them: put
    `# yaml-language-server: $schema=PATH` in their first line.
    """
    from w2v2_ray.cli.output import print_json
    from w2v2_ray.spec.schema import job_schema

    print_json(job_schema(kind))
