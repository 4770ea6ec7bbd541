from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import engine_cases as cases
import pytest
import torch
from engine_cases import Setup, TinyNet
from engine_worlds import Worlds
from test_training_engine import all_state, assert_same_state

from w2v2_ray.engine.state_file import Piece, read_pieces, read_slices, write_state_file
from w2v2_ray.engine.state_index import describe_training_state
from w2v2_ray.engine.training_state import read_full_weights
from w2v2_ray.errors import CheckpointError

ALL = [*(Setup(zero_stage=stage) for stage in (0, 1, 2, 3)), *(Setup("bf16", zero_stage=s) for s in (1, 2, 3))]
CHAINS = [(setup.precision, (setup.zero_stage,) * 4) for setup in ALL]
CHAINS += [("fp32", (0, 3, 1, 2)), ("fp32", (3, 0, 2, 1)), ("bf16", (1, 3, 2, 1))]


@pytest.mark.parametrize(("precision", "stages"), CHAINS, ids=str)
def test_a_run_that_changes_its_workers_ends_like_one_that_does_not(worlds: Worlds, tmp_path: Path, precision, stages):
    setup = Setup(precision, stages[0], frozen=True, layer_drop=True)
    whole = cases.merged(worlds[1].run(cases.train, setup, 0, 8, None, tmp_path / "whole"))
    chained, load = [], None
    for leg, (size, stage) in enumerate(zip((1, 2, 3, 1), stages, strict=True)):
        # Other first weights: whatever is not loaded shows.
        leg_setup = replace(setup, zero_stage=stage, seed=setup.seed + leg)
        save = tmp_path / str(leg)
        records = worlds[size].run(cases.train, leg_setup, 2 * leg, 2 * leg + 2, load, save)
        chained += cases.merged(records)
        load = save

    exact = max(stages) < 2  # ZeRO 2 and 3 add up in an order that depends on the number of workers.
    assert cases.largest_difference(chained, whole) <= (0.0 if exact else 1e-6)
    expected, got = all_state(tmp_path / "whole"), all_state(tmp_path / "3")
    assert expected.keys() == got.keys()
    assert describe_training_state(tmp_path / "3").step == 8
    for key, value in expected.items():
        assert (got[key] - value).norm() <= (0.0 if exact else 1e-5) * value.norm(), key
    conv = TinyNet(setup).conv
    assert torch.equal(got["weight conv.weight"], conv.weight.flatten())
    assert "exp_avg conv.weight" not in got


@pytest.mark.parametrize("setup", ALL, ids=str)
def test_resuming_on_as_many_workers_changes_no_bit(worlds: Worlds, setup: Setup, tmp_path: Path) -> None:
    whole = worlds[2].run(cases.train, setup, 0, 4, None, tmp_path / "whole")
    first = worlds[2].run(cases.train, setup, 0, 2, None, tmp_path / "first")
    second = worlds[2].run(cases.train, replace(setup, seed=9), 2, 4, tmp_path / "first", tmp_path / "second")

    assert [a + b for a, b in zip(first, second, strict=True)] == whole
    assert_same_state(tmp_path / "second", tmp_path / "whole")


@pytest.mark.parametrize("stages", [(1, 3), (3, 2), (2, 0), (0, 1)], ids=str)
def test_loading_on_other_workers_at_another_stage_and_saving_again_changes_no_bit(
    worlds: Worlds, tmp_path: Path, stages
) -> None:
    before, after = (Setup(zero_stage=stage, frozen=True) for stage in stages)
    worlds[3].run(cases.train, before, 0, 2, None, tmp_path / "before")
    worlds[2].run(cases.train, replace(after, seed=9), 2, 2, tmp_path / "before", tmp_path / "after")

    assert_same_state(tmp_path / "after", tmp_path / "before")
    assert len(describe_training_state(tmp_path / "before").files) == 6
    assert len(describe_training_state(tmp_path / "after").files) == 4


def test_precision_may_change_between_saving_and_loading(worlds: Worlds, tmp_path: Path) -> None:
    worlds[2].run(cases.train, Setup("bf16", 1), 0, 2, None, tmp_path / "bf16")
    worlds[1].run(cases.train, Setup("fp32", 0, seed=9), 2, 2, tmp_path / "bf16", tmp_path / "fp32")

    assert_same_state(tmp_path / "fp32", tmp_path / "bf16")


