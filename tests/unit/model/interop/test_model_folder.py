"""Our own format."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from interop_models import LINEAR, VOCABULARY, assert_same_weights, random_model

from w2v2_ray.errors import CheckpointError, StorageError
from w2v2_ray.model.interop.formats import import_model
from w2v2_ray.model.interop.loaded_model import LoadedModel, check_model
from w2v2_ray.model.interop.model_folder import load_model, save_model, write_model
from w2v2_ray.spec.model import ContrastiveLossSpec


@pytest.mark.parametrize("kind", ["pretrain", "ctc", "backbone"])
@pytest.mark.parametrize("hourglass", [None, LINEAR])
def test_a_folder_holds_everything_that_was_saved(kind: Any, hourglass: Any, tmp_path: Path) -> None:
    model = random_model(kind, hourglass=hourglass)
    loss = ContrastiveLossSpec(negatives=7) if kind == "pretrain" else None
    dropout = 0.25 if kind == "ctc" else 0.0
    files = save_model(
        tmp_path / "m", model.spec, kind, model.state, model.vocabulary, loss=loss, final_dropout=dropout
    )
    assert sorted(tmp_path.joinpath("m").iterdir()) == sorted(files)
    back = load_model(tmp_path / "m")
    assert_same_weights(model, back)
    found = (back.spec, back.kind, back.vocabulary, back.loss, back.final_dropout)
    assert found == (model.spec, kind, VOCABULARY if kind == "ctc" else None, loss, dropout)
    assert list(back.state) == list(model.state)
    assert import_model(tmp_path / "m").spec == model.spec


def test_what_is_built_has_the_weights_and_computes(tmp_path: Path) -> None:
    model = random_model("backbone", hourglass=LINEAR)
    write_model(model, tmp_path / "m")
    waveform = torch.randn(1, 4000)
    with torch.no_grad():
        ours, back = (m.build()(waveform).context for m in (model, load_model(tmp_path / "m")))
    assert torch.equal(ours, back)
    assert not load_model(tmp_path / "m").build().training


def test_an_older_model_is_replaced_and_anything_else_is_kept(tmp_path: Path) -> None:
    write_model(random_model(seed=1), tmp_path / "m")
    newer = random_model(seed=2)
    write_model(newer, tmp_path / "m")
    assert_same_weights(newer, load_model(tmp_path / "m"))
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").write_bytes(b"cat")
    with pytest.raises(StorageError, match="holds something else"):
        write_model(newer, tmp_path / "photos")
    assert (tmp_path / "photos" / "cat.jpg").read_bytes() == b"cat"
    assert {path.name for path in tmp_path.iterdir()} == {"m", "photos"}


def test_a_failed_write_leaves_the_older_model_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    older = random_model(seed=1)
    write_model(older, tmp_path / "m")

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("w2v2_ray.model.interop.model_folder.write_safetensors", full)
    with pytest.raises(StorageError, match="No space left"):
        write_model(random_model(seed=2), tmp_path / "m")
    assert_same_weights(older, load_model(tmp_path / "m"))
    assert [path.name for path in tmp_path.iterdir()] == ["m"]


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        ("spec.yaml", "layers: 4", "layers: 3", r"unexpected: backbone\.encoder\.stack\.layers\.3\.attention"),
        ("spec.yaml", "version: 1", "version: 2", "a model of format 2, this release reads up to 1"),
        ("spec.yaml", "kind: ctc", "kind: pretrain", r"unexpected: head\.bias, head\.weight"),
        ("spec.yaml", "heads: 4", "heads: many", r"model\.encoder\.heads"),
        ("spec.yaml", "format: w2v2-ray model", "format: other", "not the description of a model"),
        ("spec.yaml", "kind: ctc", "kind: [", "not valid YAML"),
        ("spec.yaml", "kind: ctc", "kind: !!python/name:os.system ctc", "tag"),
        ("vocab.json", '"<pad>",\n', "", "10 symbols for 11 outputs"),
        ("vocab.json", '"<pad>"', '"<s>"', "more than once"),
        ("vocab.json", '"<pad>",', '"<pad>"', "not JSON"),
    ],
)
def test_an_altered_part_is_noticed(file: str, old: str, new: str, message: str, tmp_path: Path) -> None:
    write_model(random_model(), tmp_path / "m")
    path = tmp_path / "m" / file
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(CheckpointError, match=message):
        load_model(tmp_path / "m")


@pytest.mark.parametrize("name", ["spec.yaml", "model.safetensors"])
def test_a_missing_part_is_named(name: str, tmp_path: Path) -> None:
    write_model(random_model(), tmp_path / "m")
    (tmp_path / "m" / name).unlink()
    with pytest.raises(CheckpointError, match=rf"no {name}"):
        load_model(tmp_path / "m")


def test_weights_that_do_not_fit_are_not_saved(tmp_path: Path) -> None:
    model = random_model("pretrain")
    model.state["target_proj.bias"][0] = torch.nan
    with pytest.raises(CheckpointError, match=r"NaN or infinite weights in target_proj\.bias"):
        save_model(tmp_path / "m", model.spec, "pretrain", model.state)
    del model.state["target_proj.bias"]
    with pytest.raises(CheckpointError, match=r"missing: target_proj\.bias"):
        check_model(LoadedModel(model.spec, "pretrain", model.state, source="x"))
    assert list(tmp_path.iterdir()) == []
