"""Files that mean harm, or are broken: each gets one message, and nothing in them runs."""

from __future__ import annotations

import io
import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from interop_models import random_model

from w2v2_ray.errors import CheckpointError
from w2v2_ray.model.interop.format_names import TargetFormat
from w2v2_ray.model.interop.formats import export_model, import_model


class _Command:
    """Pickles to a call of `os.system`."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (self.command,)


def _refusal(path: Path) -> str:
    with pytest.raises(CheckpointError) as caught:
        import_model(path)
    assert "\n" not in caught.value.message
    assert str(path) in caught.value.message
    return caught.value.message


@pytest.mark.parametrize("form", ["zip", "legacy", "plain pickle", "plain pickle, protocol 0"])
def test_a_pickle_that_would_run_a_command_is_refused_and_runs_nothing(form: str, tmp_path: Path) -> None:
    witness, path = tmp_path / "was-here", tmp_path / "model.pt"
    content = {"model": {"mask_emb": torch.zeros(3)}, "args": _Command(f"touch {witness}")}
    if form.startswith("plain"):
        path.write_bytes(pickle.dumps({"args": content["args"]}, protocol=0 if "0" in form else 4))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=form == "zip")
    assert "posix.system" in _refusal(path)
    assert not witness.exists()
    # The file is what it claims to be: a bare load does run it.
    if form.startswith("plain"):
        pickle.loads(path.read_bytes())
    else:
        torch.load(path, weights_only=False)
    assert witness.exists()


@pytest.mark.parametrize(
    "name", ["builtins.eval", "builtins.getattr", "subprocess.Popen", "torch.hub.load", "functools.partial", "x.Y"]
)
def test_names_outside_the_allow_list_are_refused_by_name(name: str, tmp_path: Path) -> None:
    module, _, attribute = name.rpartition(".")
    opcodes = f"c{module}\n{attribute}\n(S'1'\ntR.".encode()
    with zipfile.ZipFile(tmp_path / "model.pt", "w") as archive:
        archive.writestr("archive/data.pkl", opcodes)
        archive.writestr("archive/version", "3\n")
    assert name in _refusal(tmp_path / "model.pt")


def test_pickled_weights_of_a_hugging_face_folder_are_read_as_carefully(tmp_path: Path) -> None:
    export_model(random_model(), TargetFormat.HUGGINGFACE, tmp_path / "hf")
    (tmp_path / "hf" / "model.safetensors").unlink()
    torch.save({"lm_head.weight": _Command(f"touch {tmp_path}/was-here")}, tmp_path / "hf" / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match=r"pytorch_model\.bin: refers to posix\.system"):
        import_model(tmp_path / "hf")
    assert not (tmp_path / "was-here").exists()


def test_a_zip_bomb_is_refused_before_anything_is_unpacked(tmp_path: Path) -> None:
    torch.save({"model": {}}, tmp_path / "model.pt")
    with zipfile.ZipFile(tmp_path / "model.pt", "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("model/data/0", bytes(64 << 20))
    assert (tmp_path / "model.pt").stat().st_size < 1 << 20
    assert "a zip bomb" in _refusal(tmp_path / "model.pt")


def test_a_tensor_that_claims_more_than_it_holds_is_refused(tmp_path: Path) -> None:
    torch.save({"model": {"mask_emb": torch.zeros(1).expand(1 << 20, 1 << 20)}}, tmp_path / "model.pt")
    message = _refusal(tmp_path / "model.pt")
    assert "model.mask_emb says it has shape [1048576, 1048576] but holds less" in message


@pytest.mark.parametrize("form", ["zip", "legacy", "safetensors", "own"])
@pytest.mark.parametrize("share", [0.02, 0.5, 0.99])
def test_a_truncated_file_is_reported(form: str, share: float, tmp_path: Path) -> None:
    model = random_model("pretrain")
    if form in ("zip", "legacy"):
        export_model(model, TargetFormat.NVIDIA, tmp_path / "model.pt")
        file = source = tmp_path / "model.pt"
        torch.save(torch.load(file, weights_only=True), file, _use_new_zipfile_serialization=form == "zip")
    else:
        source = tmp_path / "folder"
        export_model(model, TargetFormat.OWN if form == "own" else TargetFormat.HUGGINGFACE, source)
        file = source / "model.safetensors"
    content = file.read_bytes()
    file.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(CheckpointError, match=r"truncated|damaged|whole"):
        import_model(source)


@pytest.mark.parametrize(
    "content", [b"", b"PK\x03\x04", b"hello, this is text\n", b"\x80\x02]q\x00.", os.urandom(4096), b"\x80\x02}q\x00."]
)
def test_what_is_no_checkpoint_is_reported(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "model.pt").write_bytes(content)
    _refusal(tmp_path / "model.pt")


def test_torchscript_and_foreign_zip_files_are_told_apart(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.pt", "w") as archive:
        archive.writestr("a/constants.pkl", b"\x80\x02.")
        archive.writestr("a/data.pkl", b"\x80\x02.")
    assert "TorchScript" in _refusal(tmp_path / "a.pt")
    with zipfile.ZipFile(tmp_path / "b.pt", "w") as archive:
        archive.writestr("readme.txt", "hello")
    assert "not one of torch.save" in _refusal(tmp_path / "b.pt")


def test_another_architecture_is_reported_with_its_names(tmp_path: Path) -> None:
    torch.save({"conv1.weight": torch.zeros(3), "bn1.bias": torch.zeros(3)}, tmp_path / "resnet.pt")
    message = _refusal(tmp_path / "resnet.pt")
    assert "not a wav2vec 2.0 checkpoint" in message
    assert "conv1.weight, bn1.bias" in message


def test_missing_unexpected_and_misshapen_weights_are_listed_together(tmp_path: Path) -> None:
    export_model(random_model("pretrain"), TargetFormat.FAIRSEQ, tmp_path / "model.pt")
    checkpoint = torch.load(tmp_path / "model.pt", weights_only=True)
    weights = checkpoint["model"]
    del weights["encoder.layers.2.fc2.bias"], weights["project_q.bias"]
    weights["encoder.layers.0.adapter.weight"] = torch.zeros(2)
    weights["final_proj.bias"] = torch.zeros(99)
    torch.save(checkpoint, tmp_path / "model.pt")
    message = _refusal(tmp_path / "model.pt")
    assert "missing: backbone.encoder.stack.layers.2.ffn_out.bias, target_proj.bias" in message
    assert "unexpected: encoder.layers.0.adapter.weight" in message
    assert "of another shape: context_proj.bias [99] instead of [20]" in message


def test_a_long_list_of_differences_is_cut_after_eight(tmp_path: Path) -> None:
    export_model(random_model("pretrain"), TargetFormat.FAIRSEQ, tmp_path / "model.pt")
    checkpoint = torch.load(tmp_path / "model.pt", weights_only=True)
    checkpoint["model"] |= {f"surprise.{number}": torch.zeros(1) for number in range(20)}
    torch.save(checkpoint, tmp_path / "model.pt")
    assert "surprise.7 and 12 more" in _refusal(tmp_path / "model.pt")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused_by_name(value: float, tmp_path: Path) -> None:
    export_model(random_model(), TargetFormat.FAIRSEQ, tmp_path / "model.pt")
    checkpoint = torch.load(tmp_path / "model.pt", weights_only=True)
    checkpoint["model"]["w2v_encoder.w2v_model.encoder.layers.1.fc1.weight"][0, 3] = value
    torch.save(checkpoint, tmp_path / "model.pt")
    assert "NaN or infinite weights in backbone.encoder.stack.layers.1.ffn_in.weight" in _refusal(tmp_path / "model.pt")


def test_an_index_cannot_name_files_outside_its_folder(tmp_path: Path) -> None:
    export_model(random_model(), TargetFormat.HUGGINGFACE, tmp_path / "hf")
    (tmp_path / "hf" / "model.safetensors").rename(tmp_path / "elsewhere.safetensors")
    index = tmp_path / "hf" / "model.safetensors.index.json"
    index.write_text('{"weight_map": {"lm_head.weight": "../elsewhere.safetensors"}}')
    with pytest.raises(CheckpointError, match="does not name files of this folder"):
        import_model(tmp_path / "hf")


def test_files_that_do_not_exist_and_folders_of_something_else_are_reported(tmp_path: Path) -> None:
    assert "no such file" in _refusal(tmp_path / "nothing.pt")
    assert "neither a model folder" in _refusal(tmp_path)


def test_flipped_bytes_lead_to_a_message(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    torch.save({"model": {"mask_emb": torch.zeros(3)}, "args": {"a": 1, "b": "text"}}, buffer)
    content, path = bytearray(buffer.getvalue()), tmp_path / "model.pt"
    for position in range(0, len(content), 31):
        flipped = bytearray(content)
        flipped[position] ^= 0x55
        path.write_bytes(flipped)
        _refusal(path)


@pytest.mark.parametrize("name", ["model.pt", "model.safetensors"])
@pytest.mark.parametrize(
    ("content", "said"),
    [
        (
            b"version https://git-lfs.github.com/spec/v1\r\noid sha256:00\r\nsize 5\r\n",
            "a Git LFS pointer.*git lfs pull",
        ),
        (b"<!DOCTYPE html>\n<html><body>Sign in</body></html>", "an HTML page"),
        (b'\xef\xbb\xbf<html lang="en">', "an HTML page"),
        (b'{"error": "Repository not found"}', "error message of a server"),
        (b"\x1f\x8b\x08\x00 packed", "packed with gzip"),
        (b"", "an empty file"),
    ],
)
def test_what_is_no_checkpoint_at_all_is_called_what_it_is(tmp_path, name, content, said):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=said):
        import_model(path)
