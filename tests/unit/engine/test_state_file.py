from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from w2v2_ray.engine.state_file import Piece, read_pieces, read_slices, verify_state_file, write_state_file
from w2v2_ray.errors import CheckpointError

PIECES = [
    (Piece("weight", "a/b.weight", 3, 5), torch.arange(5.0)),
    (Piece("exp_avg", "c", 0, 2), torch.tensor([1.5, -2.0])),
]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "state.safetensors"
    write_state_file(path, PIECES)
    return path


def test_any_safetensors_reader_opens_it(path: Path) -> None:
    tensors = load_file(path)

    assert sorted(tensors) == ["exp_avg/0/c", "weight/3/a/b.weight"]
    assert torch.equal(tensors["weight/3/a/b.weight"], torch.arange(5.0))


def test_pieces_and_slices_come_back(path: Path) -> None:
    assert read_pieces(path) == [piece for piece, _ in PIECES]
    assert [s.tolist() for s in read_slices(path, [(PIECES[0][0], 4, 7), (PIECES[1][0], 1, 2)])] == [[1, 2, 3], [-2]]
    verify_state_file(path)
    assert [file.name for file in path.parent.iterdir()] == ["state.safetensors"]


def test_every_flipped_bit_is_noticed(path: Path) -> None:
    whole = path.read_bytes()
    for at in range(len(whole)):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        with pytest.raises(CheckpointError, match="damaged"):
            verify_state_file(path)


def test_every_truncation_is_noticed_from_the_header_alone(path: Path) -> None:
    whole = path.read_bytes()
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        with pytest.raises(CheckpointError, match="damaged"):
            read_pieces(path)


def test_values_must_be_flat_fp32_of_the_announced_size(tmp_path: Path) -> None:
    piece = Piece("weight", "a", 0, 2)
    for value in (torch.zeros(3), torch.zeros(1, 2), torch.zeros(2, dtype=torch.bfloat16)):
        with pytest.raises(ValueError, match="weight/0/a"):
            write_state_file(tmp_path / "x", [(piece, value)])
