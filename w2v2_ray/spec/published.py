"""The specs that come with the package: `jobs/` and `tune_spaces/` of a checkout, a copy of them when installed."""

from __future__ import annotations

from pathlib import Path

FOLDERS = ("jobs", "tune_spaces")
NOT_SPECS = ("runtime_env.yaml",)
_PACKAGE = Path(__file__).resolve().parents[1]


def published_folder(name: str, package: Path = _PACKAGE) -> Path:
    """Where specs of the package are: beside it in a checkout, in it when it was installed.

    Args:
        name: `jobs` or `tune_spaces`.
        package: The package's folder.
    """
    installed = package / "published" / name
    return installed if installed.is_dir() else package.parent / name


def published_specs(folder: str = "jobs", package: Path = _PACKAGE) -> dict[str, Path]:
    """Spec files of the package by name, without suffix.

    Args:
        folder: `jobs` or `tune_spaces`.
        package: The package's folder.
    """
    files = sorted(published_folder(folder, package).glob("*.yaml"))
    return {file.stem: file for file in files if file.name not in NOT_SPECS}


def spec_file(path: Path, package: Path = _PACKAGE) -> Path:
    """The file that a path means: itself, or, where there is none, one of the package with that name.

    `pretrain_base`, `pretrain_base.yaml` and `jobs/pretrain_base.yaml` all mean the published job; what specs of the
    package say of each other is found so, too.

    Args:
        path: As the user wrote it.
        package: The package's folder.
    """
    if path.is_absolute() or path.exists() or path.suffix not in ("", ".yaml"):
        return path
    folders = FOLDERS if path.parent == Path() else (str(path.parent),)
    for folder in folders:
        found = published_specs(folder, package).get(path.stem) if folder in FOLDERS else None
        if found is not None:
            return found
    return path
