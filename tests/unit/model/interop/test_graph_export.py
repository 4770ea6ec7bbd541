"""Recognisers as graphs: another batch and length than they were traced with, padded, with an Hourglass."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from interop_models import HOURGLASS, LINEAR, VOCABULARY, random_model

from w2v2_ray.errors import CheckpointError, MissingExtraError
from w2v2_ray.model.interop.format_names import TargetFormat
from w2v2_ray.model.interop.formats import export_model
from w2v2_ray.model.interop.graph_export import RecogniserGraph
from w2v2_ray.model.interop.loaded_model import LoadedModel

SMALL: dict[str, Any] = {
    "feature_encoder": {"conv_layers": [(16, 10, 5), (16, 8, 8), (16, 8, 8)]},
    "encoder": {"layers": 3, "dim": 24, "ffn_dim": 40, "heads": 4, "position_kernel": 16, "position_groups": 4},
}


def _recogniser(hourglass: dict[str, Any] | None) -> LoadedModel:
    parts = None if hourglass is None else hourglass | {"middle_layers": 1}
    return random_model(feature_encoder=SMALL["feature_encoder"], encoder=SMALL["encoder"] | {"hourglass": parts})


def _inputs(rows: int, samples: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(rows)
    return torch.randn(rows, samples, generator=generator), torch.tensor([samples - 999 * row for row in range(rows)])


@pytest.mark.parametrize("hourglass", [None, HOURGLASS, LINEAR])
@pytest.mark.parametrize("samples", [9_000, 9_320, 9_640])
def test_the_graph_computes_what_the_model_computes(hourglass: dict[str, Any] | None, samples: int) -> None:
    network = _recogniser(hourglass).build()
    waveform, lengths = _inputs(3, samples)
    with torch.no_grad():
        ours = network(waveform, lengths)
        log_probs, frame_lengths = RecogniserGraph(network)(waveform, lengths)  # type: ignore[arg-type]
    torch.testing.assert_close(log_probs, ours.log_probs, rtol=0, atol=2e-5)
    assert torch.equal(frame_lengths, ours.frame_lengths)


@pytest.mark.filterwarnings("ignore:The given buffer is not writable")  # torch 2.11's own loading
@pytest.mark.parametrize("hourglass", [HOURGLASS, LINEAR], ids=["naive", "linear"])
def test_an_exported_program_takes_any_batch_and_length(tmp_path: Path, hourglass: dict[str, Any]) -> None:
    model = _recogniser(hourglass)
    files = export_model(model, TargetFormat.TORCH_EXPORT, tmp_path / "model.pt2")
    assert json.loads(files[1].read_text()) == list(VOCABULARY)
    program, network = torch.export.load(tmp_path / "model.pt2").module(), model.build()
    for rows, samples in ((1, 5_000), (3, 9_001)):
        waveform, lengths = _inputs(rows, samples)
        with torch.no_grad():
            log_probs, frame_lengths = program(waveform, lengths)
            ours = network(waveform, lengths)
        torch.testing.assert_close(log_probs, ours.log_probs, rtol=0, atol=2e-5)
        assert torch.equal(frame_lengths, ours.frame_lengths)


@pytest.mark.slow
@pytest.mark.skipif(
    not all(importlib.util.find_spec(name) for name in ("onnx", "onnxscript", "onnxruntime")),
    reason="needs the extra [onnx]",
)
@pytest.mark.parametrize("hourglass", [HOURGLASS, LINEAR], ids=["naive", "linear"])
def test_an_onnx_model_takes_any_batch_and_length(tmp_path: Path, hourglass: dict[str, Any]) -> None:
    import onnxruntime

    model = _recogniser(hourglass)
    export_model(model, TargetFormat.ONNX, tmp_path / "model.onnx")
    assert {path.name for path in tmp_path.iterdir()} == {"model.onnx", "model.vocab.json"}
    session, network = onnxruntime.InferenceSession(str(tmp_path / "model.onnx")), model.build()
    assert [value.name for value in session.get_outputs()] == ["log_probs", "frame_lengths"]
    for rows, samples in ((1, 5_000), (3, 9_001)):
        waveform, lengths = _inputs(rows, samples)
        out = session.run(None, {"waveform": waveform.numpy(), "lengths": lengths.numpy()})
        with torch.no_grad():
            ours = network(waveform, lengths)
        torch.testing.assert_close(torch.from_numpy(out[0]), ours.log_probs, rtol=0, atol=1e-4)
        assert out[1].tolist() == ours.frame_lengths.tolist()


def test_without_the_extra_onnx_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"pip install 'w2v2-ray\[onnx\]'"):
        export_model(_recogniser(None), TargetFormat.ONNX, tmp_path / "model.onnx")


@pytest.mark.parametrize("target", [TargetFormat.TORCH_EXPORT, TargetFormat.ONNX])
def test_only_recognisers_become_graphs(target: TargetFormat, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("w2v2_ray.model.interop.graph_export._ONNX_PACKAGES", ())
    with pytest.raises(CheckpointError, match="only recognisers"):
        export_model(random_model("pretrain"), target, tmp_path / "model")
