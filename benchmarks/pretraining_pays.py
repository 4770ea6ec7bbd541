"""Does pre-training pay? Fine-tune from random weights and from a model pre-trained here, same budget, several seeds.

Labelled speech is AN4 (`--labelled FOLDER` with train.tsv, train.ltr, dev.tsv, dev.ltr) or, with `--labelled prompts`,
the English prompts of Debian's asterisk-core-sounds-en-wav, whose texts are in asterisk-core-sounds-en. Pre-training
hears the labelled training audio and every prompt under `--prompts`, in five languages:

    for l in en es fr it ru; do apt-get download asterisk-core-sounds-$l-wav; done
    apt-get download asterisk-core-sounds-en
    for f in *.deb; do dpkg -x $f prompts; done
    python benchmarks/pretraining_pays.py --labelled prompts --prompts prompts --out work

Everything runs through `w2v2-ray`; a second start goes on where the first stopped. Prints a table, draws a plot.
"""

from __future__ import annotations

import argparse
import gzip
import json
import re
import statistics
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from w2v2_ray.run.folder import RunFolder, read_lines
from w2v2_ray.spec.loading import dump_yaml

_COMMAND = [sys.executable, "-c", "from w2v2_ray.cli.app import main; main()"]
_EVERY = 10
"""One prompt in so many is held out."""
_NOT_SPEECH = re.compile(r"[\[\]<>(){}0-9#*&/]")
"""What texts of beeps, digits and placeholders hold; those prompts are not used."""
_TEXTS = "usr/share/doc/asterisk-core-sounds-en/core-sounds-en.txt.gz"
_SOUNDS = "usr/share/asterisk/sounds"
_ENGLISH = f"{_SOUNDS}/en_US_f_Allison"


@dataclass
class Outcome:
    """One fine-tuning run."""

    start: str
    seed: int
    wer: float
    cer: float
    curve: list[tuple[int, float]]
    minutes: float


def w2v2_ray(*arguments: str | Path) -> None:
    """Run the command as a user does."""
    print("$ w2v2-ray", *arguments, flush=True)
    subprocess.run([*_COMMAND, *map(str, arguments)], check=True)


def prepare(source: Path, out: Path) -> Path:
    """Pack a dataset, once."""
    if not (out / "dataset.json").exists():
        w2v2_ray("prepare", source, "--out", out, "--max-rejects", "0.2")
    return out


def english_prompts(prompts: Path, folder: Path) -> tuple[Path, Path]:
    """Manifests of the English prompts with their texts: training and held-out part."""
    with gzip.open(prompts / _TEXTS, "rt", encoding="utf-8") as file:
        texts = dict(line.strip().split(": ", 1) for line in file if ": " in line and not line.startswith(";"))
    entries = []
    for name, text in sorted(texts.items()):
        audio = (prompts / _ENGLISH / f"{name}.wav").resolve()
        if audio.exists() and not _NOT_SPEECH.search(text):
            spoken = re.sub(r"[^A-Za-z' ]+", " ", text)
            entries.append({"audio_filepath": str(audio), "text": " ".join(spoken.split())})
    folder.mkdir(parents=True, exist_ok=True)
    manifests = folder / "prompts_train.jsonl", folder / "prompts_dev.jsonl"
    held_out = entries[::_EVERY]
    for path, part in zip(manifests, ([e for e in entries if e not in held_out], held_out), strict=True):
        path.write_text("".join(json.dumps(entry) + "\n" for entry in part))
    return manifests


def unlabelled_prompts(prompts: Path, folder: Path, *, without: tuple[Path, ...]) -> Path:
    """A manifest of all prompts but those of other manifests: held-out audio is not heard in pre-training either."""
    named = {json.loads(line)["audio_filepath"] for m in without if m.suffix == ".jsonl" for line in m.open()}
    files = (str(path.resolve()) for path in sorted((prompts / _SOUNDS).rglob("*.wav")))
    out = folder / "prompts_unlabelled.jsonl"
    out.write_text("".join(json.dumps({"audio_filepath": path}) + "\n" for path in files if path not in named))
    return out


def write_job(path: Path, job: dict[str, Any]) -> Path:
    """Write a job spec."""
    path.write_text(dump_yaml(job))
    return path


def pretrain(args: argparse.Namespace, datasets: list[Path]) -> Path:
    """Pre-train on everything; the run's folder."""
    job = {
        "kind": "pretrain",
        "preset": "tiny",
        "name": "pretrain",
        "storage_path": str(args.out / "runs"),
        "data": {"train": [str(dataset) for dataset in datasets]},
        "batch": {"min_samples": 12_000},
        "updates": args.pretrain_updates,
        "elastic": {"min_workers": args.workers, "max_workers": args.workers},
        "checkpoint": {"every_updates": 500},
    }
    w2v2_ray("train", write_job(args.out / "pretrain.yaml", job))
    return Path(args.out) / "runs" / "pretrain"


