"""Fine-tuning as an objective: see `objectives.objective`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from w2v2_ray.run.folder import RunFolder
from w2v2_ray.spec.finetune import EarlyStoppingSpec, FinetuneJob
from w2v2_ray.spec.text import VocabularySpec
from w2v2_ray.training.objectives.objective import Objective
from w2v2_ray.training.run_plan import RunPlan

if TYPE_CHECKING:
    import torch
    from torch import nn

    from w2v2_ray.data.mixture import DatasetMixture
    from w2v2_ray.data.text import Tokenizer
    from w2v2_ray.training.objectives.finetuning.selection import Selection
    from w2v2_ray.training.objectives.finetuning.task import FinetuneTask
    from w2v2_ray.training.objectives.task import Training


class FinetuneObjective(Objective[FinetuneJob]):
    """CTC on transcripts, from a pre-trained model or random weights."""

    def begin(self, job: FinetuneJob, run: RunFolder) -> FinetuneJob:
        """Settle the network, the symbols and the initial weights."""
        from w2v2_ray.training.objectives.finetuning.start import resolve

        return resolve(job, run)

    def keeps_start(self, job: FinetuneJob) -> bool:
        """Always."""
        return True

    def localised(self, job: FinetuneJob, run: RunFolder) -> FinetuneJob:
        """The initial weights and symbols on this node."""
        if run.store.is_here:
            return job
        return job.model_copy(
            update={"pretrained": str(run.initial), "vocabulary": VocabularySpec(path=str(run.vocabulary))}
        )

    def check(self, job: FinetuneJob) -> dict[str, Any]:
        """A census of the training and of the held-out utterances."""
        from w2v2_ray.training.objectives.data import open_data

        tokenizer = tokenizer_of(job)
        parts = {"train": job.data.train, "validation": job.data.validation}
        return {
            part: _selection(job, open_data(job, refs), tokenizer, validation=part == "validation").census
            for part, refs in parts.items()
            if refs
        }

    def set_up(self, job: FinetuneJob, run: RunFolder, device: torch.device) -> Training:
        """Build the recogniser and open its data; `job` has been through `begin`."""
        from w2v2_ray.training.objectives.data import open_data
        from w2v2_ray.training.objectives.task import Training

        tokenizer = tokenizer_of(job)
        train = open_data(job, job.data.train)
        validation = None
        if job.data.validation:
            held_out = open_data(job, job.data.validation)
            validation = _ctc_task(job, held_out, tokenizer, device, validation=True)
        task = _ctc_task(job, train, tokenizer, device, validation=False)
        return Training(_recogniser(job, run), task, validation, train.fingerprint)

    def plan(self, job: FinetuneJob) -> RunPlan:
        """Read the pre-trained model and every transcript too."""
        from w2v2_ray.training.objectives.finetuning.plan import plan_finetuning

        return plan_finetuning(job)

    def early_stopping(self, job: FinetuneJob) -> EarlyStoppingSpec | None:
        """What the job says."""
        return job.early_stopping


def tokenizer_of(job: FinetuneJob) -> Tokenizer:
    """From and to the run's symbols; `job` has been through `begin`."""
    from w2v2_ray.data.text import Tokenizer
    from w2v2_ray.model.interop.vocabulary import read_vocabulary

    assert job.vocabulary.path is not None
    return Tokenizer(read_vocabulary(Path(job.vocabulary.path)), job.text)


def _selection(job: FinetuneJob, data: DatasetMixture, tokenizer: Tokenizer, *, validation: bool) -> Selection:
    """Held-out audio is heard as it is, training audio at every speed of the spec."""
    from w2v2_ray.training.objectives.finetuning.selection import select_utterances

    return select_utterances(job, data, tokenizer, fastest=1.0 if validation else job.augmentation.fastest)


def _ctc_task(
    job: FinetuneJob, data: DatasetMixture, tokenizer: Tokenizer, device: torch.device, *, validation: bool
) -> FinetuneTask:
    from w2v2_ray.data.random_streams import RandomStreams
    from w2v2_ray.training.objectives.finetuning.task import FinetuneTask, build_plan

    streams = RandomStreams(job.seed, "validation") if validation else RandomStreams(job.seed)
    selection = _selection(job, data, tokenizer, validation=validation)
    plan = build_plan(job, data, selection, streams, validation=validation)
    augmentation = None if validation else job.augmentation
    return FinetuneTask(job, data, selection, tokenizer, plan, streams, device, augmentation)


def _recogniser(job: FinetuneJob, run: RunFolder) -> nn.Module:
    """The run's initial model; a feature encoder that gets no gradient is frozen, so that nothing is kept for it."""
    from w2v2_ray.model.factory import build_ctc_model
    from w2v2_ray.model.interop.model_folder import load_model

    initial = load_model(run.initial)
    model = build_ctc_model(
        initial.spec,
        initial.vocab_size or 0,
        initial.final_dropout,
        layer_drop_mode="skip" if job.engine.zero_stage < 2 else "run_and_discard",
        activation_checkpointing=job.engine.activation_checkpointing,
        like_reference=job.like_reference,
    )
    model.load_state_dict(initial.state)
    if job.regularisation.feature_gradient_scale == 0.0:
        model.backbone.feature_encoder.requires_grad_(False)
    return model
