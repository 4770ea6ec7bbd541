"""What a cluster runs for a submitted job: one of our commands, with paths that mean the same on every node."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path


def run(command: str, arguments: Sequence[str]) -> None:
    """Run a command as the entry point of a Ray job; ends the process with the command's exit status.

    Ray starts the entry point in a temporary copy of what was uploaded. Files that were uploaded are taken from there;
    other relative paths mean the folder that `W2V2_RAY_ROOT` names.

    Args:
        command: `prepare`, `train`, `tune` or `evaluate`.
        arguments: As on the command line, without the command.
    """
    from w2v2_ray.cli.app import app
    from w2v2_ray.cli.output import print_error
    from w2v2_ray.errors import W2v2RayError

    try:
        arguments = settle_paths(command, arguments)
    except W2v2RayError as error:
        print_error(error)
        sys.exit(error.exit_code)
    app([command, *arguments])


def settle_paths(command: str, arguments: Sequence[str]) -> list[str]:
    """Make uploaded files absolute, in the arguments and in the spec they name, and go to the shared folder.

    Raises:
        StorageError: When the shared folder is not there and the job needs it.
    """
    from w2v2_ray.errors import StorageError
    from w2v2_ray.orchestration.submission.paths import ROOT_VARIABLE, relative_paths, uploaded_files
    from w2v2_ray.spec.document import parse_yaml
    from w2v2_ray.spec.loading import load_job

    here = Path.cwd()
    settled: list[str] = []
    relative: dict[str, str] = {}
    for argument in arguments:
        if not os.path.isfile(argument):
            settled.append(argument)
            continue
        file = os.path.abspath(argument)
        settled.append(file)
        if command in ("train", "tune") and file.endswith((".yaml", ".yml")):
            found = list(uploaded_files(parse_yaml(Path(file).read_text(), argument).plain(), here))
            settled += [text for path, value in found for text in ("--set", f"{path}={value}")]
            relative |= relative_paths(load_job(file, _overrides([*settled, *arguments])).job)
    root = os.environ.get(ROOT_VARIABLE, "")
    if os.path.isdir(root):
        os.chdir(root)
    elif root and relative:
        field, path = next(iter(relative.items()))
        raise StorageError(
            f"{field}: {path} means {root}/{path}, but this node has no folder {root} ({ROOT_VARIABLE}); mount the "
            "shared file system there, name another folder (`w2v2-ray submit --root`, or `env "
            f"{ROOT_VARIABLE}=/shared python -m jobs.{command} ...` as entry point), or use absolute paths and URIs"
        )
    return settled


def _overrides(arguments: Sequence[str]) -> list[str]:
    return [value for option, value in pairwise(arguments) if option == "--set"]


if __name__ == "__main__":
    run(sys.argv[1], sys.argv[2:])
