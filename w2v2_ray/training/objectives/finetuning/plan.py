"""What a fine-tuning job will do: `run_plan` for recognisers. Reads the pre-trained model and every transcript."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np

from w2v2_ray.data.random_streams import RandomStreams
from w2v2_ray.data.text import Tokenizer
from w2v2_ray.spec.finetune import FinetuneJob
from w2v2_ray.training.objectives.data import open_data
from w2v2_ray.training.objectives.finetuning.selection import select_utterances
from w2v2_ray.training.objectives.finetuning.start import initial_model
from w2v2_ray.training.objectives.finetuning.task import build_plan
from w2v2_ray.training.run_plan import RunPlan, assemble


def plan_finetuning(job: FinetuneJob) -> RunPlan:
    """Settle where the run would begin and work out the rest; nothing is written.

    Raises:
        UserError: When the model, the symbols or the data cannot be used.
    """
    start = initial_model(job)
    assert start.vocabulary is not None
    job = job.model_copy(update={"model": start.spec})
    data = open_data(job, job.data.train)
    selection = select_utterances(job, data, Tokenizer(start.vocabulary, job.text), fastest=job.augmentation.fastest)
    plan = build_plan(job, data, selection, RandomStreams(job.seed))
    counts, padded = plan.padded_shapes()
    lengths, inverse = np.unique(padded, return_inverse=True)
    frames = np.asarray([start.spec.feature_encoder.num_frames(int(length)) for length in lengths])[inverse]
    parameters: dict[str, int] = {}
    for name, tensor in start.state.items():
        part = name.removeprefix("backbone.").partition(".")[0]
        parameters[part] = parameters.get(part, 0) + tensor.numel()
    reasons = {name: count for name, count in asdict(selection.census).items() if name not in ("total", "usable")}
    return assemble(
        job,
        data,
        plan,
        forwarded_samples=int((counts * padded.astype(np.int64)).sum()),
        frames_per_sub_batch=float((counts * frames).mean()),
        masked_per_sub_batch=None,
        parameters=parameters,
        left_out={name: count for name, count in reasons.items() if count},
        symbols=start.vocabulary,
    )
