"""fairseq's and the NVIDIA reference's files in all their forms, without either library."""

from __future__ import annotations

import argparse
import sys
import types
from pathlib import Path
from typing import Any

import pytest
import torch
from interop_models import HOURGLASS, LINEAR, VOCABULARY, assert_same_weights, random_model
from torch import Tensor

from w2v2_ray.errors import CheckpointError
from w2v2_ray.model.interop.fairseq_names import to_fairseq
from w2v2_ray.model.interop.fairseq_options import options_of
from w2v2_ray.model.interop.format_names import TargetFormat
from w2v2_ray.model.interop.formats import export_model, import_model
from w2v2_ray.model.interop.loaded_model import LoadedModel


def _save(content: Any, path: Path, **options: Any) -> Path:
    torch.save(content, path, **options)
    return path


def _options(model: LoadedModel) -> dict[str, Any]:
    return options_of(model.spec, model.loss)


@pytest.mark.parametrize("target", [TargetFormat.FAIRSEQ, TargetFormat.NVIDIA])
@pytest.mark.parametrize("kind", ["pretrain", "ctc", "backbone"])
@pytest.mark.parametrize("large", [False, True])
def test_export_and_import_is_the_identity(target: TargetFormat, kind: Any, large: bool, tmp_path: Path) -> None:
    model = random_model(kind, large=large)
    export_model(model, target, tmp_path / "model.pt")
    back = import_model(tmp_path / "model.pt")
    assert_same_weights(model, back)
    assert (back.kind, back.spec, back.vocabulary) == (kind, model.spec, model.vocabulary)
    assert back.notes == ()


@pytest.mark.parametrize("hourglass", [HOURGLASS, LINEAR])
@pytest.mark.parametrize("kind", ["pretrain", "ctc"])
def test_the_nvidia_form_keeps_an_hourglass(hourglass: dict[str, Any], kind: Any, tmp_path: Path) -> None:
    model = random_model(kind, hourglass=hourglass)
    export_model(model, TargetFormat.NVIDIA, tmp_path / "model.pt")
    back = import_model(tmp_path / "model.pt")
    assert_same_weights(model, back)
    assert back.spec == model.spec


