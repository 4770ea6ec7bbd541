"""Where continued pre-training begins: the weights of a model that exists, in the network that the spec describes."""

from __future__ import annotations

import re
from typing import Any

from torch import Tensor

from w2v2_ray.errors import SpecError
from w2v2_ray.model.interop.loaded_model import BACKBONE, LoadedModel
from w2v2_ray.run.folder import RunFolder
from w2v2_ray.spec.job import PretrainJob
from w2v2_ray.spec.model import EncoderSpec
from w2v2_ray.training.model_source import load_any
from w2v2_ray.training.objectives.initial import settle
from w2v2_ray.training.objectives.pretraining.task import build_model

_LAYER = re.compile(r"^backbone\.encoder\.stack\.(?:(pre|middle|post)\.)?layers\.(\d+)\.(.*)$")
_SHOWN = 6


def resolve(job: PretrainJob, run: RunFolder) -> PretrainJob:
    """Settle what a run begins from, or read what an earlier launch settled. On the driver.

    Args:
        job: With absolute paths, and `pretrained`.
        run: Gets `initial/` and `start.json`.

    Returns:
        The job, beginning from the run's own copy of the weights.

    Raises:
        CheckpointError: When the model cannot be read, or the run began from something else.
        SpecError: When its weights do not fit the network.
    """
    settle(run, _request(job), job.pretrained, lambda: initial_model(job))
    return job.model_copy(update={"pretrained": run.place_of(run.initial)})


def initial_model(job: PretrainJob) -> LoadedModel:
    """The model before its first update: the spec's network with every weight that `pretrained` has for it.

    The backbone must be there whole; quantizer and projections are taken where the model has them (a recogniser or
    a bare backbone has none, and they begin at random). Transformer layers are matched by their place from first to
    last, so that an Hourglass may be added, taken away or have another factor.

    Raises:
        UserError: See `resolve`.
    """
    assert job.pretrained is not None
    source = load_any(job.pretrained)
    found = _in_layers_of(job.model.encoder, source.state, source.spec.encoder)
    state: dict[str, Tensor] = dict(build_model(job).state_dict())
    resampling = {name for name in state if ".stack.shorten." in name or ".stack.upsample." in name}
    wrong = [
        f"{name} {list(tensor.shape)} against {list(found[name].shape) if name in found else 'none'}"
        for name, tensor in state.items()
        if name.startswith(BACKBONE)
        and (name not in found or found[name].shape != tensor.shape)
        and not (name in resampling and name not in found)
    ]
    if wrong:
        more = f", and {len(wrong) - _SHOWN} more" if len(wrong) > _SHOWN else ""
        raise SpecError(
            f"pretrained: {job.pretrained} does not fit `model` ({'; '.join(wrong[:_SHOWN])}{more}); describe its "
            "network there (`w2v2-ray inspect` shows it), or leave pretrained out"
        )
    taken = {name: found[name] for name in state if name in found and found[name].shape == state[name].shape}
    return LoadedModel(job.model, "pretrain", state | taken, loss=job.loss, source=str(job.pretrained))


def _in_layers_of(wanted: EncoderSpec, state: dict[str, Tensor], there: EncoderSpec) -> dict[str, Tensor]:
    """Weights with their Transformer layers named as in another encoder, by their order."""
    order = {place: number for number, place in enumerate(_places(there))}
    names = _places(wanted)
    renamed = {}
    for name, tensor in state.items():
        match = _LAYER.match(name)
        if match:
            part, index, leaf = match.groups()
            number = order[part, int(index)]
            if number >= len(names):
                continue  # fewer layers are wanted
            part, index = names[number]
            prefix = f"{part}." if part else ""
            name = f"backbone.encoder.stack.{prefix}layers.{index}.{leaf}"
        renamed[name] = tensor
    return renamed


def _places(encoder: EncoderSpec) -> list[tuple[str | None, int]]:
    """Part of the Hourglass and index within it of every layer, from first to last."""
    hourglass = encoder.hourglass
    if hourglass is None:
        return [(None, index) for index in range(encoder.layers)]
    parts = {"pre": hourglass.pre_layers, "middle": hourglass.middle_layers, "post": hourglass.post_layers}
    return [(part, index) for part, count in parts.items() for index in range(count)]


def _request(job: PretrainJob) -> dict[str, Any]:
    """What a job asks to begin from."""
    # Runs begun before there were some of the model's options do not name them.
    model = job.model.model_dump(mode="json", exclude=job.model.unsaid())
    return {**job.model_dump(mode="json", include={"pretrained", "model", "seed"}), "model": model}
