"""What it learns: the experiments of LEARNING.md on real speech, all through `w2v2-ray`, each run once.

    python benchmarks/learning.py augmentation pretraining hourglass --speech FOLDER --out WORK

FOLDER holds `an4/{train,dev}.jsonl` (NeMo manifests), `mini_librispeech/{train,dev}` (LibriSpeech's layout) and
`ljspeech` (its own). A second start goes on where the first stopped; two trainings of one thread run side by side
(`--parallel`). Scores are those of `w2v2-ray evaluate`, greedy, on the dev parts; tables go to WORK/NAME.md.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import soundfile

from w2v2_ray.spec.job import PretrainJob
from w2v2_ray.spec.loading import dump_yaml, load_job_text

Job = dict[str, Any]

_COMMAND = [sys.executable, "-c", "from w2v2_ray.cli.app import main; main()"]
_SEEDS = (1, 2, 3)
_UNLABELLED = ("an4_train", "mini_train", "lj")
_LABELS: dict[str, tuple[int | None, ...]] = {"an4": (10, 20, None), "mini": (10, 60, None)}
"""Minutes of labels; None takes all."""
_UPDATES = {10: 600, 20: 900, 60: 1200, None: 1500}
"""Fine-tuning updates by minutes of labels: as many for every start and factor."""

_CONTINUED_UPDATES = 600
FACTORS = ("none", "2", "3", "4")

AUGMENTATIONS: dict[str, Job] = {
    "none": {},
    "speed": {"augmentation": {"speed": {}}},
    "noise": {"augmentation": {"noise": {}}},
    "rooms": {"augmentation": {"reverberation": {}}},
    "other voices": {"augmentation": {"overlap": {}}},
    "waveform masks": {"augmentation": {"waveform_mask": {}}},
    "more frame masks": {"masking": {"probability": 0.5}},
    "two views": {"regularisation": {"consistency": 0.2}},
    "two views, more masks": {"regularisation": {"consistency": 0.2}, "masking": {"probability": 0.6}},
    "speed, two views, more masks": {
        "augmentation": {"speed": {}},
        "regularisation": {"consistency": 0.2},
        "masking": {"probability": 0.6},
    },
}
"""What is added to plain fine-tuning, one row of the table each."""


@dataclass(frozen=True)
class Outcome:
    """A finished run and what it scored."""

    name: str
    wer: float
    cer: float
    loss: float
    minutes: float


@dataclass(frozen=True)
class Bench:
    """Where everything is.

    Attributes:
        speech: The corpora.
        out: The working folder.
        parallel: Trainings at a time.
        seeds: Of every row.
        updates: Of fine-tuning on all labels; fewer for smaller machines.
        factors: Of the Hourglass, as texts.
    """

    speech: Path
    out: Path
    parallel: int
    seeds: tuple[int, ...] = _SEEDS
    updates: int = _UPDATES[None]
    factors: tuple[str, ...] = FACTORS

    def dataset(self, name: str) -> str:
        """A prepared dataset's folder."""
        return str(self.out / "datasets" / name)

    def run(self, name: str) -> Path:
        """A run's folder."""
        return self.out / "runs" / name