@pytest.mark.parametrize("target", [TargetFormat.FAIRSEQ, TargetFormat.HUGGINGFACE, TargetFormat.TORCHAUDIO])
def test_targets_without_an_hourglass_refuse_one_and_say_which_take_it(target: TargetFormat, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no Hourglass; export to nvidia, onnx or torch-export"):
        export_model(random_model(hourglass=HOURGLASS), target, tmp_path / "out.pt")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("zipped", [True, False])
def test_the_args_form_imports_from_new_and_old_files(zipped: bool, tmp_path: Path) -> None:
    model = random_model("pretrain", large=True)
    args = argparse.Namespace(arch="wav2vec2", **_options(model))
    content = {"args": args, "model": to_fairseq(model.state), "extra_state": {"epoch": 3}}
    back = import_model(_save(content, tmp_path / "m.pt", _use_new_zipfile_serialization=zipped))
    assert_same_weights(model, back)
    assert back.spec == model.spec


@pytest.mark.parametrize("form", ["args", "cfg"])
def test_a_fine_tuned_model_has_its_network_from_pre_training_and_dropout_of_its_own(form: str, tmp_path: Path) -> None:
    model = random_model("ctc")
    pretrained = {**_options(model), "dropout": 0.1, "mask_prob": 0.65}
    own = {"dropout": 0.0, "mask_prob": 0.5, "layerdrop": 0.2, "final_dropout": 0.3, "feature_grad_mult": 0.0}
    if form == "args":
        w2v_args = argparse.Namespace(arch="wav2vec2", **pretrained)
        content = {"args": argparse.Namespace(arch="wav2vec_ctc", w2v_args=w2v_args, **own)}
    else:
        w2v_cfg = {"model": {"_name": "wav2vec2", **pretrained}, "task": {"normalize": False}}
        cfg = {"model": {"_name": "wav2vec_ctc", "w2v_args": w2v_cfg, **own, "normalize": "${task.normalize}"}}
        content = {"cfg": {**cfg, "task": {"normalize": True, "data": "???"}}}
    back = import_model(_save({**content, "model": to_fairseq(model.state)}, tmp_path / "m.pt"))
    assert_same_weights(model, back)
    encoder = back.spec.encoder
    assert (encoder.heads, encoder.dropout, encoder.layer_drop) == (4, 0.0, 0.2)
    assert (back.spec.masking.probability, back.final_dropout) == (0.5, 0.3)
    assert back.spec.feature_encoder.gradient_scale == 0.0
    assert back.spec.normalize_waveform is (form == "cfg")


class _Node:
    """Shape of an OmegaConf node; its module's name is lent while pickling."""

    def __init__(self, **attributes: Any) -> None:
        self.__dict__.update(attributes)


def _omegaconf(value: Any, classes: dict[str, type]) -> Any:
    metadata = classes["ContainerMetadata"](ref_type=Any, object_type=dict, optional=True, key=None)
    if isinstance(value, dict):
        content = {key: _omegaconf(child, classes) for key, child in value.items()}
        return classes["DictConfig"](_metadata=metadata, _parent=None, _content=content)
    if isinstance(value, list):
        content_list = [_omegaconf(child, classes) for child in value]
        return classes["ListConfig"](_metadata=metadata, _parent=None, _content=content_list)
    return classes["AnyNode"](_metadata=metadata, _parent=None, _val=value)


@pytest.fixture
def lent_classes(monkeypatch: pytest.MonkeyPatch) -> dict[str, type]:
    """Classes that pickle as OmegaConf's and fairseq's; what is loaded never looks them up."""
    places = {
        "DictConfig": "omegaconf.dictconfig",
        "ListConfig": "omegaconf.listconfig",
        "AnyNode": "omegaconf.nodes",
        "ContainerMetadata": "omegaconf.base",
        "Dictionary": "fairseq.data.dictionary",
    }
    classes = {}
    for name, place in places.items():
        classes[name] = type(name, (_Node,), {"__module__": place})
        module = types.ModuleType(place)
        setattr(module, name, classes[name])
        monkeypatch.setitem(sys.modules, place, module)
    for package in ("omegaconf", "fairseq", "fairseq.data"):
        monkeypatch.setitem(sys.modules, package, types.ModuleType(package))
    return classes


def test_omegaconf_and_fairseq_objects_load_without_the_libraries(
    lent_classes: dict[str, type], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    model = random_model("ctc")
    w2v_args = {"model": {"_name": "wav2vec2", **_options(model)}, "task": {"normalize": False}}
    cfg = {"model": {"_name": "wav2vec_ctc", "w2v_args": w2v_args}, "task": {"normalize": False, "labels": "ltr"}}
    dictionary = lent_classes["Dictionary"](symbols=list(VOCABULARY), count=[1] * len(VOCABULARY), bos_word="<s>")
    content = {"cfg": _omegaconf(cfg, lent_classes), "model": to_fairseq(model.state)}
    path = _save({**content, "task_state": {"target_dictionary": dictionary}}, tmp_path / "m.pt")
    for name in [name for name in sys.modules if name.startswith(("omegaconf", "fairseq"))]:
        monkeypatch.delitem(sys.modules, name)
    back = import_model(path)
    assert_same_weights(model, back)
    assert back.vocabulary == VOCABULARY
    assert back.spec == model.spec
    assert not any(name.startswith(("omegaconf", "fairseq.")) for name in sys.modules)


def _change(model: LoadedModel, tmp_path: Path, weights: Any = None, **options: Any) -> Path:
    state = to_fairseq(model.state)
    content = {"args": {**_options(model), **options}, "model": weights(state) if weights else state}
    return _save(content, tmp_path / "m.pt")


def _new_weight_norm(state: dict[str, Tensor]) -> dict[str, Tensor]:
    names = {"weight_g": "parametrizations.weight.original0", "weight_v": "parametrizations.weight.original1"}
    return {
        name.replace(old, new): tensor
        for name, tensor in state.items()
        for old, new in [next(((o, n) for o, n in names.items() if o in name), ("", ""))]
    }


@pytest.mark.parametrize(
    "weights",
    [
        _new_weight_norm,
        lambda state: {f"module.{name}": tensor for name, tensor in state.items()},
        lambda state: {**state, "_ema": torch.zeros(1)},
        lambda state: {name: torch.nn.Parameter(tensor) for name, tensor in state.items()},
    ],
)
def test_what_differs_in_the_wild_imports_to_the_same(weights: Any, tmp_path: Path) -> None:
    model = random_model("pretrain")
    assert_same_weights(model, import_model(_change(model, tmp_path, weights)))


def test_half_precision_weights_become_fp32(tmp_path: Path) -> None:
    model = random_model("pretrain")
    back = import_model(_change(model, tmp_path, lambda state: {n: t.half() for n, t in state.items()}))
    assert all(tensor.dtype == torch.float32 for tensor in back.state.values())
    assert torch.equal(back.state["target_proj.weight"], model.state["target_proj.weight"].half().float())


def test_a_bare_state_dict_imports_with_what_had_to_be_assumed(tmp_path: Path) -> None:
    model = random_model("pretrain", large=True)
    back = import_model(_save(to_fairseq(model.state), tmp_path / "m.pt"))
    assert_same_weights(model, back)
    assert any("strides" in note for note in back.notes)
    assert any("attention heads assumed" in note for note in back.notes)
    assert back.spec.encoder.norm_first is True
    assert back.spec.encoder.heads == 1  # 24 dimensions, 64 to a head as published


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"arch": "hubert"}, "its architecture is hubert"),
        ({"activation_fn": "gelu_accurate"}, "activation_fn: gelu_accurate; gelu, relu, swish, tanh can be imported"),
        ({"layer_type": "conformer"}, "layer_type: 'conformer'"),
        ({"sample_rate": 8000}, "sample_rate: 8000"),
        ({"encoder_layers": 24}, "contradict each other: encoder.layers 24 said, 4 found"),
        ({"encoder_attention_heads": 5}, "heads: 5 does not divide dim: 24"),
        ({"conv_feature_layers": "[(16,10,5)]*7"}, "contradict each other: feature_encoder.conv_layers"),
        ({"conv_feature_layers": "__import__('os').system('true')"}, "options that cannot be read"),
        ({"conv_feature_layers": "[(1,1,1)]*999999999"}, "options that cannot be read"),
        ({"hourglass_transformer": "[1,(2,3),1]"}, "contradict each other: encoder.hourglass"),
        ({"extractor_mode": "other"}, "options that cannot be read"),
    ],
)
def test_options_of_another_network_are_refused(options: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError) as caught:
        import_model(_change(random_model("pretrain"), tmp_path, **options))
    assert message in caught.value.message


