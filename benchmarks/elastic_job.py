"""The job that `elastic.py` harms: the tiny preset on synthesised speech, with dropout and LayerDrop on."""

from __future__ import annotations

from pathlib import Path

from w2v2_ray.data.dataset import SpeechDataset
from w2v2_ray.orchestration.ingest import prepare_dataset
from w2v2_ray.spec.job import PretrainJob
from w2v2_ray.spec.loading import dump_yaml, load_job_of
from w2v2_ray.synthesis.corpus import SynthesisSettings, synthesise_corpus

UTTERANCES = 268
"""A tenth of them is held out; the rest are an epoch of 24 updates."""
SETTINGS = (
    "preset=tiny",
    # The preset has neither; without them the random draws of workers would not be put to the test.
    "model.encoder.dropout=0.05",
    "model.encoder.layer_drop=0.05",
    # Five sub-batches of a second or two: neither two nor three workers divide them.
    "batch.sub_batches_per_update=5",
    "batch.max_tokens=64000",
    "batch.min_samples=16000",
    "batch.max_samples=32000",
    "optim.lr=2e-3",
    "checkpoint.every_updates=40",
    "checkpoint.keep_last=2",
    # An update takes a fraction of a second; with the default of 15 s a kill in every few would only repeat them.
    "checkpoint.snapshot_updates=5",
    "checkpoint.snapshot_s=1.0",
    # Faults come every few seconds here; the default waits a minute after a start before it resizes.
    "elastic.stable_s=2.0",
    "elastic.resize_interval_s=5.0",
    "engine.threads=1",
    "failure.max_failures=1000",
    "logging.tensorboard=false",
    "logging.trace_samples=true",
)


def make_dataset(folder: Path) -> Path:
    """Synthesised speech, 2 s and longer."""
    summary = synthesise_corpus(folder / "corpus", SynthesisSettings(seed=1, utterances=UTTERANCES))
    prepare_dataset(summary.manifests[0], folder / "dataset")
    return folder / "dataset"


def utterances_of(dataset: Path) -> set[str]:
    """Ids of all utterances of a dataset."""
    opened = SpeechDataset.open(dataset)
    return {opened.utterance_id(index) for index in range(len(opened))}


def make_job(folder: Path, name: str, settings: list[str], workers: tuple[int, int]) -> PretrainJob:
    """The job under a name, for a range of workers; its dataset and its run are in the folder."""
    bare = folder / f"{name}.bare.yaml"
    data = {"train": str(folder / "dataset")}
    bare.write_text(dump_yaml({"kind": "pretrain", "name": name, "storage_path": str(folder / "runs"), "data": data}))
    elastic = [f"elastic.min_workers={workers[0]}", f"elastic.max_workers={workers[1]}"]
    return load_job_of(PretrainJob, bare, [*SETTINGS, *settings, *elastic]).job
