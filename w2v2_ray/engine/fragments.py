"""Which pieces of the training state live on this rank, whatever the ZeRO stage.

A fragment is a contiguous range of a flattened parameter together with views of its fp32 master weights and, once they
exist, of its Adam moments. All of DeepSpeed's ways to lay out state are translated here and nowhere else.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from w2v2_ray.spec.engine import EngineSpec

MOMENTS = ("exp_avg", "exp_avg_sq")
"""Adam's state, named as torch names it."""


class StateHolder(Protocol):
    """What is asked of the engine: its optimizer and parameters, as DeepSpeed left them."""

    engine_spec: EngineSpec
    zero_stage: int
    world_rank: int
    world_size: int
    parameters_by_name: dict[str, torch.nn.Parameter]
    parameter_shapes: dict[str, tuple[int, ...]]
    frozen_weights: dict[str, Tensor]

    @property
    def optimizer(self) -> Any:
        """DeepSpeed's wrapper around the AdamW, or that itself at ZeRO 0."""
        ...

    @property
    def adam(self) -> torch.optim.AdamW:
        """The AdamW that steps the masters."""
        ...


@dataclass(frozen=True)
class Fragment:
    """Elements start to stop of a flattened parameter.

    Attributes:
        name: The parameter's name in the model.
        start: First element.
        master: The tensor that Adam steps and that its state is keyed by.
        offset: Where in `master` the fragment begins.
        numel: How many elements.
    """

    name: str
    start: int
    master: Tensor
    offset: int
    numel: int

    @property
    def stop(self) -> int:
        """One past the last element."""
        return self.start + self.numel

    @property
    def weight(self) -> Tensor:
        """View of the fp32 weights. Shape: [numel]."""
        return self.master.detach().view(-1).narrow(0, self.offset, self.numel)

    def moment(self, adam: torch.optim.AdamW, kind: str) -> Tensor:
        """View of a moment. Shape: [numel]."""
        moment: Tensor = adam.state[self.master][kind]
        return moment.view(-1).narrow(0, self.offset, self.numel)


def resident_fragments(engine: StateHolder) -> list[Fragment]:
    """All trained state this rank holds: everything at ZeRO 0, its partition otherwise. Not a collective."""
    stages = {0: _whole_parameters, 1: _stage_1_and_2, 2: _stage_1_and_2, 3: _stage_3}
    return [fragment for fragment in stages[engine.zero_stage](engine) if fragment.numel > 0]


def owned_fragments(engine: StateHolder) -> list[Fragment]:
    """The trained state this rank is to save: over all ranks each element exactly once. Not a collective."""
    resident = resident_fragments(engine)
    if engine.zero_stage > 0:
        return resident
    return [
        Fragment(f.name, start, f.master, start, stop - start)
        for f, (start, stop) in zip(resident, _share([f.numel for f in resident], engine), strict=True)
        if stop > start
    ]


def owned_frozen(engine: StateHolder) -> list[tuple[str, int, Tensor]]:
    """Name, start and values of the frozen weights this rank is to save. Not a collective."""
    frozen = engine.frozen_weights
    shares = _share([weight.numel() for weight in frozen.values()], engine)
    return [
        (name, start, weight.view(-1)[start:stop])
        for (name, weight), (start, stop) in zip(frozen.items(), shares, strict=True)
        if stop > start
    ]


def _share(sizes: list[int], engine: StateHolder) -> Iterator[tuple[int, int]]:
    """This rank's range of each tensor, when the tensors laid end to end are split evenly over ranks."""
    total = sum(sizes)
    first = total * engine.world_rank // engine.world_size
    last = total * (engine.world_rank + 1) // engine.world_size
    begin = 0
    for size in sizes:
        yield max(0, min(size, first - begin)), max(0, min(size, last - begin))
        begin += size


def _whole_parameters(engine: StateHolder) -> Iterator[Fragment]:
    for name, parameter in engine.parameters_by_name.items():
        if parameter.requires_grad:
            yield Fragment(name, 0, parameter, 0, parameter.numel())


def _stage_1_and_2(engine: StateHolder) -> Iterator[Fragment]:
    masters = _masters(engine)
    for name, parameter in engine.parameters_by_name.items():
        mapping = getattr(parameter, "_hp_mapping", None)
        if parameter.requires_grad and mapping is not None:
            where: Any = mapping.hp_fragment_address
            yield Fragment(
                name, mapping.lp_fragment_address.start, masters[mapping.param_group_index], where.start, where.numel
            )