@pytest.mark.parametrize("stage", [0, 1, 3])
def test_a_state_saved_before_the_first_update_loads(worlds: Worlds, tmp_path: Path, stage) -> None:
    setup = Setup(zero_stage=stage)
    worlds[2].run(cases.train, setup, 0, 0, None, tmp_path / "fresh")
    whole = cases.merged(worlds[1].run(cases.train, setup, 0, 3))
    resumed = cases.merged(worlds[1].run(cases.train, replace(setup, seed=9), 0, 3, tmp_path / "fresh"))

    description = describe_training_state(tmp_path / "fresh")
    assert (description.step, description.kinds) == (0, ("weight",))
    assert resumed == whole


@pytest.mark.parametrize("setup", [ALL[0], ALL[1], ALL[3], ALL[4]], ids=str)
def test_a_snapshot_is_not_touched_by_the_updates_after_it(worlds: Worlds, setup: Setup, tmp_path: Path) -> None:
    worlds[2].run(cases.snapshot_case, setup, tmp_path)

    assert_same_state(tmp_path / "snapshot", tmp_path / "saved")


@pytest.mark.parametrize("stage", [0, 1, 3])
def test_workers_share_the_writing_evenly(worlds: Worlds, tmp_path: Path, stage) -> None:
    setup = Setup(zero_stage=stage, hidden=200)
    worlds[3].run(cases.train, setup, 0, 1, None, tmp_path)
    parameters = sum(parameter.numel() for parameter in TinyNet(setup).parameters())
    for part, kinds, copies in (("state", {"weight"}, 1), ("moments", {"exp_avg", "exp_avg_sq"}, 2)):
        files = sorted(tmp_path.glob(f"{part}-*.safetensors"))
        pieces = [read_pieces(file) for file in files]
        sizes = [sum(piece.numel for piece in some) for some in pieces]

        assert [file.name for file in files] == [f"{part}-0000{rank}.safetensors" for rank in range(3)]
        assert {piece.kind for some in pieces for piece in some} == kinds
        assert sum(sizes) == copies * parameters
        assert max(sizes) - min(sizes) <= 0.2 * max(sizes)


def together(folder: Path) -> None:
    """Rewrite a state as versions before 2026-11 wrote it: weights and moments of a worker in one file."""
    index = json.loads((folder / "state.json").read_text())
    ranks = [name for name in index["files"] if name.startswith("state-")]
    for name in ranks:
        parts = [folder / name, folder / name.replace("state-", "moments-")]
        pieces = [(piece, value) for part in parts for piece, value in _values(part)]
        write_state_file(folder / name, pieces)
        parts[1].unlink()
    edit_index(folder, files=ranks)


def _values(file: Path) -> list[tuple[Piece, torch.Tensor]]:
    pieces = read_pieces(file)
    values = read_slices(file, [(piece, piece.start, piece.stop) for piece in pieces])
    return [(piece, value.clone()) for piece, value in zip(pieces, values, strict=True)]


def test_a_state_of_an_earlier_version_is_loaded_and_goes_on_bit_for_bit(worlds: Worlds, tmp_path: Path) -> None:
    setup = Setup()
    worlds[2].run(cases.train, setup, 0, 2, None, tmp_path / "new")
    shutil.copytree(tmp_path / "new", tmp_path / "old")
    together(tmp_path / "old")
    assert [file.name for file in sorted((tmp_path / "old").glob("*.safetensors"))] == [
        "state-00000.safetensors",
        "state-00001.safetensors",
    ]
    for name in ("new", "old"):
        worlds[3].run(cases.train, setup, 2, 3, tmp_path / name, tmp_path / f"{name}-after")
    assert_same_state(tmp_path / "new-after", tmp_path / "old-after")
    for name, weight in read_full_weights(tmp_path / "new").items():
        assert torch.equal(read_full_weights(tmp_path / "old")[name], weight)


def test_weights_are_read_without_the_moments(worlds: Worlds, tmp_path: Path) -> None:
    worlds[2].run(cases.train, Setup(), 0, 2, None, tmp_path)
    expected = read_full_weights(tmp_path)
    sizes = {part: sum(f.stat().st_size for f in tmp_path.glob(f"{part}-*")) for part in ("state", "moments")}
    assert sizes["moments"] > sizes["state"]
    for file in tmp_path.glob("moments-*"):
        file.unlink()
    for name, weight in read_full_weights(tmp_path).items():
        assert torch.equal(weight, expected[name])