def w2v2_ray(bench: Bench, *arguments: str | Path, log: str) -> str:
    """Run the command as a user does; what it prints on stdout."""
    logs = bench.out / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    with (logs / f"{log}.log").open("a") as file:
        environment = {**os.environ, "OMP_NUM_THREADS": "1"} if bench.parallel > 1 else None
        done = subprocess.run(
            [*_COMMAND, *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=file,
            text=True,
            env=environment,
            check=True,
        )
        file.write(done.stdout)
    return done.stdout


def utterances(bench: Bench, corpus: str, split: str) -> list[Job]:
    """NeMo entries of a corpus with transcripts, in the order of its files."""
    if corpus == "an4":
        folder = bench.speech / "an4"
        entries = [json.loads(line) for line in (folder / f"{split}.jsonl").open(encoding="utf-8")]
        return [{**entry, "audio_filepath": str((folder / entry["audio_filepath"]).resolve())} for entry in entries]
    found = []
    for transcripts in sorted((bench.speech / "mini_librispeech" / split).rglob("*.trans.txt")):
        for line in transcripts.read_text(encoding="utf-8").splitlines():
            name, _, text = line.partition(" ")
            audio = transcripts.parent / f"{name}.ogg"
            found.append({"audio_filepath": str(audio), "duration": soundfile.info(audio).duration, "text": text})
    return found


def prepare(bench: Bench) -> None:
    """Pack every dataset and subset, once. A subset of fewer minutes lies within that of more."""
    sources: dict[str, Path] = {"lj": bench.speech / "ljspeech"}
    manifests = bench.out / "manifests"
    manifests.mkdir(parents=True, exist_ok=True)
    for corpus, sizes in _LABELS.items():
        for split, minutes in [("dev", None), *(("train", size) for size in sizes)]:
            entries = utterances(bench, corpus, split)
            if minutes is not None:
                random.Random(corpus).shuffle(entries)
                entries = list(_first(entries, minutes * 60))
            name = subset(corpus, minutes) if split == "train" else f"{corpus}_dev"
            sources[name] = manifests / f"{name}.jsonl"
            sources[name].write_text("".join(json.dumps(entry) + "\n" for entry in entries), encoding="utf-8")
    for name, source in sources.items():
        if not (Path(bench.dataset(name)) / "dataset.json").exists():
            w2v2_ray(bench, "prepare", source, "--out", bench.dataset(name), log="prepare")


def _first(entries: Iterable[Job], seconds: float) -> Iterable[Job]:
    for entry in entries:
        seconds -= entry["duration"]
        if seconds < 0:
            return
        yield entry


def subset(corpus: str, minutes: int | None) -> str:
    """Name of a labelled training set."""
    return f"{corpus}_train" if minutes is None else f"{corpus}_train_{minutes}min"


def pretrain_job(bench: Bench, name: str, seed: int, **changes: Any) -> Job:
    """Pre-training on everything that may be heard, texts unseen."""
    job: Job = {
        "kind": "pretrain",
        "preset": "small",
        "name": name,
        "seed": seed,
        "storage_path": str(bench.out / "runs"),
        "data": {
            "train": [bench.dataset(part) for part in _UNLABELLED],
            "validation": [bench.dataset("an4_dev"), bench.dataset("mini_dev")],
        },
        "worker": {"cpus": 1, "gpus": 0},
        **changes,
    }
    return job


def finetune_job(bench: Bench, name: str, corpus: str, minutes: int | None, seed: int, **changes: Any) -> Job:
    """Fine-tuning, from random weights unless the changes name a model."""
    updates = bench.updates if minutes is None else _UPDATES[minutes]
    job: Job = {
        "kind": "finetune",
        "preset": "small",
        "name": name,
        "seed": seed,
        "storage_path": str(bench.out / "runs"),
        "data": {"train": bench.dataset(subset(corpus, minutes)), "validation": bench.dataset(f"{corpus}_dev")},
        "updates": updates,
        "optim": {
            "schedule": {"policy": "poly", "warmup_updates": updates // 12, "hold_updates": updates // 4},
        },
        "worker": {"cpus": 1, "gpus": 0},
    }
    return {**job, **changes}


def train(bench: Bench, job: Job) -> Outcome:
    """Train a job to its end and score it, unless that has been done."""
    name = job["name"]
    scores = bench.out / "scores" / f"{name}.json"
    if not scores.exists():
        specs = bench.out / "specs"
        specs.mkdir(parents=True, exist_ok=True)
        spec = specs / f"{name}.yaml"
        spec.write_text(dump_yaml(job), encoding="utf-8")
        w2v2_ray(bench, "train", spec, log=name)
        scores.parent.mkdir(exist_ok=True)
        scored = _judged(bench, job) if job["kind"] == "finetune" else _held_out(bench.run(name))
        scores.write_text(json.dumps({**scored, "minutes": _minutes(bench.run(name))}), encoding="utf-8")
        print(f"{name}: {scores.read_text()}", flush=True)
    found = json.loads(scores.read_text())
    return Outcome(name, found.get("wer", 0.0), found.get("cer", 0.0), found.get("loss", 0.0), found["minutes"])


def _judged(bench: Bench, job: Job) -> Job:
    run, dev = bench.run(job["name"]), job["data"]["validation"]
    found = json.loads(w2v2_ray(bench, "evaluate", run, dev, "--json", log=job["name"]))
    return {"wer": found["wer"], "cer": found["cer"]}


def _held_out(run: Path) -> Job:
    """The last validation of a pre-training run."""
    events = [json.loads(line) for line in (run / "events.jsonl").open(encoding="utf-8")]
    return {"loss": [event for event in events if event["event"] == "validation"][-1]["loss"]}


def _minutes(run: Path) -> float:
    """What its updates took, without start-up, validation and checkpoints."""
    records = [json.loads(line) for line in (run / "metrics.jsonl").open(encoding="utf-8")]
    return float(sum(record["update_s"] for record in records)) / 60


def train_all(bench: Bench, jobs: list[Job]) -> list[Outcome]:
    """Train jobs side by side; outcomes in their order."""
    with ThreadPoolExecutor(bench.parallel) as pool:
        return list(pool.map(partial(train, bench), jobs))


def augmentation(bench: Bench) -> str:
    """Plain fine-tuning on AN4 from random weights, and each change by itself."""
    jobs = [
        finetune_job(bench, f"augmentation_{key.replace(', ', '_').replace(' ', '_')}_{seed}", "an4", None, seed, **{
            "augmentation": {}, "regularisation": {"consistency": 0.0}, "masking": {"probability": 0.3}, **changes
        }, model=small_model())
        for key, changes in AUGMENTATIONS.items()
        for seed in _SEEDS[:2]
    ]  # fmt: skip
    outcomes = train_all(bench, jobs)
    rows = ["| added | WER, each seed | mean | minutes |", "| --- | --- | --- | --- |"]
    for number, key in enumerate(AUGMENTATIONS):
        own = outcomes[number * 2 : number * 2 + 2]
        rows.append(f"| {key} | {_each(own)} | {_mean(own):.1%} | {statistics.mean(o.minutes for o in own):.1f} |")
    return "\n".join(rows)


def pretraining(bench: Bench) -> str:
    """Random, pre-trained, and pre-trained then continued on the target: three seeds, three amounts of labels."""
    train_all(bench, [pretrain_job(bench, f"pretrained_{seed}", seed) for seed in bench.seeds])
    train_all(bench, [_continued_job(bench, corpus, seed) for corpus in _LABELS for seed in bench.seeds])
    starts: dict[str, Callable[[int, str], Job]] = {
        "random": lambda seed, corpus: {"model": small_model()},
        "pretrained": lambda seed, corpus: {"pretrained": str(bench.run(f"pretrained_{seed}"))},
        "continued": lambda seed, corpus: {"pretrained": str(bench.run(f"continued_{corpus}_{seed}"))},
    }
    rows = ["| corpus | labels | start | WER, each seed | mean | sd |", "| --- | --- | --- | --- | --- | --- |"]
    for corpus, sizes in _LABELS.items():
        for minutes in sizes:
            jobs = [
                finetune_job(
                    bench, f"{subset(corpus, minutes)}_{start}_{seed}", corpus, minutes, seed, **make(seed, corpus)
                )
                for start, make in starts.items()
                for seed in bench.seeds
            ]
            outcomes = train_all(bench, jobs)
            labels = "all" if minutes is None else f"{minutes} min"
            for number, start in enumerate(starts):
                own = outcomes[number * len(bench.seeds) : (number + 1) * len(bench.seeds)]
                rows.append(f"| {corpus} | {labels} | {start} | {_each(own)} | {_mean(own):.1%} | {_spread(own)} |")
    return "\n".join(rows)


def _continued_job(bench: Bench, corpus: str, seed: int) -> Job:
    """Pre-training that goes on, on the target's audio alone."""
    return pretrain_job(
        bench,
        f"continued_{corpus}_{seed}",
        seed,
        pretrained=str(bench.run(f"pretrained_{seed}")),
        data={"train": bench.dataset(f"{corpus}_train"), "validation": bench.dataset(f"{corpus}_dev")},
        updates=_CONTINUED_UPDATES,
        optim={"lr": 5e-4, "schedule": {"policy": "poly", "warmup_updates": _CONTINUED_UPDATES // 12}},
    )


def hourglass(bench: Bench) -> str:
    """No Hourglass and factors 2 to 4 at equal updates, from random weights on all of AN4's labels."""
    factors = {key: {} if key == "none" else _factor(key) for key in bench.factors}
    rows: dict[tuple[str, int], Job] = {
        (key, seed): finetune_job(
            bench, f"hourglass_{key}_{seed}", "an4", None, seed, model=small_model(hourglass=factor or None)
        )
        for seed in bench.seeds  # the first of each factor first: a run that is stopped compares what it has
        for key, factor in factors.items()
    }
    outcomes = dict(zip(rows, train_all(bench, list(rows.values())), strict=True))
    table = ["| factor | WER, each seed | mean | sd | minutes |", "| --- | --- | --- | --- | --- |"]
    for key in factors:
        own = [outcomes[key, seed] for seed in bench.seeds]
        minutes = statistics.mean(o.minutes for o in own)
        table.append(f"| {key} | {_each(own)} | {_mean(own):.1%} | {_spread(own)} | {minutes:.1f} |")
    return "\n".join(table)


def _factor(key: str) -> Job:
    """A key says the factor, `2@0.1` the `initial_gain` too."""
    factor, _, gain = key.partition("@")
    layers = {"pre_layers": 1, "middle_layers": 4, "post_layers": 1, "shorten_factor": int(factor)}
    return {**layers, "initial_gain": float(gain)} if gain else layers


def small_model(**encoder: Any) -> Job:
    """The network of the `small` preset, for fine-tuning from random weights."""
    text = dump_yaml({"kind": "pretrain", "preset": "small", "name": "x", "data": {"train": "x"}})
    job = load_job_text(text, "the small preset").job
    assert isinstance(job, PretrainJob)
    model: Job = job.model.model_dump(mode="json")
    model["encoder"].update(encoder)
    return model


def _each(outcomes: list[Outcome]) -> str:
    return ", ".join(f"{outcome.wer:.1%}" for outcome in outcomes)


def _mean(outcomes: list[Outcome]) -> float:
    return statistics.mean(outcome.wer for outcome in outcomes)


def _spread(outcomes: list[Outcome]) -> str:
    return f"{statistics.stdev(o.wer for o in outcomes):.1%}" if len(outcomes) > 1 else "one seed"


EXPERIMENTS: dict[str, Callable[[Bench], str]] = {
    "augmentation": augmentation,
    "pretraining": pretraining,
    "hourglass": hourglass,
}


def main() -> None:
    """Run the experiments that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("experiments", nargs="+", choices=EXPERIMENTS)
    parser.add_argument("--speech", type=Path, required=True, help="folder of an4, mini_librispeech and ljspeech")
    parser.add_argument("--out", type=Path, required=True, help="working folder")
    parser.add_argument("--parallel", type=int, default=2, help="trainings at a time, of one thread each")
    parser.add_argument("--seeds", type=int, nargs="+", default=_SEEDS, help="of every row")
    parser.add_argument("--updates", type=int, default=_UPDATES[None], help="of fine-tuning on all labels")
    parser.add_argument(
        "--factors", nargs="+", default=FACTORS, help="of the Hourglass: none, 2, or 2@0.1 with that initial_gain"
    )
    args = parser.parse_args()
    folders = args.speech.resolve(), args.out.resolve()
    bench = Bench(*folders, args.parallel, tuple(args.seeds), args.updates, tuple(args.factors))
    prepare(bench)
    for name in args.experiments:
        table = EXPERIMENTS[name](bench)
        (bench.out / f"{name}.md").write_text(table + "\n", encoding="utf-8")
        print(table, flush=True)


if __name__ == "__main__":
    main()
