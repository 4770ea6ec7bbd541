"""`w2v2-ray demo`: the whole way from nothing to a recogniser and its word error rate, on synthesised speech."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from w2v2_ray.cli.options import SetOption

if TYPE_CHECKING:
    from w2v2_ray.run.folder import RunFolder
    from w2v2_ray.spec.job import TrainJob

_LM_WEIGHT, _WORD_SCORE = 1.0, 0.0
"""Of a language model of few sentences; the defaults suit large ones."""


def demo(
    folder: Annotated[Path, typer.Option(help="Where to put the corpus, the datasets and the run.")] = Path("demo"),
    job: Annotated[Path, typer.Option(help="Job spec to pre-train.")] = Path("jobs/demo_pretrain.yaml"),
    finetune_job: Annotated[Path, typer.Option("--finetune", help="Job spec to fine-tune.")] = Path(
        "jobs/demo_finetune.yaml"
    ),
    utterances: Annotated[int, typer.Option(min=20, help="Utterances to synthesise.")] = 600,
    overrides: SetOption = None,
) -> None:
    """Synthesise speech, prepare it, pre-train a small Hourglass model, fine-tune, evaluate and use the recogniser.

    Each step is printed as the command a user would type. Started again, it goes on where it stopped. `--set` is for
    the pre-training job.
    """
    from w2v2_ray.cli.evaluate import evaluate
    from w2v2_ray.cli.lm import lm
    from w2v2_ray.cli.plan import plan
    from w2v2_ray.cli.prepare import prepare
    from w2v2_ray.cli.synth import synth
    from w2v2_ray.cli.train import train
    from w2v2_ray.cli.transcribe import transcribe
    from w2v2_ray.cli.validate import validate
    from w2v2_ray.spec.finetune import FinetuneJob
    from w2v2_ray.spec.job import PretrainJob

    corpus, dataset, held_out = folder / "corpus", folder / "dataset", folder / "dataset_validation"
    places = [f"data.train={dataset}", f"data.validation={held_out}", f"storage_path={folder / 'runs'}"]
    settings = [*places, *(overrides or [])]
    options = _as_options(settings)

    _announce("Speech of several voices, with transcripts", f"synth {corpus} --utterances {utterances}")
    synth(corpus, utterances=utterances)
    for manifest, out in (("train", dataset), ("valid", held_out)):
        source = corpus / f"{manifest}.jsonl"
        _announce("Memory-mapped Arrow shards", f"prepare {source} --out {out}")
        prepare(str(source), str(out))
    _announce("Is the job sound?", f"validate {job} {options}")
    validate(job, settings, check_data=True)
    _announce("What will it do?", f"plan {job} {options}")
    plan(job, settings)
    _announce("Pre-training through Ray and DeepSpeed", f"train {job} {options}")
    train(job, settings)
    pretrained = _finished(PretrainJob, job, settings)

    tuning = [*places, f"pretrained={pretrained.path}"]
    _announce("Fine-tuning with CTC, from that model", f"train {finetune_job} {_as_options(tuning)}")
    train(finetune_job, tuning)
    recogniser = _finished(FinetuneJob, finetune_job, tuning)

    report, words = folder / "evaluation", folder / "words.arpa"
    judged = f"evaluate {recogniser.path} {held_out} --best"
    _announce("Sentences and voices it has never heard", f"{judged} --out {report}")
    evaluate(str(recogniser.path), [str(held_out)], best=True, out=report)
    _announce("Which words follow which, in the training texts", f"lm {recogniser.path} {dataset} --out {words}")
    lm(str(recogniser.path), [str(dataset)], words)
    weights = f"--lm {words} --lm-weight {_LM_WEIGHT:g} --word-score {_WORD_SCORE:g}"
    _announce("The same sentences, by sound and by words", f"{judged} {weights} --out {report}_lm")
    lm_report = report.with_name(f"{report.name}_lm")
    weight, score = f"{_LM_WEIGHT}", f"{_WORD_SCORE}"
    evaluate(
        str(recogniser.path), [str(held_out)], best=True, lm=words, lm_weights=weight, word_scores=score, out=lm_report
    )
    audio = max((corpus / "audio").rglob("*.flac"))
    _announce("What is said in a file?", f"transcribe {recogniser.path} {audio} --best {weights}")
    transcribe(str(recogniser.path), [audio], best=True, lm=words, lm_weight=_LM_WEIGHT, word_score=_WORD_SCORE)

    _summarise(pretrained.metrics)
    typer.echo(f"The runs are in {pretrained.path} and {recogniser.path}; each has its curves in curves.png")


def _finished(kind: type[TrainJob], job: Path, settings: list[str]) -> RunFolder:
    """The folder of a run that has ended, with a picture of it."""
    from w2v2_ray.orchestration.launch import run_folder
    from w2v2_ray.reporting.curves import plot_run
    from w2v2_ray.spec.loading import load_job_of

    run = run_folder(load_job_of(kind, job, settings).job)
    plot_run(run, run.path / "curves.png")
    return run


def _as_options(settings: list[str]) -> str:
    return " ".join(f"--set {shlex.quote(setting)}" for setting in settings)


def _announce(purpose: str, command: str) -> None:
    typer.secho(f"\n{purpose}", bold=True)
    typer.secho(f"$ w2v2-ray {command}", dim=True)


def _summarise(metrics: Path) -> None:
    """Say what the model has learned, first updates against last."""
    from w2v2_ray.run.folder import read_lines

    records = list(read_lines(metrics))
    part = max(len(records) // 20, 1)
    typer.secho("\nWhat it learned", bold=True)
    for name, label in (("loss", "loss, bits"), ("accuracy", "accuracy"), ("code_perplexity", "code perplexity")):
        first, last = (sum(r[name] for r in some) / part for some in (records[:part], records[-part:]))
        typer.echo(f"  {label:16} {first:8.3f} -> {last:8.3f}")
