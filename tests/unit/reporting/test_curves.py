"""The picture of a run."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest

from w2v2_ray.errors import StorageError
from w2v2_ray.reporting.curves import plot_run
from w2v2_ray.run.folder import RunFolder, append_line


def run_of(path: Path, losses: list[float], *, validated: bool = True) -> RunFolder:
    run = RunFolder(path)
    run.create()
    for update, loss in enumerate(losses, 1):
        append_line(run.metrics, {"update": update, "loss": loss, "accuracy": 1 / (loss + 1), "code_perplexity": loss})
        if validated and update % 5 == 0:
            run.event("validation", update=update, loss=loss, accuracy=0.5, code_perplexity=3.0)
    run.event("end", update=len(losses))
    return run


def pixels(path: Path) -> np.ndarray:
    mpl.use("Agg")
    from matplotlib import image

    return np.asarray(image.imread(path))


def test_the_picture_shows_the_runs_own_curves(tmp_path: Path):
    falling = plot_run(run_of(tmp_path / "a" / "run", [7 - 0.1 * n for n in range(20)]), tmp_path / "falling.png")
    rising = plot_run(run_of(tmp_path / "b" / "run", [5 + 0.1 * n for n in range(20)]), tmp_path / "rising.png")
    assert falling.read_bytes().startswith(b"\x89PNG")
    first, second = pixels(falling), pixels(rising)
    assert first.shape == second.shape
    assert first.shape[0] > 300
    assert first.shape[1] > 1000
    assert np.unique(first.reshape(-1, first.shape[-1]), axis=0).shape[0] > 20
    for panel in np.array_split(np.abs(first - second).sum(axis=-1), 3, axis=1):
        assert np.count_nonzero(panel) > 100


def test_validation_is_drawn_where_there_was_any(tmp_path: Path):
    losses = [7 - 0.1 * n for n in range(20)]
    with_it = plot_run(run_of(tmp_path / "a" / "run", losses), tmp_path / "with.png")
    without = plot_run(run_of(tmp_path / "b" / "run", losses, validated=False), tmp_path / "without.png")
    assert np.abs(pixels(with_it) - pixels(without)).sum() > 0


def test_a_run_with_a_loss_that_is_no_number_is_drawn_all_the_same(tmp_path: Path):
    assert plot_run(run_of(tmp_path / "run", [6.0, float("nan"), 5.0]), tmp_path / "out.png").stat().st_size > 5_000


def test_a_run_without_metrics_is_named_with_the_remedy(tmp_path: Path):
    with pytest.raises(StorageError, match=r"run/metrics\.jsonl: no metrics to plot; train the run first"):
        plot_run(run_of(tmp_path / "run", []), tmp_path / "out.png")
