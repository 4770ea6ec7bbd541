"""What is installed from a wheel works in an empty folder, published specs included."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
SPECS = [*sorted(REPOSITORY.glob("jobs/*.yaml")), *sorted(REPOSITORY.glob("tune_spaces/*.yaml"))]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of a wheel of this checkout, built from a copy, so that nothing is left in the checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    for name in ("pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "LICENSE"):
        shutil.copy(REPOSITORY / name, source)
    for name in ("w2v2_ray", "jobs", "tune_spaces"):
        shutil.copytree(REPOSITORY / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", str(folder)]
    done = subprocess.run([*build, str(source)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def command(site: Path, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """One of the installed commands, run where nothing of the checkout is."""
    program = f"import sys; sys.path.insert(0, {str(site)!r}); from w2v2_ray.cli.app import main; main()"
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run(
        [sys.executable, "-I", "-c", program, *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_wheel_has_every_published_spec_as_it_stands_in_the_checkout(installed):
    for file in SPECS:
        copy = installed / "w2v2_ray/published" / file.relative_to(REPOSITORY)
        assert copy.read_bytes() == file.read_bytes()
    assert not (installed / "jobs").exists()
    assert not list((installed / "w2v2_ray/published").rglob("*.py"))


@pytest.mark.parametrize(
    "arguments",
    [
        ("validate", "pretrain_base", "--no-paths"),
        ("validate", "jobs/pretrain_base.yaml", "--no-paths"),
        ("validate", "sweep_factors"),
        ("validate", "hourglass_factors"),
    ],
)
def test_published_specs_are_found_by_name_in_an_empty_folder(installed, tmp_path, arguments):
    done = command(installed, tmp_path, *arguments)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"{arguments[1]}: valid" in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_a_published_job_is_printed_to_begin_ones_own_with(installed, tmp_path):
    done = command(installed, tmp_path, "jobs", "pretrain_base")
    assert done.stdout == (REPOSITORY / "jobs/pretrain_base.yaml").read_text()
    listed = command(installed, tmp_path, "jobs").stdout
    assert {file.stem for file in SPECS} - {"runtime_env"} == {line.split()[0] for line in listed.splitlines()}


def test_a_file_of_ones_own_comes_before_a_published_one(installed, tmp_path):
    (tmp_path / "jobs").mkdir()
    (tmp_path / "jobs/pretrain_base.yaml").write_text("kind: pretrain\nname: mine\ndata: {train: a}\n")
    done = command(installed, tmp_path, "validate", "jobs/pretrain_base.yaml", "--no-paths")
    assert "pretrain job mine" in done.stdout