def finetune(args: argparse.Namespace, train: Path, dev: Path, start: str, source: Path, seed: int) -> Outcome:
    """Fine-tune once; the same job but for where it begins."""
    name = f"{start}_{seed}"
    job: dict[str, Any] = {
        "kind": "finetune",
        "preset": "tiny",
        "name": name,
        "seed": seed,
        "storage_path": str(args.out / "runs"),
        "data": {"train": str(train), "validation": str(dev)},
        "updates": args.finetune_updates,
        "elastic": {"min_workers": args.workers, "max_workers": args.workers},
    }
    if start == "pretrained":
        job["pretrained"] = str(source)
    else:
        spec = RunFolder(source).spec
        from w2v2_ray.spec.job import PretrainJob
        from w2v2_ray.spec.loading import load_job_of

        job["model"] = load_job_of(PretrainJob, spec).job.model.model_dump(mode="json")
    started = time.monotonic()
    w2v2_ray("train", write_job(args.out / f"{name}.yaml", job))
    minutes = (time.monotonic() - started) / 60
    events = [e for e in read_lines(RunFolder(args.out / "runs" / name).events) if e["event"] == "validation"]
    best = min(events, key=lambda event: event["wer"])
    return Outcome(start, seed, best["wer"], best["cer"], [(e["update"], e["wer"]) for e in events], minutes)


def plot(outcomes: list[Outcome], out: Path) -> None:
    """Held-out WER against updates, one line a run."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    colours = {"random": "tab:gray", "pretrained": "tab:blue"}
    figure, axis = plt.subplots(figsize=(7, 4), constrained_layout=True)
    seen: set[str] = set()
    for outcome in outcomes:
        updates, wers = zip(*outcome.curve, strict=True)
        label = None if outcome.start in seen else {"random": "random weights", "pretrained": "pre-trained"}
        seen.add(outcome.start)
        axis.plot(updates, wers, "o-", ms=3, color=colours[outcome.start], label=label and label[outcome.start])
    axis.set(xlabel="fine-tuning update", ylabel="held-out WER, greedy", ylim=(0, None))
    axis.grid(alpha=0.3)
    axis.legend()
    figure.savefig(out, dpi=110)


def table(outcomes: list[Outcome]) -> str:
    """Markdown: best held-out WER and CER of every run, and the mean of each start."""
    lines = ["| start | seed | WER | CER | minutes |", "| --- | --- | --- | --- | --- |"]
    lines += [f"| {o.start} | {o.seed} | {o.wer:.1%} | {o.cer:.1%} | {o.minutes:.1f} |" for o in outcomes]
    for start in dict.fromkeys(o.start for o in outcomes):
        own = [o for o in outcomes if o.start == start]
        wer, cer = (statistics.mean(getattr(o, name) for o in own) for name in ("wer", "cer"))
        lines.append(f"| **{start}** | mean of {len(own)} | **{wer:.1%}** | **{cer:.1%}** | |")
    return "\n".join(lines)


def main() -> None:
    """Run the experiment."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--labelled", required=True, help="folder of AN4's manifests, or `prompts`")
    parser.add_argument("--prompts", type=Path, help="folder into which the Debian packages were unpacked")
    parser.add_argument("--out", type=Path, required=True, help="working folder")
    parser.add_argument("--pretrain-updates", type=int, default=2_000)
    parser.add_argument("--finetune-updates", type=int, default=600)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--plot", type=Path)
    args = parser.parse_args()
    args.out = args.out.resolve()
    args.out.mkdir(parents=True, exist_ok=True)
    if args.labelled == "prompts":
        manifests = english_prompts(args.prompts, args.out)
    else:
        manifests = Path(args.labelled) / "train.tsv", Path(args.labelled) / "dev.tsv"
    train = prepare(manifests[0], args.out / "train")
    dev = prepare(manifests[1], args.out / "dev")
    heard = [train]
    if args.prompts is not None:
        heard.append(prepare(unlabelled_prompts(args.prompts, args.out, without=manifests), args.out / "prompts"))
    source = pretrain(args, heard)
    outcomes = [
        finetune(args, train, dev, start, source, seed) for seed in args.seeds for start in ("random", "pretrained")
    ]
    (args.out / "outcomes.json").write_text(json.dumps([asdict(o) for o in outcomes], indent=1))
    print(table(outcomes))
    if args.plot is not None:
        plot(outcomes, args.plot)


if __name__ == "__main__":
    main()