def test_an_hourglass_whose_factor_nothing_says_is_refused(tmp_path: Path) -> None:
    model = random_model("pretrain", hourglass=HOURGLASS)
    with pytest.raises(CheckpointError, match="nothing says by how much it shortens"):
        import_model(_change(model, tmp_path, hourglass_transformer=None))


def test_a_missing_projection_of_equal_widths_is_the_identity(tmp_path: Path) -> None:
    convs = [(24, 10, 5), *[(24, 3, 2)] * 4, *[(24, 2, 2)] * 2]
    model = random_model("pretrain", feature_encoder={"conv_layers": convs})
    with pytest.raises(CheckpointError, match="both 24 wide"):
        export_model(model, TargetFormat.FAIRSEQ, tmp_path / "m.pt")
    model.state["backbone.input_proj.weight"].copy_(torch.eye(24))
    model.state["backbone.input_proj.bias"].zero_()
    export_model(model, TargetFormat.FAIRSEQ, tmp_path / "m.pt")
    assert not any("post_extract" in name for name in torch.load(tmp_path / "m.pt", weights_only=True)["model"])
    assert_same_weights(model, import_model(tmp_path / "m.pt"))


def test_the_dictionary_is_written_beside_a_recogniser(tmp_path: Path) -> None:
    files = export_model(random_model(), TargetFormat.FAIRSEQ, tmp_path / "m.pt")
    assert [file.name for file in files] == ["m.pt", "dict.ltr.txt"]
    assert (tmp_path / "dict.ltr.txt").read_text() == "| 1\nE 1\nT 1\nA 1\n' 1\nÉ 1\n'S 1\n"


def test_a_vocabulary_that_fairseq_would_number_differently_is_refused(tmp_path: Path) -> None:
    model = random_model(vocabulary=("<s>", *"|ABCDEFGHI"))
    with pytest.raises(CheckpointError, match="begins with <s> <pad> </s> <unk>"):
        export_model(model, TargetFormat.NVIDIA, tmp_path / "m.pt")
    assert list(tmp_path.iterdir()) == []
