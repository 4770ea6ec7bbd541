"""Which layers of a model are wanted, and how they are written."""

from __future__ import annotations

from collections.abc import Sequence

from w2v2_ray.errors import SpecError

FEATURES = "features"
"""The feature encoder's frames after their norm: what targets are made from."""

Layer = int | str
"""A Transformer layer by number (0: what the first one receives; -1: the last), or `FEATURES`."""


def parse_layers(text: str) -> list[Layer] | None:
    """Read `last`, `all`, or names parted by commas, such as `features,4,-1`.

    Returns:
        The layers; None for all.

    Raises:
        SpecError: When a name is none.
    """
    names = [name.strip() for name in text.split(",")]
    if names == ["all"]:
        return None
    layers: list[Layer] = []
    for name in names:
        if name == FEATURES:
            layers.append(FEATURES)
        elif name == "last":
            layers.append(-1)
        elif name.removeprefix("-").isdecimal():
            layers.append(int(name))
        else:
            raise SpecError(
                f"--layers {text}: {name!r} is no layer; give all, or numbers parted by commas, with `features` for "
                "the feature encoder and `last` for the last layer, such as features,4,last"
            )
    return layers


def chosen_layers(wanted: Sequence[Layer] | None, num_layers: int) -> list[Layer]:
    """Return the layers by their own numbers, each once.

    Args:
        wanted: As a user gives them; None takes all, the feature encoder first.
        num_layers: Transformer layers of the model.

    Raises:
        SpecError: When the model has no such layer.
    """
    if wanted is None:
        return [FEATURES, *range(num_layers + 1)]
    chosen: list[Layer] = []
    for layer in wanted:
        number = layer + num_layers + 1 if isinstance(layer, int) and layer < 0 else layer
        if number != FEATURES and not (isinstance(number, int) and 0 <= number <= num_layers):
            raise SpecError(
                f"layer {layer}: this model has layers 0 (what the first receives) to {num_layers}, and `{FEATURES}`"
            )
        if number not in chosen:
            chosen.append(number)
    if not chosen:
        raise SpecError("no layer is wanted; give one at least, such as the last: -1")
    return chosen
