"""A picture of a run: what was measured over the updates, on training and on held-out audio."""

from __future__ import annotations

from pathlib import Path

from w2v2_ray.errors import StorageError
from w2v2_ray.run.folder import RunFolder, read_lines

_PANELS = (
    ("loss", "loss"),
    ("accuracy", "accuracy of the pretext task"),
    ("code_perplexity", "code perplexity"),
    ("wer", "word error rate"),
    ("cer", "character error rate"),
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
    panels = [(name, title) for name, title in _PANELS if any(name in entry for entry in (*records[-1:], *held_out))]
    figure, axes = plt.subplots(1, len(panels), figsize=(13, 3.6), constrained_layout=True, squeeze=False)
    for axis, (name, title) in zip(axes[0], panels, strict=True):
        for entries, style, label in ((records, "-", "training"), (held_out, "o-", "validation")):
            measured = [entry for entry in entries if name in entry]
            if measured:
                axis.plot([e["update"] for e in measured], [e[name] for e in measured], style, lw=1, ms=3, label=label)
        axis.set_title(title)
        axis.set_xlabel("update")
        axis.grid(alpha=0.3)
    axes[0][0].legend()
    figure.suptitle(run.path.name)
    figure.savefig(out, dpi=110)
    plt.close(figure)
    return out
