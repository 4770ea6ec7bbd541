"""Puts the published specs into the package when it is built; everything else is in pyproject.toml.

They stay where people look for them, in `jobs/` and `tune_spaces/`, and are nowhere twice.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

FOLDERS = ("jobs", "tune_spaces")


class BuildWithSpecs(build_py):
    """Copies the specs beside the modules; an editable installation reads those of the checkout."""

    def run(self) -> None:
        """Build the modules, then add the specs."""
        super().run()
        if self.editable_mode:
            return
        for folder in FOLDERS:
            target = Path(self.build_lib) / "w2v2_ray" / "published" / folder
            shutil.rmtree(target, ignore_errors=True)
            target.mkdir(parents=True)
            for file in sorted(Path(folder).glob("*.yaml")):
                shutil.copy2(file, target)


setup(cmdclass={"build_py": BuildWithSpecs})
