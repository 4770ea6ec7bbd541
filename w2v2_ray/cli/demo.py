"""`w2v2-ray demo`: the whole way from nothing to a trained model, on synthesised speech."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from w2v2_ray.cli.options import SetOption


def demo(
    folder: Annotated[Path, typer.Option(help="Where to put the corpus, the datasets and the run.")] = Path("demo"),
    job: Annotated[Path, typer.Option(help="Job spec to train.")] = Path("jobs/demo_pretrain.yaml"),
    utterances: Annotated[int, typer.Option(min=20, help="Utterances to synthesise.")] = 600,
    overrides: SetOption = None,
) -> None:
    """Synthesise speech, prepare it, validate and plan a job, pre-train a small Hourglass model, draw its curves.

    Each step is printed as the command a user would type. Started again, it goes on where it stopped.
    """
    from w2v2_ray.cli.plan import plan
    from w2v2_ray.cli.prepare import prepare
    from w2v2_ray.cli.synth import synth
    from w2v2_ray.cli.train import train
    from w2v2_ray.cli.validate import validate
    from w2v2_ray.evaluation.curves import plot_run
    from w2v2_ray.orchestration.launch import run_folder
    from w2v2_ray.spec.job import PretrainJob
    from w2v2_ray.spec.loading import load_job_of

    corpus = folder / "corpus"
    settings = [
        f"data.train={folder / 'dataset'}",
        f"data.validation={folder / 'dataset_validation'}",
        f"storage_path={folder / 'runs'}",
        *(overrides or []),
    ]
    options = " ".join(f"--set {shlex.quote(setting)}" for setting in settings)

    _announce("Speech of several voices, with transcripts", f"synth {corpus} --utterances {utterances}")
    synth(corpus, utterances=utterances)
    for manifest, dataset in (("train", "dataset"), ("valid", "dataset_validation")):
        source, out = corpus / f"{manifest}.jsonl", folder / dataset
        _announce("Memory-mapped Arrow shards", f"prepare {source} --out {out}")
        prepare(source, str(out))
    _announce("Is the job sound?", f"validate {job} {options}")
    validate(job, settings, check_data=True)
    _announce("What will it do?", f"plan {job} {options}")
    plan(job, settings)
    _announce("Pre-training through Ray and DeepSpeed", f"train {job} {options}")
    train(job, settings)

    run = run_folder(load_job_of(PretrainJob, job, settings).job)
    picture = plot_run(run, run.path / "curves.png")
    _summarise(run.metrics)
    typer.echo(f"The run is in {run.path}\nIts curves are in {picture}")


def _announce(purpose: str, command: str) -> None:
    typer.secho(f"\n{purpose}", bold=True)
    typer.secho(f"$ w2v2-ray {command}", dim=True)


def _summarise(metrics: Path) -> None:
    """Say what the model has learned, first updates against last."""
    from w2v2_ray.engine.run_folder import read_lines

    records = list(read_lines(metrics))
    part = max(len(records) // 20, 1)
    typer.secho("\nWhat it learned", bold=True)
    for name, label in (("loss", "loss, bits"), ("accuracy", "accuracy"), ("code_perplexity", "code perplexity")):
        first, last = (sum(r[name] for r in some) / part for some in (records[:part], records[-part:]))
        typer.echo(f"  {label:16} {first:8.3f} -> {last:8.3f}")
