"""From a fine-tuning job to what is trained: see `setup.set_up`."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from w2v2_ray.data.dataset import Utterances
from w2v2_ray.data.mixture import DatasetMixture
from w2v2_ray.data.random_streams import RandomStreams
from w2v2_ray.data.text import Tokenizer
from w2v2_ray.model.factory import build_ctc_model
from w2v2_ray.model.interop.model_folder import load_model
from w2v2_ray.model.interop.vocabulary import read_vocabulary
from w2v2_ray.run.folder import RunFolder
from w2v2_ray.spec.finetune import FinetuneJob
from w2v2_ray.training.tasks.data import open_data
from w2v2_ray.training.tasks.finetuning import Census, FinetuneTask, Selection, build_plan, select_utterances
from w2v2_ray.training.tasks.task import Training


def finetuning(job: FinetuneJob, run: RunFolder, device: torch.device) -> Training:
    """Build the recogniser and open its data; `job` has been through `start.resolve`.

    Raises:
        UserError: When the data or the initial model cannot be used.
    """
    tokenizer = tokenizer_of(job)
    train = open_data(job, job.data.train)
    validation = None
    if job.data.validation:
        held_out = open_data(job, job.data.validation)
        validation = _ctc_task(job, held_out, tokenizer, device, validation=True)
    task = _ctc_task(job, train, tokenizer, device, validation=False)
    return Training(_recogniser(job, run), task, validation, train.fingerprint)


def _ctc_task(
    job: FinetuneJob, data: DatasetMixture, tokenizer: Tokenizer, device: torch.device, *, validation: bool
) -> FinetuneTask:
    streams = RandomStreams(job.seed, "validation") if validation else RandomStreams(job.seed)
    selection = _selection(job, data, tokenizer, validation=validation)
    plan = build_plan(job, data, selection, streams, validation=validation)
    augmentation = None if validation else job.augmentation
    return FinetuneTask(job, data, selection, tokenizer, plan, streams, device, augmentation)


def _selection(job: FinetuneJob, data: Utterances, tokenizer: Tokenizer, *, validation: bool) -> Selection:
    """Held-out audio is heard as it is, training audio at every speed of the spec."""
    return select_utterances(job, data, tokenizer, fastest=1.0 if validation else job.augmentation.fastest)


def census(job: FinetuneJob, data: Utterances, *, validation: bool) -> Census:
    """What becomes of the utterances of a dataset to train on, or of a held-out one.

    Raises:
        DatasetError: When none can be used.
    """
    return _selection(job, data, tokenizer_of(job), validation=validation).census


def tokenizer_of(job: FinetuneJob) -> Tokenizer:
    """From and to the run's symbols; `job` has been through `start.resolve`."""
    assert job.vocabulary.path is not None
    return Tokenizer(read_vocabulary(Path(job.vocabulary.path)), job.text)


def _recogniser(job: FinetuneJob, run: RunFolder) -> nn.Module:
    """The run's initial model; a feature encoder that gets no gradient is frozen, so that nothing is kept for it."""
    initial = load_model(run.initial)
    model = build_ctc_model(
        initial.spec,
        initial.vocab_size or 0,
        initial.final_dropout,
        layer_drop_mode="skip" if job.engine.zero_stage < 2 else "run_and_discard",
        activation_checkpointing=job.engine.activation_checkpointing,
    )
    model.load_state_dict(initial.state)
    if job.regularisation.feature_gradient_scale == 0.0:
        model.backbone.feature_encoder.requires_grad_(False)
    return model
