"""A picture of a run: loss, accuracy and code perplexity over the updates."""

from __future__ import annotations

from pathlib import Path

from w2v2_ray.engine.run_folder import RunFolder, read_lines
from w2v2_ray.errors import StorageError

_PANELS = (
    ("loss", "loss (bits per masked frame)"),
    ("accuracy", "accuracy of the pretext task"),
    ("code_perplexity", "code perplexity"),
)


def plot_run(run: RunFolder, out: Path) -> Path:
    """Draw a run's training and validation curves as a PNG.

    Raises:
        StorageError: When the run has no metrics yet.
    """
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    records = list(read_lines(run.metrics))
    if not records:
        raise StorageError(f"{run.metrics}: no metrics to plot; train the run first")
    held_out = [event for event in read_lines(run.events) if event["event"] == "validation"]
    figure, axes = plt.subplots(1, len(_PANELS), figsize=(13, 3.6), constrained_layout=True)
    for axis, (name, title) in zip(axes, _PANELS, strict=True):
        axis.plot([r["update"] for r in records], [r[name] for r in records], lw=1, label="training")
        if held_out:
            axis.plot([e["update"] for e in held_out], [e[name] for e in held_out], "o-", ms=3, label="validation")
        axis.set_title(title)
        axis.set_xlabel("update")
        axis.grid(alpha=0.3)
    axes[0].legend()
    figure.suptitle(run.path.name)
    figure.savefig(out, dpi=110)
    plt.close(figure)
    return out
