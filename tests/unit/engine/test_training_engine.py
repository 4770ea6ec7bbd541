from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import engine_cases as cases
import pytest
import torch
from engine_cases import Setup, TinyNet
from engine_worlds import Worlds

from w2v2_ray.engine.state_file import read_pieces, read_slices
from w2v2_ray.engine.state_index import describe_training_state
from w2v2_ray.engine.training_engine import TrainingEngine
from w2v2_ray.engine.training_state import read_full_weights
from w2v2_ray.spec.engine import EngineSpec
from w2v2_ray.spec.optim import OptimSpec

FP32 = [Setup(zero_stage=stage, layer_drop=True) for stage in (0, 1, 2, 3)]
BF16 = [Setup("bf16", zero_stage=stage, layer_drop=True) for stage in (1, 2, 3)]
UPDATES = 6


@cache
def curve(worlds: Worlds, size: int, setup: Setup) -> list[dict[str, Any]]:
    return cases.merged(worlds[size].run(cases.train, setup, 0, UPDATES))


@pytest.mark.parametrize("setup", [*FP32, *BF16], ids=str)
def test_the_loss_curve_is_the_same_for_one_two_and_three_workers(worlds: Worlds, setup: Setup) -> None:
    one = curve(worlds, 1, setup)
    # ZeRO 2 and 3 add in fp32, in an order that depends on the number of workers.
    bound = 0.0 if setup.zero_stage < 2 else 1e-6

    assert cases.largest_difference(curve(worlds, 2, setup), one) <= bound
    assert cases.largest_difference(curve(worlds, 3, setup), one) <= bound


@pytest.mark.parametrize("setup", [*FP32[:2], BF16[0]], ids=str)
def test_weights_and_moments_are_the_same_bits_for_one_two_and_three_workers(
    worlds: Worlds, setup: Setup, tmp_path: Path
) -> None:
    for size in (1, 2, 3):
        worlds[size].run(cases.train, setup, 0, UPDATES, None, tmp_path / str(size))

    assert_same_state(tmp_path / "2", tmp_path / "1")
    assert_same_state(tmp_path / "3", tmp_path / "1")


@pytest.mark.parametrize("setup", FP32, ids=str)
def test_an_update_is_what_torch_alone_computes(worlds: Worlds, setup: Setup) -> None:
    oracle = cases.merged([cases.train_without_deepspeed(setup, UPDATES)])

    assert cases.largest_difference(curve(worlds, 2, setup), oracle) <= 1e-6


def test_without_a_limit_nothing_is_clipped_and_the_norm_reported_is_the_same(worlds: Worlds) -> None:
    setup = Setup(clip_norm=None)
    oracle = cases.merged([cases.train_without_deepspeed(setup, UPDATES)])
    ours = curve(worlds, 3, setup)
    clipped = curve(worlds, 3, Setup())

    assert cases.largest_difference(ours, oracle) <= 1e-6
    assert ours[0]["norm"] == clipped[0]["norm"] > 0.05
    assert ours[1]["norm"] != clipped[1]["norm"]


@pytest.mark.parametrize("setup", [FP32[0], FP32[1], FP32[2], BF16[0]], ids=str)
def test_a_worker_without_a_micro_batch_still_takes_part(worlds: Worlds, setup: Setup) -> None:
    one = cases.merged(worlds[1].run(cases.train, setup, 0, 3, None, None, 2))
    three = cases.merged(worlds[3].run(cases.train, setup, 0, 3, None, None, 2))

    assert cases.largest_difference(three, one) <= (0.0 if setup.zero_stage < 2 else 1e-6)


def test_a_model_that_returns_a_dataclass_trains_the_same(worlds: Worlds) -> None:
    for setup in (BF16[0], FP32[2]):
        assert curve(worlds, 2, replace(setup, in_dataclass=True)) == curve(worlds, 2, setup)


def all_state(folder: Path) -> dict[str, torch.Tensor]:
    """Everything in a folder, by kind and parameter, whole."""
    description = describe_training_state(folder)
    state = {
        f"{kind} {name}": torch.full((parameter.numel,), torch.nan)
        for name, parameter in description.parameters.items()
        for kind in (description.kinds if parameter.trained else ("weight",))
    }
    for file in description.files:
        pieces = read_pieces(folder / file)
        values = read_slices(folder / file, [(piece, piece.start, piece.stop) for piece in pieces])
        for piece, value in zip(pieces, values, strict=True):
            state[f"{piece.kind} {piece.name}"][piece.start : piece.stop] = value
    return state


def assert_same_state(ours: Path, theirs: Path) -> None:
    assert describe_training_state(ours).step == describe_training_state(theirs).step
    our_state, their_state = all_state(ours), all_state(theirs)
    assert our_state.keys() == their_state.keys()
    for key, value in our_state.items():
        assert torch.equal(value, their_state[key]), key


@pytest.mark.parametrize("setup", [*FP32, BF16[0], BF16[2]], ids=str)
def test_an_update_of_infinite_gradient_is_reported_and_leaves_no_trace(
    worlds: Worlds, setup: Setup, tmp_path: Path
) -> None:
    for overflows in worlds[2].run(cases.overflow_case, setup, tmp_path):
        assert overflows == [False, True, False]

    assert_same_state(tmp_path / "after", tmp_path / "before")


def test_masters_start_from_the_weights_given_not_from_their_rounding(worlds: Worlds, tmp_path: Path) -> None:
    for setup in BF16:
        worlds[2].run(cases.train, setup, 0, 0, None, tmp_path / str(setup))
        weights = read_full_weights(tmp_path / str(setup))

        for name, parameter in TinyNet(setup).named_parameters():
            assert torch.equal(weights[name], parameter), name


@pytest.mark.parametrize("setup", [FP32[1], BF16[0], FP32[3]], ids=str)
def test_training_starts_from_the_first_workers_weights(worlds: Worlds, setup: Setup, tmp_path: Path) -> None:
    worlds[3].run(cases.rank_seeds_case, setup, tmp_path)
    weights = read_full_weights(tmp_path)

    for name, parameter in TinyNet(replace(setup, seed=0)).named_parameters():
        assert torch.equal(weights[name], parameter), name


@pytest.mark.parametrize("setup", [FP32[1], FP32[2]], ids=str)
def test_numbers_that_make_no_sense_are_refused(worlds: Worlds, setup: Setup) -> None:
    (messages,) = worlds[1].run(cases.misuse_case, setup)

    assert len(messages) == (4 if setup.zero_stage == 1 else 5)
    assert "count 2, total 1" in messages[0]
    assert "normaliser 0.0" in messages[1]
    assert "1" in messages[3]
    assert setup.zero_stage == 1 or "no more workers than an update has micro-batches" in messages[4]


def test_an_engine_needs_a_process_group_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: False)  # whatever ran in this process before
    with pytest.raises(RuntimeError, match="init_process_group"):
        TrainingEngine(
            TinyNet(Setup()), optim=OptimSpec(), engine=EngineSpec(precision="fp32"), device=torch.device("cpu")
        )


def test_the_module_knows_whether_it_is_trained(worlds: Worlds) -> None:
    assert worlds[1].run(cases.modes, Setup()) == [[True, False, True]]
