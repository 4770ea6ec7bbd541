"""Training without torch's compiler: nothing imports it, and the numbers are torch's."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from w2v2_ray.engine import late_compiler
from w2v2_ray.engine.late_compiler import EagerAdamW, import_deepspeed_optimizers

UPDATE = """
import sys
import torch
from w2v2_ray.engine.distributed import init_process_group
from w2v2_ray.engine.training_engine import TrainingEngine
from w2v2_ray.spec.engine import EngineSpec
from w2v2_ray.spec.optim import OptimSpec

cpu = torch.device("cpu")
init_process_group(cpu)
spec = EngineSpec(precision="fp32", zero_stage=int(sys.argv[1]))
engine = TrainingEngine(torch.nn.Linear(3, 3), optim=OptimSpec(), engine=spec, device=cpu)
ones = torch.ones(2, 3)
engine.update([ones], count=1, total=1, forward=lambda batch: engine.module(batch).sum(), normaliser=1.0, lr=1e-3)
print([name for name in ("torch._dynamo", "torch._inductor", "sympy") if name in sys.modules])
"""


@pytest.mark.parametrize("stage", ["0", "1", "2"])
def test_an_update_imports_no_compiler(stage: str):
    done = subprocess.run([sys.executable, "-c", UPDATE, stage], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def steps(optimizer_class: type[torch.optim.AdamW], updates: int = 5) -> tuple[list[torch.Tensor], list[int]]:
    """Weights after some updates, and what hooks of a step have seen."""
    generator = torch.Generator().manual_seed(1)
    parameters = [torch.randn(5, 3, generator=generator).requires_grad_(), torch.randn(7, generator=generator)]
    parameters[1].requires_grad_()
    optimizer = optimizer_class(
        [{"params": [parameters[0]], "weight_decay": 0.0}, {"params": [parameters[1]]}],
        lr=0.01,
        betas=(0.9, 0.98),
        eps=1e-6,
        weight_decay=0.01,
    )
    seen: list[int] = []
    optimizer.register_step_pre_hook(lambda *given: seen.append(0))
    optimizer.register_step_post_hook(lambda *given: seen.append(1))
    for _ in range(updates):
        for parameter in parameters:
            parameter.grad = torch.randn(parameter.shape, generator=generator)
        optimizer.step()
        optimizer.zero_grad()
        assert all(parameter.grad is None for parameter in parameters)
    moments = [optimizer.state[parameter]["exp_avg_sq"] for parameter in parameters]
    return [*(parameter.detach() for parameter in parameters), *moments], seen


def test_steps_are_torchs_bit_for_bit_and_hooks_are_called():
    ours, seen = steps(EagerAdamW)
    theirs, expected = steps(torch.optim.AdamW)
    assert seen == expected == [0, 1] * 5
    assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


def test_a_closure_is_called_with_gradients():
    weight = torch.ones(3, requires_grad=True)
    optimizer = EagerAdamW([weight], lr=0.1)

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = weight.sum()
        loss.backward()
        return loss

    assert optimizer.step(closure).item() == 3.0
    assert not torch.equal(weight, torch.ones(3))


def test_an_optimizer_without_wrappers_is_used_as_it_is():
    """Of a later release of torch."""

    def plain() -> str:
        return "its own"

    assert late_compiler._bare(plain) is plain


def test_what_was_not_compiled_at_once_is_compiled_when_it_is_called(monkeypatch: pytest.MonkeyPatch):
    compiled: list[str] = []

    def compile_(function):
        compiled.append(function.__name__)
        return function

    monkeypatch.setattr(torch, "compile", compile_)

    @late_compiler._late
    def double(number: int) -> int:
        return 2 * number

    assert compiled == []
    assert (double(3), double(4)) == (6, 8)
    assert compiled == ["double"]


def test_a_deepspeed_that_has_moved_it_is_imported_as_before(monkeypatch: pytest.MonkeyPatch):
    from deepspeed.runtime import compiler

    monkeypatch.delattr(compiler, "compile")
    import_deepspeed_optimizers()
