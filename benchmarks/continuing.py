"""Does pre-training go on where it was? From our own run, and through files in NVIDIA's and Hugging Face's form.

    python benchmarks/continuing.py --dataset DATASET --held-out DATASET --out WORK [--updates 400] [--further 100]

Pre-trains the `tiny` preset with the Hourglass and without, exports both (NVIDIA's form has the Hourglass,
Hugging Face's has not), goes on from every form, from the other network too, and beside it from random weights, with
the same draws. A second start goes on where the first stopped.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
from pathlib import Path

from w2v2_ray.run.folder import RunFolder, read_lines

_COMMAND = [sys.executable, "-c", "from w2v2_ray.cli.app import main; main()"]
_AT_ONCE = 10
"""Updates that a figure is the mean of: at first, and at the end."""
PLAIN = "model.encoder.hourglass=null"


def w2v2_ray(*arguments: str | Path) -> None:
    """Run the command as a user does."""
    print("$ w2v2-ray", *arguments, file=sys.stderr, flush=True)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run([*_COMMAND, *map(str, arguments)], check=True, stdout=sys.stderr, env=environment)


class Work:
    """Runs in a folder.

    Args:
        out: The folder.
        dataset: Audio to learn from.
        held_out: Audio to judge by.
    """

    def __init__(self, out: Path, dataset: Path, held_out: Path) -> None:
        self._out = out
        self._data = [f"data.train={dataset}", f"data.validation={held_out}"]

    def train(self, name: str, updates: int, *settings: str) -> RunFolder:
        """Pre-train."""
        spec = self._out / f"{name}.yaml"
        spec.write_text(f"kind: pretrain\npreset: tiny\nname: {name}\ndata: {{train: x}}\n")
        fixed = [f"storage_path={self._out / 'runs'}", f"updates={updates}", "elastic.max_workers=1", "worker.gpus=0"]
        options = [f"--set={one}" for one in (*self._data, *fixed, *settings)]
        w2v2_ray("train", spec, *options)
        return RunFolder(self._out / "runs" / name)

    def export(self, run: RunFolder, form: str, name: str) -> Path:
        """A model of a run in another form."""
        path = self._out / name
        if not path.exists():
            w2v2_ray("export", run.path, "--to", form, "--out", path)
        return path


def losses(run: RunFolder) -> tuple[float, float, float, float]:
    """Contrastive loss at first and at the end in bits, accuracy at the end, and held out."""
    records = list(read_lines(run.metrics))
    first, last = records[:_AT_ONCE], records[-_AT_ONCE:]
    held_out = [event["loss_contrastive"] for event in read_lines(run.events) if event["event"] == "validation"]
    return (
        statistics.mean(record["loss_contrastive"] for record in first),
        statistics.mean(record["loss_contrastive"] for record in last),
        statistics.mean(record["accuracy"] for record in last),
        held_out[-1],
    )


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", type=Path, required=True)
    parser.add_argument("--held-out", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--updates", type=int, default=400, help="of the run that is continued")
    parser.add_argument("--further", type=int, default=100)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    work = Work(args.out.resolve(), args.dataset.resolve(), args.held_out.resolve())
    hourglass = work.train("hourglass", args.updates)
    plain = work.train("plain", args.updates, PLAIN)
    starts: dict[str, tuple[str | None, list[str]]] = {
        "random weights": (None, []),
        "our run": (str(hourglass.path), []),
        "its file in NVIDIA's form": (str(work.export(hourglass, "nvidia", "nvidia.pt")), []),
        "our run without the Hourglass": (str(plain.path), [PLAIN]),
        "its folder in Hugging Face's form": (str(work.export(plain, "huggingface", "huggingface")), [PLAIN]),
        "the Hourglass, from the run without": (str(plain.path), []),
    }
    print(f"the runs continued, {args.updates} updates:", file=sys.stderr)
    rows = {f"(to be continued: {run.path.name})": losses(run) for run in (hourglass, plain)}
    for number, (name, (source, settings)) in enumerate(starts.items()):
        begin = [] if source is None else [f"pretrained={source}"]
        # No warm-up and the rate that the run ended below: what is there is not to be shaken.
        rate = ["optim.lr=1e-3", "optim.schedule.warmup_updates=1", "seed=7"]
        rows[name] = losses(work.train(f"further_{number}", args.further, *settings, *begin, *rate))
    print(f"| start | loss, first {_AT_ONCE} updates | last {_AT_ONCE} | accuracy | held out |")
    print("| --- | ---: | ---: | ---: | ---: |")
    for name, (first, last, accuracy, held_out) in rows.items():
        print(f"| {name} | {first:.2f} bits | {last:.2f} bits | {accuracy:.1%} | {held_out:.2f} bits |")


if __name__ == "__main__":
    main()
