"""One command for a cluster: checked here, before anything is sent."""

from __future__ import annotations

import hashlib
import os
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from w2v2_ray.errors import SpecError, UserError
from w2v2_ray.orchestration.submission.paths import ROOT_VARIABLE, relative_paths
from w2v2_ray.orchestration.submission.upload import DEFAULT_EXCLUDES, Upload, measure
from w2v2_ray.spec.job import Job, TrainJob

RUNTIME_ENV_FILE = "jobs/runtime_env.yaml"
"""Looked for in the working directory."""
DEFAULT_LIMIT_MIB = 64.0
IN_PLACE = "local://"
_ENTRY_MODULE = "w2v2_ray.cli.job_entry"
_NAME_CHARACTERS = 60


@dataclass(frozen=True)
class JobRequest:
    """What is sent.

    Args:
        run: Tells runs apart, on one cluster: storage path and name, or the whole command.
        name: Short name of it, for people.
        entrypoint: Shell command.
        runtime_env: Ray's runtime environment, working directory included.
        upload: What the working directory holds.
    """

    run: str
    name: str
    entrypoint: str
    runtime_env: dict[str, Any]
    upload: Upload

    def submission_id(self, attempt: int) -> str:
        """The same for the same run and attempt, so that of two who submit at once the server refuses one."""
        readable = re.sub(r"[^A-Za-z0-9_.-]", "-", self.name)[:_NAME_CHARACTERS]
        return f"{readable}-{hashlib.sha256(self.run.encode()).hexdigest()[:8]}-{attempt}"


@dataclass(frozen=True)
class Surroundings:
    """Where jobs are sent from, and what they find on the cluster.

    Args:
        working_dir: Uploaded, unless it is in place.
        runtime_env: Ray's runtime environment, without the working directory.
        max_upload_mib: Limit of the upload.
        in_place: Every node has the working directory already, under the same path; nothing is sent.
    """

    working_dir: Path
    runtime_env: dict[str, Any]
    max_upload_mib: float = DEFAULT_LIMIT_MIB
    in_place: bool = False

    @property
    def root(self) -> str:
        """The folder that relative paths mean on the cluster; empty when there is none."""
        return str(self.runtime_env.get("env_vars", {}).get(ROOT_VARIABLE, ""))

    def request(self, run: str, name: str, arguments: Sequence[str]) -> JobRequest:
        """Put a request together.

        Raises:
            UserError: When the upload is too big.
        """
        environment = {"excludes": list(DEFAULT_EXCLUDES), **self.runtime_env, "working_dir": str(self.working_dir)}
        if self.in_place:
            environment["working_dir"] = f"{IN_PLACE}{self.working_dir}"
            upload = Upload(self.working_dir, {})
        else:
            upload = measure(self.working_dir, environment["excludes"])
            upload.check(self.max_upload_mib)
        entrypoint = shlex.join(["python", "-m", _ENTRY_MODULE, *arguments])
        return JobRequest(run, name, entrypoint, environment, upload)


def surroundings(
    working_dir: str, runtime_env: Path | None, root: str | None, max_upload_mib: float = DEFAULT_LIMIT_MIB
) -> Surroundings:
    """Read what jobs find on the cluster.

    Args:
        working_dir: Folder to upload, or `local://` and the absolute path of one that every node has.
        runtime_env: YAML file of Ray's runtime environment; None takes `jobs/runtime_env.yaml` where it exists.
        root: Folder that relative paths mean on the cluster; None leaves what the file says.
        max_upload_mib: Limit of the upload.

    Raises:
        UserError: When the file is not a runtime environment.
    """
    in_place = working_dir.startswith(IN_PLACE)
    folder = Path(working_dir.removeprefix(IN_PLACE))
    if in_place and not folder.is_absolute():
        raise UserError(f"--working-dir {working_dir}: an absolute path is wanted, such as {IN_PLACE}/opt/w2v2-ray")
    default = folder / RUNTIME_ENV_FILE
    file = runtime_env or (default if default.is_file() else None)
    environment = _read_runtime_env(file) if file is not None else {}
    if root is not None:
        environment["env_vars"] = {**environment.get("env_vars", {}), ROOT_VARIABLE: root}
    return Surroundings(folder.absolute(), environment, max_upload_mib, in_place)


def _read_runtime_env(file: Path) -> dict[str, Any]:
    from ray.runtime_env import RuntimeEnv

    try:
        content = YAML(typ="safe").load(file)
        if not isinstance(content, dict):
            raise ValueError("a mapping is wanted, such as `env_vars: {...}`")
        RuntimeEnv(**{key: value for key, value in content.items() if key != "excludes"})
    except (OSError, YAMLError, ValueError, TypeError) as error:
        raise UserError(f"{file}: not a Ray runtime environment: {' '.join(str(error).split())}") from error
    return content


def job_request(place: Surroundings, file: Path, job: Job, overrides: Sequence[str]) -> JobRequest:
    """The request that runs a job spec.

    Args:
        place: Where from.
        file: The spec.
        job: The same, loaded.
        overrides: Its `--set` options.

    Raises:
        SpecError: When the cluster would not find the spec or what it names.
        UserError: When the upload is too big.
    """
    relative = relative_paths(job)
    if relative and not place.root:
        fields = ", ".join(f"{field}: {path}" for field, path in relative.items())
        raise SpecError(
            f"{file}: {fields}: relative, and on the cluster a job starts in a temporary folder; write absolute paths "
            f"on a file system that every node sees, or URIs, or name the folder they are relative to: --root /shared, "
            f"or {ROOT_VARIABLE} under `env_vars` in {RUNTIME_ENV_FILE}"
        )
    name = os.path.relpath(file.absolute(), place.working_dir)
    if name.startswith(".."):
        raise SpecError(
            f"{file}: lies outside the working directory {place.working_dir}, so the cluster would not have it; move "
            "it there or give another --working-dir"
        )
    command = "train" if isinstance(job, TrainJob) else "tune"
    options = [text for override in overrides for text in ("--set", override)]
    storage = getattr(job, "storage_path", "")
    whole = storage if "storage_path" not in relative else os.path.join(place.root, storage)
    request = place.request(f"{whole.rstrip('/')}/{job.name}", job.name, [command, name, *options])
    if not place.in_place and Path(name).as_posix() not in request.upload.sizes:
        raise SpecError(
            f"{file}: is left out of the upload by `excludes`, .gitignore or .rayignore, so the cluster would not have "
            "it; move it, jobs/ for one is sent"
        )
    return request


def command_request(place: Surroundings, command: str, arguments: Sequence[str]) -> JobRequest:
    """The request that runs `prepare` or `evaluate`; relative paths in the arguments mean the cluster's shared folder.

    Raises:
        UserError: When the upload is too big.
    """
    return place.request(shlex.join([command, place.root, *arguments]), command, [command, *arguments])
