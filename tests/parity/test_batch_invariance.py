"""The batch size never changes a transcript: batch 1 against 16, with and without Hourglass, on real speech."""

from __future__ import annotations

import numpy as np
import pytest
import soundfile
import torch

from w2v2_ray.model.factory import build_ctc_model
from w2v2_ray.model.interop.loaded_model import LoadedModel
from w2v2_ray.recognition.greedy import GreedyDecoder
from w2v2_ray.recognition.recogniser import Recogniser
from w2v2_ray.spec.model import ModelSpec
from w2v2_ray.spec.symbols import SPECIALS
from w2v2_ray.spec.text import TextSpec

VOCABULARY = (*SPECIALS, "|", *"ETAOINHSRDLU")
PLAIN = {"layers": 3, "dim": 48, "ffn_dim": 96, "heads": 4, "position_kernel": 16, "hourglass": None}
HOURGLASS = PLAIN | {"hourglass": {"pre_layers": 1, "middle_layers": 1, "post_layers": 1, "shorten_factor": 3}}
PRE_NORM = PLAIN | {"norm_first": True}


def recogniser(encoder: dict, large: bool, gain: float = 20.0) -> Recogniser:
    channels = [[32, 10, 5], [32, 3, 2], [32, 3, 2], [32, 3, 2], [32, 3, 2], [32, 2, 2], [32, 2, 2]]
    features = {"conv_layers": channels, "norm": "layer_norm" if large else "group_norm", "bias": large}
    spec = ModelSpec.model_validate({"encoder": encoder, "feature_encoder": features, "normalize_waveform": large})
    torch.manual_seed(3)
    model = build_ctc_model(spec, len(VOCABULARY))
    with torch.no_grad():
        model.head.weight.mul_(gain)  # So that symbols are heard, and change from frame to frame.
    loaded = LoadedModel(spec, "ctc", dict(model.state_dict()), VOCABULARY, source="random weights")
    return Recogniser(loaded, TextSpec(), torch.device("cpu"))


def invariant(model: Recogniser, waveforms: list[np.ndarray]) -> None:
    decoder = GreedyDecoder(VOCABULARY)
    alone = [model.log_probs([waveform])[0] for waveform in waveforms]
    together = [row for at in range(0, len(waveforms), 16) for row in model.log_probs(waveforms[at : at + 16])]
    texts = [decoder.decode(row).text for row in alone]
    assert len("".join(texts)) > 3 * len(waveforms)
    assert texts == [decoder.decode(row).text for row in together]
    for one, other in zip(alone, together, strict=True):
        assert one.shape == other.shape
        assert np.abs(np.exp(one) - np.exp(other)).max() < 1e-4


MODELS = pytest.mark.parametrize(
    ("encoder", "large"), [(PLAIN, False), (HOURGLASS, False), (PRE_NORM, True)], ids=["plain", "hourglass", "large"]
)


@MODELS
def test_noise_of_any_length_is_heard_the_same_in_any_company(encoder, large):
    rng = np.random.default_rng(1)
    lengths = rng.integers(800, 40_000, 16)
    waveforms = [(rng.normal(0, 3_000, n) * np.sin(np.arange(n) / 900)).astype(np.int16) for n in lengths]
    invariant(recogniser(encoder, large), waveforms)


@MODELS
def test_log_probs_of_batch_1_and_16_are_within_1e_5(encoder, large):
    rng = np.random.default_rng(2)
    waveforms = [rng.normal(0, 3_000, n).astype(np.int16) for n in rng.integers(800, 40_000, 16)]
    model = recogniser(encoder, large, gain=1.0)
    for waveform, together in zip(waveforms, model.log_probs(waveforms), strict=True):
        np.testing.assert_allclose(together, model.log_probs([waveform])[0], rtol=0, atol=1e-5)


@pytest.mark.shared
@MODELS
def test_real_speech_is_heard_the_same_in_any_company(encoder, large, shared_dir):
    files = sorted((shared_dir / "data" / "an4" / "audio").rglob("*.ogg"))[:800:50]
    invariant(recogniser(encoder, large), [soundfile.read(file, dtype="int16")[0] for file in files])
