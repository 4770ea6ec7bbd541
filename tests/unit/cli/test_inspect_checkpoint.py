"""`w2v2-ray inspect` of a checkpoint."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from w2v2_ray.cli.app import app
from w2v2_ray.engine.state_file import Piece
from w2v2_ray.engine.state_index import ParameterInfo, StateDescription
from w2v2_ray.engine.training_state import HostSnapshot
from w2v2_ray.run.checkpoints.files import CheckpointManifest
from w2v2_ray.run.checkpoints.store import CheckpointStore
from w2v2_ray.spec.job import CheckpointSpec


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """A snapshot of two parameters, one of them frozen, after three updates."""
    description = StateDescription(
        step=3,
        kinds=("weight",),
        parameters={"encoder.a": ParameterInfo((2, 3), True), "encoder.b": ParameterInfo((4,), False)},
        files=("state-00000.safetensors",),
        loss_scale=None,
    )
    pieces = [
        (Piece("weight", "encoder.a", 0, 6), torch.arange(6.0)),
        (Piece("weight", "encoder.b", 0, 4), torch.ones(4)),
    ]
    store = CheckpointStore(tmp_path, CheckpointSpec(), attempt="a", world_rank=0, world_size=1)
    manifest = CheckpointManifest(update=3, epoch=1, world_size=1, identity={"model": "abc"}, kind="snapshot")
    store.save(manifest, HostSnapshot(pieces, description, 0).write)
    store.close()
    return tmp_path / "snapshot-00000003"


def test_the_contents_of_a_checkpoint_are_listed(checkpoint: Path):
    result = CliRunner().invoke(app, ["inspect", str(checkpoint)])
    assert result.exit_code == 0, result.output
    for text in (
        "snapshot",
        "3 (epoch 1, 3 optimizer steps)",
        "10, 4 of them frozen",
        "checksums verified",
        "model abc",
    ):
        assert text in result.output


def test_a_script_gets_json(checkpoint: Path):
    result = CliRunner().invoke(app, ["inspect", str(checkpoint), "--json"])
    report = json.loads(result.output)
    assert (report["update"], report["parameters"], report["trained_parameters"]) == (3, 10, 6)
    assert report["modules"] == {"encoder.a": 6, "encoder.b": 4}
    assert set(report["files"]) == {"state.json", "state-00000.safetensors"}


def test_a_damaged_file_is_named_unless_only_sizes_are_asked_for(checkpoint: Path):
    file = checkpoint / "state-00000.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    result = CliRunner().invoke(app, ["inspect", str(checkpoint)])
    assert result.exit_code == 2
    assert "state-00000.safetensors" in result.output
    assert CliRunner().invoke(app, ["inspect", str(checkpoint), "--fast"]).exit_code == 0
    file.write_bytes(content[:-1])
    assert CliRunner().invoke(app, ["inspect", str(checkpoint), "--fast"]).exit_code == 2
