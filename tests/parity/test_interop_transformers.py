"""Converted models against transformers: same weights, same waveform, both directions."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from w2v2_ray.audio.torchaudio_compat import import_torchaudio
from w2v2_ray.extraction.extractor import Extractor
from w2v2_ray.model.interop.format_names import TargetFormat
from w2v2_ray.model.interop.formats import export_model, import_model
from w2v2_ray.model.interop.loaded_model import check_model

sys.path.append(str(Path(__file__).resolve().parents[2] / "benchmarks"))
import interop_table

pytestmark = pytest.mark.parity

TOLERANCE = 1e-5
"""Of the 1e-4 that is promised; about 2e-6 is reached."""


@pytest.mark.parametrize("style", ["base", "large"])
def test_what_transformers_computes_is_what_we_compute(style: str, tmp_path: Path) -> None:
    rows = list(interop_table.transformers_rows("small", style, tmp_path))
    found = {(row.direction, row.quantity): row.difference for row in rows}
    for direction in ("export", "import"):
        for quantity in ("hidden states", "pre-training logits", "contrastive loss per frame", "loss per frame"):
            assert found[direction, f"pretrain: {quantity}"] < TOLERANCE
        assert found[direction, "pretrain: code perplexity, relative"] < TOLERANCE
        assert found[direction, "ctc: hidden states"] < TOLERANCE
        assert found[direction, "ctc: log-probs"] < TOLERANCE
        assert found[direction, "backbone: hidden states"] < TOLERANCE
    for kind in ("pretrain", "ctc", "backbone"):
        assert found["round trip", f"{kind}: weights"] == 0.0


def test_a_wrong_weight_is_noticed(tmp_path: Path) -> None:
    import_torchaudio()
    import transformers

    model = interop_table.random_model("ctc", "base", "small")
    export_model(model, TargetFormat.HUGGINGFACE, tmp_path / "hf")
    theirs = transformers.Wav2Vec2ForCTC.from_pretrained(tmp_path / "hf").eval()
    with torch.no_grad():
        theirs.wav2vec2.encoder.layers[2].attention.k_proj.weight.mul_(1.01)
    found = interop_table._compare_transformers(model, theirs, interop_table.waveform_of("small"))
    assert found["hidden states"] > 10 * TOLERANCE


def test_processor_and_tokenizer_load_and_know_the_vocabulary(tmp_path: Path) -> None:
    import_torchaudio()
    import transformers

    model = interop_table.random_model("ctc", "large", "small")
    export_model(model, TargetFormat.HUGGINGFACE, tmp_path / "hf")
    processor = transformers.Wav2Vec2Processor.from_pretrained(tmp_path / "hf")
    tokenizer = processor.tokenizer
    assert len(tokenizer) == len(interop_table.VOCABULARY)
    assert tokenizer.pad_token_id == 0
    numbers = [interop_table.VOCABULARY.index(symbol) for symbol in "HE|DID"]
    assert tokenizer("HE DID").input_ids == numbers
    assert tokenizer.decode([0, numbers[0], numbers[0], 0, *numbers[1:], 0]) == "HE DID"
    assert processor.feature_extractor.do_normalize is True
    assert processor.feature_extractor.sampling_rate == 16_000


def test_a_tokenizer_without_all_special_tokens_adds_none(tmp_path: Path) -> None:
    import_torchaudio()
    import transformers

    model = interop_table.random_model("ctc", "base", "small")
    bare = ("[PAD]", "|", *(chr(ord("a") + number) for number in range(26)), "1", "2", "3", "4")
    model = check_model(interop_table.LoadedModel(model.spec, "ctc", model.state, bare, source="bare"))
    export_model(model, TargetFormat.HUGGINGFACE, tmp_path / "hf")
    tokenizer = transformers.Wav2Vec2CTCTokenizer.from_pretrained(tmp_path / "hf")
    assert len(tokenizer) == len(bare)
    assert tokenizer.decode([2, 0, 2, 3, 1, 4]) == "aab c"
    assert import_model(tmp_path / "hf").vocabulary == ("<s>", *bare[1:])  # the blank under our name


def test_a_blank_that_is_not_first_is_moved_there_with_its_output(tmp_path: Path) -> None:
    import_torchaudio()
    import transformers

    model = interop_table.random_model("ctc", "base", "small")
    export_model(model, TargetFormat.HUGGINGFACE, tmp_path / "hf")
    theirs = transformers.Wav2Vec2ForCTC.from_pretrained(tmp_path / "hf").eval()
    theirs.config.pad_token_id = 31
    theirs.save_pretrained(tmp_path / "other")
    symbols = ["|", *(f"s{number}" for number in range(30)), "[PAD]"]
    (tmp_path / "other" / "vocab.json").write_text(json.dumps({symbol: i for i, symbol in enumerate(symbols)}))
    moved = import_model(tmp_path / "other")
    assert moved.vocabulary == ("<s>", *symbols[:31])
    assert any("output 31 there, is output 0 here" in note for note in moved.notes)
    waveform = interop_table.waveform_of("small")
    with torch.no_grad():
        ours = moved.build()(waveform).log_probs
        others = theirs(waveform).logits.log_softmax(-1)
    assert interop_table.largest(ours, torch.cat([others[..., 31:], others[..., :31]], -1)) < TOLERANCE


@pytest.mark.parametrize("style", ["base", "large"])
def test_features_and_codes_are_those_of_transformers(style: str, tmp_path: Path) -> None:
    import_torchaudio()
    import transformers

    model = interop_table.random_model("pretrain", style, "small")
    model = replace(model, spec=model.spec.model_copy(update={"normalize_eps": 1e-7}))  # as transformers scales
    export_model(model, TargetFormat.HUGGINGFACE, tmp_path / "hf")
    theirs = transformers.Wav2Vec2ForPreTraining.from_pretrained(tmp_path / "hf").eval()
    processor = transformers.Wav2Vec2FeatureExtractor.from_pretrained(tmp_path / "hf")
    samples = np.random.default_rng(0).integers(-9000, 9000, 20_000).astype(np.int16)
    inputs = processor(samples / 32768.0, sampling_rate=16_000, return_tensors="pt")
    with torch.inference_mode():
        outputs = theirs.wav2vec2(inputs.input_values, output_hidden_states=True)
        logits = theirs.quantizer.weight_proj(outputs.extract_features[0])
    extractor = Extractor(model, torch.device("cpu"))
    found = extractor.features([samples], None)[0]
    assert len(outputs.hidden_states) == extractor.num_layers + 1
    # Their list ends with what the last layer gives, before the norm of a pre-norm encoder; what is used is after it.
    for layer, state in enumerate((*outputs.hidden_states[:-1], outputs.last_hidden_state)):
        np.testing.assert_allclose(found[layer], state[0].numpy(), atol=TOLERANCE)
    np.testing.assert_allclose(found["features"], outputs.extract_features[0].numpy(), atol=TOLERANCE)
    groups = theirs.config.num_codevector_groups
    np.testing.assert_array_equal(extractor.codes([samples])[0], logits.unflatten(1, (groups, -1)).argmax(2).numpy())
