"""Recognisers as the usual Hugging Face recipe saves them: imported, they hear what transformers hears."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from w2v2_ray.audio.torchaudio_compat import import_torchaudio
from w2v2_ray.errors import CheckpointError
from w2v2_ray.model.interop.format_names import TargetFormat
from w2v2_ray.model.interop.formats import export_model, import_model
from w2v2_ray.recognition.greedy import GreedyDecoder
from w2v2_ray.recognition.recogniser import load_recogniser

pytestmark = pytest.mark.parity
LETTERS = "abcdefghijklmnopqrstuvwxyz'"


def recipe(folder, *, pad="[PAD]", unk="[UNK]", delimiter="|", outputs_for_added=True, normalize=True, first=LETTERS):
    """Save a random recogniser the way the fine-tuning recipe does; returns transformers' model and processor."""
    import_torchaudio()
    import transformers

    folder.mkdir(parents=True)
    symbols = [*first, delimiter, unk, pad]
    (folder / "vocab.json").write_text(json.dumps({symbol: number for number, symbol in enumerate(symbols)}))
    tokenizer = transformers.Wav2Vec2CTCTokenizer(
        folder / "vocab.json", pad_token=pad, unk_token=unk, word_delimiter_token=delimiter
    )
    extractor = transformers.Wav2Vec2FeatureExtractor(do_normalize=normalize, return_attention_mask=True)
    processor = transformers.Wav2Vec2Processor(feature_extractor=extractor, tokenizer=tokenizer)
    torch.manual_seed(0)
    config = transformers.Wav2Vec2Config(
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        conv_dim=(16,) * 7,
        num_conv_pos_embeddings=16,
        num_conv_pos_embedding_groups=4,
        feat_extract_norm="layer",
        do_stable_layer_norm=True,
        conv_bias=True,
        vocab_size=len(tokenizer) if outputs_for_added else len(symbols),
        pad_token_id=tokenizer.pad_token_id,
    )
    model = transformers.Wav2Vec2ForCTC(config).eval()
    model.lm_head.weight.data.mul_(20)  # a random network would say the same thing throughout
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return model, processor


def speech(level):
    time = np.arange(24_000) / 16_000
    tones = np.sin(2 * np.pi * 300 * time * (1 + time)) + 0.3 * np.random.default_rng(0).normal(size=24_000)
    return np.rint(tones * level * 8000).astype(np.int16)


@pytest.mark.parametrize("level", [1.0, 0.01])
@pytest.mark.parametrize(
    "how",
    [
        {},
        {"outputs_for_added": False},
        {"pad": "<pad>", "unk": "<unk>"},
        {"delimiter": "_"},
        {"normalize": False},
        {"first": LETTERS.upper()},
    ],
    ids=["added tokens", "no outputs for them", "plain names", "other delimiter", "not normalised", "upper case"],
)
def test_an_imported_recogniser_hears_what_transformers_hears(tmp_path, how, level):
    model, processor = recipe(tmp_path / "hf", **how)
    waveform = speech(level)
    inputs = processor(waveform / 32768.0, sampling_rate=16_000, return_tensors="pt")
    with torch.inference_mode():
        theirs = model(inputs.input_values).logits.log_softmax(-1)[0].numpy()
    ours = load_recogniser(tmp_path / "hf")
    (heard,) = ours.log_probs([waveform])
    blank = processor.tokenizer.pad_token_id
    order = [blank, *(index for index in range(theirs.shape[1]) if index != blank)]
    np.testing.assert_allclose(heard, theirs[:, order], atol=2e-3)
    best = [int(index) for index in theirs.argmax(-1)]
    text = GreedyDecoder(ours.vocabulary).decode(heard).text
    expected = processor.tokenizer.decode(best).replace(processor.tokenizer.unk_token, "<unk>")
    # Marks of sentences are no text here; transformers writes them out.
    expected = expected.replace("<s>", "").replace("</s>", "")
    assert " ".join(text.split()) == " ".join(expected.split())


def test_the_epsilon_of_the_normalisation_travels_with_the_model(tmp_path):
    recipe(tmp_path / "hf")
    model = import_model(tmp_path / "hf")
    assert model.spec.normalize_eps == 1e-7
    for target in (TargetFormat.OWN, TargetFormat.HUGGINGFACE):
        export_model(model, target, tmp_path / target.value)
        assert import_model(tmp_path / target.value).spec == model.spec


def test_the_feature_extractor_in_processor_config_is_read(tmp_path):
    recipe(tmp_path / "hf", normalize=False)
    assert not (tmp_path / "hf" / "preprocessor_config.json").exists()
    model = import_model(tmp_path / "hf")
    assert not model.spec.normalize_waveform
    assert not [note for note in model.notes if "preprocessor" in note]


def test_what_is_assumed_without_a_feature_extractor_is_said(tmp_path):
    recipe(tmp_path / "hf")
    (tmp_path / "hf" / "processor_config.json").unlink()
    model = import_model(tmp_path / "hf")
    assert model.spec.normalize_waveform
    assert any("preprocessor_config.json" in note and "zero mean" in note for note in model.notes)


def test_another_sampling_rate_in_processor_config_is_refused(tmp_path):
    recipe(tmp_path / "hf")
    path = tmp_path / "hf" / "processor_config.json"
    content = json.loads(path.read_text())
    content["feature_extractor"]["sampling_rate"] = 22_050
    path.write_text(json.dumps(content))
    with pytest.raises(CheckpointError, match="22050 Hz; 16000 Hz can be imported"):
        import_model(tmp_path / "hf")


def test_a_recogniser_without_a_word_boundary_is_refused_at_import(tmp_path):
    recipe(tmp_path / "hf")
    for name in ("vocab.json", "tokenizer_config.json"):
        path = tmp_path / "hf" / name
        path.write_text(path.read_text().replace('"|"', '"~"'))
    path.write_text(path.read_text().replace('"word_delimiter_token": "~"', '"word_delimiter_token": "|"'))
    with pytest.raises(CheckpointError, match="none of its outputs ends a word"):
        import_model(tmp_path / "hf")


def test_a_vocabulary_with_a_byte_order_mark_is_read(tmp_path):
    recipe(tmp_path / "hf")
    path = tmp_path / "hf" / "vocab.json"
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert import_model(tmp_path / "hf").vocabulary[1:28] == (*LETTERS,)


def test_half_a_character_in_a_vocabulary_is_refused(tmp_path):
    recipe(tmp_path / "hf")
    for name in ("vocab.json", "tokenizer_config.json"):
        path = tmp_path / "hf" / name
        path.write_text(path.read_text().replace('"q"', '"\\ud800"'))
    with pytest.raises(CheckpointError, match="half of a character"):
        import_model(tmp_path / "hf")