def _stage_3(engine: StateHolder) -> Iterator[Fragment]:
    optimizer = engine.optimizer
    names = {id(parameter): name for name, parameter in engine.parameters_by_name.items()}
    for master, group in zip(optimizer.fp32_partitioned_groups_flat, optimizer.fp16_groups, strict=True):
        offset = 0
        for parameter in group:
            size = parameter.partition_numel()
            name = names[id(parameter)]
            start = size * engine.world_rank
            # The last partitions are padded up to the size of the others.
            real = min(size, math.prod(engine.parameter_shapes[name]) - start)
            yield Fragment(name, start, master, offset, max(0, real))
            offset += size


def _masters(engine: StateHolder) -> list[Tensor]:
    optimizer = engine.optimizer
    if engine.zero_stage == 0:
        return [parameter for group in engine.adam.param_groups for parameter in group["params"]]
    if engine.zero_stage == 3:
        return list(optimizer.fp32_partitioned_groups_flat)
    if hasattr(optimizer, "fp32_groups_flat_partition"):  # bf16 at ZeRO 1.
        return list(optimizer.fp32_groups_flat_partition)
    return list(optimizer.single_partition_of_fp32_groups)


def adam_step(engine: StateHolder) -> int:
    """Updates that Adam has made; 0 for a fresh optimizer. Not a collective."""
    state = engine.adam.state.get(_masters(engine)[0], {})
    return int(state["step"]) if "step" in state else 0


def has_moments(engine: StateHolder) -> bool:
    """Whether Adam's moments exist: from the first step on. Not a collective."""
    return MOMENTS[0] in engine.adam.state.get(_masters(engine)[0], {})


def set_adam_step(engine: StateHolder, step: int) -> None:
    """Set Adam's step counter and create the moments, zero, where there are none. Not a collective."""
    adam = engine.adam
    for master in _masters(engine):
        state = adam.state[master]
        fused = bool(adam.defaults.get("fused"))
        # torch keeps the counter as fp32, next to the parameter only for the fused kernel.
        state["step"] = torch.tensor(float(step), dtype=torch.float32, device=master.device if fused else "cpu")
        for kind in MOMENTS:
            if kind not in state:
                state[kind] = torch.zeros_like(master, memory_format=torch.preserve_format).detach()


def refresh_weights(engine: StateHolder) -> None:
    """Make the weights that forward uses from the masters, as DeepSpeed's step does. Every rank calls it."""
    optimizer = engine.optimizer
    if engine.zero_stage in (1, 2):
        optimizer.update_lp_params()
    elif engine.zero_stage == 3:
        optimizer.checkpoint_event_prologue()
        for group in range(len(optimizer.fp16_groups)):
            optimizer._reassign_or_swap_out_partitioned_parameters(group)
        optimizer.checkpoint_event_epilogue()


def load_frozen(engine: StateHolder, weights: dict[str, Tensor]) -> None:
    """Set frozen weights. Every rank calls it with the same values.

    Args:
        engine: Whose weights to set.
        weights: fp32 values by name, of any shape with the right number of elements.
    """
    import deepspeed

    for name, weight in weights.items():
        engine.frozen_weights[name].copy_(weight.view(engine.parameter_shapes[name]))
        parameter = engine.parameters_by_name[name]
        if engine.zero_stage < 3:
            parameter.data.copy_(engine.frozen_weights[name])
            continue
        with deepspeed.zero.GatheredParameters([parameter], modifier_rank=0):
            if engine.world_rank == 0:
                parameter.data.copy_(engine.frozen_weights[name])


_LOSS_SCALER_STATE = ("cur_scale", "cur_iter", "last_overflow_iter", "cur_hysteresis")


def loss_scale_state(engine: StateHolder) -> dict[str, float] | None:
    """State of fp16's dynamic loss scaling; None in other precisions. Not a collective."""
    if engine.engine_spec.precision != "fp16":
        return None
    scaler = engine.optimizer.loss_scaler
    return {field: getattr(scaler, field) for field in _LOSS_SCALER_STATE}


def set_loss_scale_state(engine: StateHolder, state: dict[str, float] | None) -> None:
    """Restore fp16's loss scaling; a state saved in another precision leaves the first scale. Not a collective."""
    if engine.engine_spec.precision == "fp16" and state is not None:
        for field in _LOSS_SCALER_STATE:
            setattr(engine.optimizer.loss_scaler, field, state[field])
