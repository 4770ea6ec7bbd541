"""Keeps torch's compiler out of processes that compile nothing: importing it costs a worker 1.5 s of a processor.

torch imports it when an optimizer is made and whenever one steps, DeepSpeed when it looks whether an optimizer is Muon.
Each of the two finds what it needs by a name that may move with a release; then the compiler is imported as before.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any
from unittest.mock import patch

import torch

_MANAGED = ("add_param_group", "zero_grad")
"""What torch wraps so that the compiler leaves it alone; the wrapper imports the compiler to tell it so."""


class EagerAdamW(torch.optim.AdamW):
    """torch's AdamW, by its own code, without the wrappers that speak to the compiler.

    The same numbers: `step` runs without gradients, as torch's wrapper sees to; hooks of a step are called as ever.
    """

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Take a step."""
        return _STEP(self, closure)


def _bare(function: Callable[..., Any]) -> Callable[..., Any]:
    return getattr(function, "__wrapped__", function)


def _bare_step() -> Callable[..., Any]:
    """The step below torch's wrappers: that of a hook, which an earlier AdamW has put there, and the compiler's."""
    step: Any = torch.optim.AdamW.step
    return _bare(step.__wrapped__ if getattr(step, "hooked", False) else step)


_STEP = _bare_step()
for _name in _MANAGED:
    setattr(EagerAdamW, _name, _bare(getattr(torch.optim.AdamW, _name)))


def _late(function: Callable[..., Any]) -> Callable[..., Any]:
    """As `torch.compile`, but compiled when it is called."""

    @functools.cache
    def compiled() -> Callable[..., Any]:
        made: Callable[..., Any] = torch.compile(function)
        return made

    @functools.wraps(function)
    def call(*given: Any, **named: Any) -> Any:
        return compiled()(*given, **named)

    return call


@contextlib.contextmanager
def _compiling_late() -> Iterator[None]:
    from deepspeed.runtime import compiler

    with patch.object(compiler, "compile", lambda: _late):
        yield


def import_deepspeed_optimizers() -> None:
    """Import DeepSpeed's Muon, which DeepSpeed asks for with every optimizer, without compiling what it has to offer.

    It can be used afterwards, and is compiled then.
    """
    with contextlib.suppress(ImportError, AttributeError), _compiling_late():
        import deepspeed.runtime.zero.muon.muon_optimizer  # noqa: F401
