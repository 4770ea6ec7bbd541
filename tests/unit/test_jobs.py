"""Every spec file in the repository loads."""

from __future__ import annotations

from pathlib import Path

import pytest

from w2v2_ray.spec.loading import load_job, load_job_text

REPOSITORY = Path(__file__).resolve().parents[2]
RUNTIME_ENV = REPOSITORY / "jobs/runtime_env.yaml"
"""What a submitted job finds on a cluster; no job itself."""
FILES = sorted({*REPOSITORY.glob("jobs/*.yaml"), *REPOSITORY.glob("tune_spaces/*.yaml")} - {RUNTIME_ENV})


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_the_file_loads_without_warnings(path):
    loaded = load_job(path)
    assert loaded.warnings == ()
    assert loaded.job.name


def test_the_files_of_the_product_are_there():
    names = {path.name for path in FILES}
    assert {"pretrain_base.yaml", "pretrain_large.yaml", "demo_pretrain.yaml"} <= names


@pytest.mark.parametrize(("name", "preset"), [("pretrain_base", "base"), ("pretrain_large", "large")])
def test_the_published_jobs_are_small_differences_to_their_preset(name, preset):
    job = load_job(REPOSITORY / "jobs" / f"{name}.yaml").job
    text = f"kind: pretrain\npreset: {preset}\nname: x\ndata: {{train: a}}\n"
    recipe = load_job_text(text, "preset").job
    for part in ("model", "loss", "batch", "optim", "updates"):
        assert getattr(job, part) == getattr(recipe, part)
