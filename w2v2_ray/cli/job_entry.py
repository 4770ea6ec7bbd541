"""What a cluster runs for a submitted job: one of our commands, in the folder that the whole cluster shares."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from w2v2_ray.orchestration.submission.paths import ROOT_VARIABLE


def run(command: str, arguments: Sequence[str]) -> None:
    """Run a command as the entry point of a Ray job; ends the process with the command's exit status.

    Ray starts the entry point in a temporary copy of what was uploaded. Files named on the command line are looked up
    there; relative paths inside a spec, and those that are not uploaded, mean the folder that `W2V2_RAY_ROOT` names.

    Args:
        command: `prepare`, `train`, `tune` or `evaluate`.
        arguments: As on the command line, without the command.
    """
    from w2v2_ray.cli.app import app

    arguments = [os.path.abspath(text) if os.path.isfile(text) else text for text in arguments]
    root = os.environ.get(ROOT_VARIABLE, "")
    if os.path.isdir(root):
        os.chdir(root)
    app([command, *arguments])


if __name__ == "__main__":
    run(sys.argv[1], sys.argv[2:])
