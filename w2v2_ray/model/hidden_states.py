"""What comes out of each Transformer layer, for use outside training."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from torch import Tensor, nn

from w2v2_ray.model.backbone import Wav2Vec2Backbone
from w2v2_ray.model.hourglass import HourglassStack


@dataclass
class HiddenStates:
    """Frames after each layer of one forward pass.

    Attributes:
        states: Frames by layer, as many as there are layers and one: 0 is what the first layer receives, the last is
            the context, after the final norm of a pre-norm encoder (the `hidden_states` of Hugging Face, and its
            `last_hidden_state` in the last place).
            Those of an Hourglass's middle layers are the shortened ones.
        shorten_factors: Frames of the full rate that one of them stands for.
    """

    states: dict[int, Tensor] = field(default_factory=dict)
    shorten_factors: tuple[int, ...] = ()


def shorten_factors(backbone: Wav2Vec2Backbone) -> tuple[int, ...]:
    """Frames of the full rate that a frame of each layer stands for, as `HiddenStates` counts layers."""
    stack = backbone.encoder.stack
    if not isinstance(stack, HourglassStack):
        return (1,) * (stack.num_layers + 1)
    parts = (stack.pre.num_layers + 1, stack.middle.num_layers, stack.post.num_layers)
    return tuple(
        factor for count, factor in zip(parts, (1, stack.shorten_factor, 1), strict=True) for _ in range(count)
    )


@contextmanager
def recorded(backbone: Wav2Vec2Backbone) -> Iterator[HiddenStates]:
    """Keep what comes out of every layer of the forward passes within the block, the last pass's at the end.

    Shape: each state [B, T, D], or [B, U, D] in an Hourglass's middle.
    """
    stack = backbone.encoder.stack
    parts = (stack.pre, stack.middle, stack.post) if isinstance(stack, HourglassStack) else (stack,)
    layers = [layer for part in parts for layer in part.layers]
    kept = HiddenStates(shorten_factors=shorten_factors(backbone))

    def keep_input(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        kept.states[0] = inputs[0]

    def keep_context(_: nn.Module, inputs: object, output: Tensor) -> None:
        kept.states[len(layers)] = output

    def keep_output(number: int, module: nn.Module) -> None:
        def hook(_: nn.Module, inputs: object, output: Tensor) -> None:
            kept.states[number] = output

        handles.append(module.register_forward_hook(hook))

    handles = [stack.register_forward_pre_hook(keep_input), backbone.encoder.register_forward_hook(keep_context)]
    for number, layer in enumerate(layers[:-1], 1):
        keep_output(number, layer)
    try:
        yield kept
    finally:
        for handle in handles:
            handle.remove()


def at_full_rate(state: Tensor, factor: int, frames: int) -> Tensor:
    """Repeat the frames of a shortened layer, as the Hourglass's naive upsampling does.

    Shape: [B, U, D] -> [B, frames, D].
    """
    return state if factor == 1 else state.repeat_interleave(factor, dim=1)[:, :frames]