def test_a_state_describes_itself_and_gives_its_weights_without_an_engine(worlds: Worlds, tmp_path: Path) -> None:
    setup = Setup("bf16", 3, frozen=True)
    worlds[2].run(cases.train, setup, 0, 2, None, tmp_path)
    net = TinyNet(setup)
    description = describe_training_state(tmp_path)
    weights = read_full_weights(tmp_path)

    assert description.step == 2
    assert {n: p.shape for n, p in description.parameters.items()} == {n: p.shape for n, p in net.named_parameters()}
    assert [name for name, p in description.parameters.items() if not p.trained] == ["conv.weight", "conv.bias"]
    assert description.num_parameters == sum(p.numel() for p in net.parameters())
    assert description.state_bytes == sum(
        4 * piece.numel for f in description.files for piece in read_pieces(tmp_path / f)
    )
    net.load_state_dict(weights)
    assert torch.equal(net.conv.weight, TinyNet(setup).conv.weight)
    assert not torch.equal(net.head.weight, TinyNet(setup).head.weight)


def flip_bit(path: Path, at: int) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 4
    path.write_bytes(content)


DAMAGES = {
    "truncated": (
        lambda folder: (folder / SECOND).write_bytes((folder / SECOND).read_bytes()[:-8]),
        "bytes instead of",
    ),
    "emptied": (lambda folder: (folder / SECOND).write_bytes(b""), "too short for its header"),
    "bit flipped in the data": (lambda folder: flip_bit(folder / SECOND, -5), "checksum"),
    "bit flipped in a name": (lambda folder: flip_bit(folder / SECOND, 60), "state-00001|head|hidden|dropped"),
    "bit flipped in the header's length": (lambda folder: flip_bit(folder / SECOND, 5), "too short for its header"),
    "file gone": (lambda folder: (folder / SECOND).unlink(), "No such file"),
    "index gone": (lambda folder: (folder / "state.json").unlink(), "no training state here"),
    "index cut": (lambda folder: (folder / "state.json").write_text('{"format'), "not JSON"),
    "newer format": (lambda folder: edit_index(folder, version=2), "of format 2"),
    "other saves mixed": (lambda folder: edit_index(folder, files=["state-00000.safetensors"]), "incomplete"),
}
SECOND = "state-00001.safetensors"


def edit_index(folder: Path, **changes) -> None:
    index = folder / "state.json"
    index.write_text(json.dumps(json.loads(index.read_text()) | changes))


@pytest.fixture(scope="module")
def saved(worlds: Worlds, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("saved")
    worlds[2].run(cases.train, Setup(), 0, 2, None, folder)
    return folder


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_reported_by_every_worker_and_changes_nothing(
    worlds: Worlds, saved: Path, tmp_path: Path, damage: str
) -> None:
    folder = tmp_path / "damaged"
    folder.mkdir()
    for file in saved.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    inflict, message = DAMAGES[damage]
    inflict(folder)

    reports = worlds[2].run(cases.refused_load_case, Setup(), folder, tmp_path)
    assert len(set(reports)) == 1
    assert str(folder) in reports[0]
    with pytest.raises(CheckpointError, match=message):
        read_full_weights(folder)
    assert_same_state(tmp_path / "after", tmp_path / "before")


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (Setup(hidden=11), "other shapes: hidden.weight [13, 4] instead of [11, 4], hidden.bias [13] instead of [11]"),
        (
            Setup(rename=True),
            "missing from it: tail.weight, tail.bias; parameters the model does not have: head.weight, head.bias",
        ),
        (Setup(frozen=True), "frozen there and trained here, or the other way round: conv.weight, conv.bias"),
    ],
    ids=["shapes", "names", "frozen"],
)
def test_another_models_state_is_refused_by_naming_what_differs(
    worlds: Worlds, saved: Path, tmp_path: Path, other: Setup, message: str
) -> None:
    for report in worlds[2].run(cases.refused_load_case, other, saved, tmp_path):
        assert message in report

    assert_same_state(tmp_path / "after", tmp_path / "before")
