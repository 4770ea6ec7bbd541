from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from w2v2_ray.cli.app import app
from w2v2_ray.engine.state_file import Piece
from w2v2_ray.engine.state_index import ParameterInfo, StateDescription
from w2v2_ray.engine.training_state import HostSnapshot
from w2v2_ray.model.factory import build_pretrain_model
from w2v2_ray.model.interop.model_folder import load_model, save_model
from w2v2_ray.run.checkpoints.files import CheckpointManifest
from w2v2_ray.run.checkpoints.store import CheckpointStore
from w2v2_ray.spec.job import PretrainJob
from w2v2_ray.spec.loading import dump_job


def run(*arguments: Any) -> Any:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def finished_run(make_tiny_job: Any, tmp_path: Path) -> tuple[Path, dict[str, torch.Tensor]]:
    """A run's folder with one checkpoint, written by the engine's own classes; no training took place."""
    torch.manual_seed(0)
    job: PretrainJob = make_tiny_job(tmp_path)
    state = build_pretrain_model(job.model).state_dict()
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "spec.yaml").write_text(dump_job(job))
    parameters = {name: ParameterInfo(tuple(tensor.shape), True) for name, tensor in state.items()}
    description = StateDescription(4, ("weight",), parameters, ("state-00000.safetensors",), None)
    pieces = [(Piece("weight", name, 0, tensor.numel()), tensor.flatten()) for name, tensor in state.items()]
    snapshot = HostSnapshot(pieces, description, 0)
    store = CheckpointStore(folder / "checkpoints", job.checkpoint, attempt="a", world_rank=0, world_size=1)
    store.save(CheckpointManifest(4, 0, 1, {}), snapshot.write)
    store.close()
    return folder, state


@pytest.mark.parametrize("which", ["run", "checkpoint"])
def test_a_run_and_a_checkpoint_export_to_a_model_folder(which: str, finished_run: Any, tmp_path: Path) -> None:
    folder, state = finished_run
    source = folder if which == "run" else folder / "checkpoints" / "update-00000004"
    result = run("export", source, "--to", "own", "--out", tmp_path / "model")
    assert result.exit_code == 0, result.output
    assert "pretrain model" in result.stdout
    assert "Hourglass [1, (1, 2), 1] naive" in result.stdout
    model = load_model(tmp_path / "model")
    assert all(torch.equal(model.state[name], state[name]) for name in state)
    assert model.loss is not None
    assert model.loss.negatives == 5


def test_a_run_without_a_whole_checkpoint_says_so(finished_run: Any, tmp_path: Path) -> None:
    folder, _ = finished_run
    shard = folder / "checkpoints" / "update-00000004" / "state-00000.safetensors"
    shard.write_bytes(shard.read_bytes()[:-5])
    result = run("export", folder, "--to", "own", "--out", tmp_path / "model")
    assert result.exit_code == 2
    assert "no whole checkpoint" in result.stderr
    assert not (tmp_path / "model").exists()


def test_an_hourglass_is_refused_with_exit_code_2_and_one_message(finished_run: Any, tmp_path: Path) -> None:
    result = run("export", finished_run[0], "--to", "huggingface", "--out", tmp_path / "hf")
    assert result.exit_code == 2
    assert result.stderr.splitlines()[-1].endswith("export to nvidia, onnx or torch-export, which have")


def test_import_turns_another_projects_file_into_a_model_folder(finished_run: Any, tmp_path: Path) -> None:
    folder, state = finished_run
    assert run("export", folder, "--to", "nvidia", "--out", tmp_path / "n.pt").exit_code == 0
    result = run("import", tmp_path / "n.pt", "--out", tmp_path / "model", "--json")
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert (document["kind"], document["notes"]) == ("pretrain", [])
    model = load_model(tmp_path / "model")
    assert all(torch.equal(model.state[name], state[name]) for name in state)


def test_a_vocabulary_can_be_given_and_its_absence_is_a_warning(make_tiny_job: Any, tmp_path: Path) -> None:
    from w2v2_ray.model.factory import build_ctc_model

    spec = make_tiny_job(tmp_path).model
    save_model(tmp_path / "m", spec, "ctc", build_ctc_model(spec, 3).state_dict())
    result = run("export", tmp_path / "m", "--to", "torchaudio", "--out", tmp_path / "a.pt")
    assert result.exit_code == 2  # an Hourglass
    result = run("import", tmp_path / "m", "--out", tmp_path / "same")
    assert "no vocabulary" in result.stderr
    (tmp_path / "v.json").write_text('["<s>", "|", "A"]')
    result = run("import", tmp_path / "m", "--out", tmp_path / "named", "--vocabulary", tmp_path / "v.json")
    assert (result.exit_code, result.stderr) == (0, "")
    assert load_model(tmp_path / "named").vocabulary == ("<s>", "|", "A")


def test_a_wrong_file_is_one_message(tmp_path: Path) -> None:
    (tmp_path / "x.pt").write_text("hello\n")
    result = run("import", tmp_path / "x.pt", "--out", tmp_path / "m")
    assert result.exit_code == 2
    assert len(result.stderr.splitlines()) == 1
    assert result.stderr.startswith("error: ")


@pytest.mark.parametrize(
    ("symbols", "said"),
    [(["A", "<s>", "|"], "output 0 is 'A'; it must be the CTC blank"), (["<s>", "A", "B"], "no symbol ends a word")],
)
def test_a_recogniser_that_could_not_transcribe_is_refused_at_import(symbols, said, make_tiny_job, tmp_path):
    from w2v2_ray.model.factory import build_ctc_model

    spec = make_tiny_job(tmp_path).model
    save_model(tmp_path / "model", spec, "ctc", build_ctc_model(spec, 3).state_dict(), tuple(symbols))
    result = run("import", tmp_path / "model", "--out", tmp_path / "out")
    assert result.exit_code == 2
    assert said in result.stderr
    assert not (tmp_path / "out").exists()
