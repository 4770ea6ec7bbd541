"""Features and codes: whatever the batch, at whatever layer, and those that transformers gives for the same weights."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from w2v2_ray.data.listening.inputs import array_source
from w2v2_ray.data.listening.pieces import Cutting, Failure
from w2v2_ray.errors import CheckpointError, SpecError
from w2v2_ray.extraction.extract import Codes, Features, extract_codes, extract_features
from w2v2_ray.extraction.extractor import Extractor
from w2v2_ray.extraction.layers import chosen_layers, parse_layers
from w2v2_ray.model.factory import build_ctc_model, build_pretrain_model
from w2v2_ray.model.hidden_states import at_full_rate
from w2v2_ray.model.interop.loaded_model import LoadedModel, check_model
from w2v2_ray.spec.model import ContrastiveLossSpec, ModelSpec

CPU = torch.device("cpu")
SMALL = {
    "feature_encoder": {
        "conv_layers": [[16, 10, 5], [16, 3, 2], [16, 3, 2], [16, 3, 2], [16, 3, 2], [16, 2, 2], [16, 2, 2]]
    },
    "encoder": {"layers": 4, "dim": 32, "ffn_dim": 48, "heads": 2, "position_kernel": 8, "position_groups": 4},
    "quantizer": {"entries": 12, "codebooks": 2},
    "final_dim": 16,
}


def spec_of(factor=None, norm_first=False, **changes):
    encoder = {**SMALL["encoder"], "norm_first": norm_first, "hourglass": None}
    if factor is not None:
        encoder["hourglass"] = {"pre_layers": 1, "middle_layers": 2, "post_layers": 1, "shorten_factor": factor}
    return ModelSpec.model_validate({**SMALL, "encoder": encoder, **changes})


def pretrained(spec, seed=0):
    torch.manual_seed(seed)
    loss = ContrastiveLossSpec()
    model = build_pretrain_model(spec, loss)
    return check_model(LoadedModel(spec=spec, kind="pretrain", state=model.state_dict(), loss=loss, source="here"))


def noise(num_samples, seed=0):
    return np.random.default_rng(seed).integers(-9000, 9000, num_samples).astype(np.int16)


@pytest.mark.parametrize("factor", [None, 2, 3])
@pytest.mark.parametrize("normalize", [False, True])
def test_nothing_depends_on_the_others_in_the_batch(factor, normalize):
    extractor = Extractor(pretrained(spec_of(factor, normalize_waveform=normalize)), CPU)
    waveforms = [noise(length, length) for length in (16_000, 399, 400, 23_457, 8_000)]
    together, codes = extractor.features(waveforms, None), extractor.codes(waveforms)
    for waveform, states, entries in zip(waveforms, together, codes, strict=True):
        alone = extractor.features([waveform], None)[0]
        assert states.keys() == alone.keys() == {"features", 0, 1, 2, 3, 4}
        for layer in alone:
            assert states[layer].shape == (extractor.num_frames(len(waveform)), 16 if layer == "features" else 32)
            np.testing.assert_allclose(states[layer], alone[layer], atol=1e-5)
        np.testing.assert_array_equal(entries, extractor.codes([waveform])[0])


def test_the_last_layer_is_the_context_and_the_first_what_the_stack_receives():
    model = pretrained(spec_of(2))
    network = model.build()
    waveform = noise(12_000)
    states = Extractor(model, CPU).features([waveform], None)[0]
    with torch.inference_mode():
        out = network.backbone(torch.from_numpy(waveform).float()[None] / 32768)
    np.testing.assert_allclose(states[4], out.context[0].numpy(), atol=1e-6)
    np.testing.assert_allclose(states["features"], out.normed_features[0].numpy(), atol=1e-6)


def test_shortened_layers_are_repeated_to_the_full_rate_or_left_as_they_are():
    extractor = Extractor(pretrained(spec_of(3)), CPU)
    waveform = noise(16_000)
    full, short = extractor.features([waveform], None)[0], extractor.features([waveform], None, shortened=True)[0]
    frames = extractor.num_frames(16_000)
    for layer in (2, 3):
        assert short[layer].shape == (-(-frames // 3), 32)
        np.testing.assert_array_equal(full[layer], np.repeat(short[layer], 3, axis=0)[:frames])
    for layer in ("features", 0, 1, 4):
        np.testing.assert_array_equal(full[layer], short[layer])
    assert at_full_rate(torch.arange(2.0).view(1, 2, 1), 3, 5).flatten().tolist() == [0, 0, 0, 1, 1]


@pytest.mark.parametrize("shortened", [False, True])
def test_long_audio_has_every_frame_once_and_equal_neighbourhoods_give_equal_frames(shortened):
    # Layer norm everywhere: no statistic over time, so that a window differs from the whole at its edges only.
    spec = spec_of(3, feature_encoder={**SMALL["feature_encoder"], "norm": "layer_norm"})
    extractor = Extractor(pretrained(spec), CPU)
    waveform = noise(16_000 * 9 + 77)
    cutting = Cutting(batch_size=2, window_s=3.0, overlap_s=1.0)
    [long] = extract_features(
        [array_source("long", waveform)], extractor, ["features", 2, -1], shortened=shortened, cutting=cutting
    )
    assert isinstance(long, Features)
    whole = extractor.features([waveform], ["features", 2, -1], shortened=shortened)[0]
    for layer, frames in whole.items():
        assert long.layers[layer].shape == frames.shape
    np.testing.assert_allclose(long.layers["features"], whole["features"], atol=1e-5)
    assert long.duration_s == pytest.approx(len(waveform) / 16_000)


def test_codes_are_the_likeliest_entries_and_runs_cover_the_time():
    model = pretrained(spec_of(2))
    extractor = Extractor(model, CPU)
    waveform = noise(20_000)
    [codes] = extract_codes([array_source("a", waveform)], extractor)
    assert isinstance(codes, Codes)
    features = extractor.features([waveform], ["features"])[0]["features"]
    weight, bias = (model.state[f"quantizer.logits_proj.{name}"].numpy() for name in ("weight", "bias"))
    logits = (features @ weight.T + bias).reshape(len(features), 2, 12)
    np.testing.assert_array_equal(codes.entries, logits.argmax(2))
    assert codes.ids.tolist() == [12 * a + b for a, b in codes.entries.tolist()]
    runs = codes.runs()
    assert runs[0][1] == 0
    assert runs[-1][2] == pytest.approx(len(codes.ids) * 0.02)
    assert all(end == start for (_, _, end), (_, start, _) in itertools.pairwise(runs))
    assert [number for number, start, end in runs for _ in range(round((end - start) / 0.02))] == codes.ids.tolist()


def test_pooling_and_weighing_are_means():
    extractor = Extractor(pretrained(spec_of()), CPU)
    waveform = noise(9_000)
    [frames] = extract_features([array_source("a", waveform)], extractor, [1, 2])
    [pooled] = extract_features([array_source("a", waveform)], extractor, [1, 2], pooled=True)
    np.testing.assert_allclose(pooled.layers[1], frames.layers[1].mean(0), atol=1e-6)
    weighed = frames.mean_of_layers([1, 3])
    np.testing.assert_allclose(weighed, 0.25 * frames.layers[1] + 0.75 * frames.layers[2], atol=1e-6)
    with pytest.raises(ValueError, match="3 weights"):
        frames.mean_of_layers([1, 2, 3])


def test_audio_of_no_frame_gives_no_frames_and_a_failure_is_one_of_its_source():
    extractor = Extractor(pretrained(spec_of()), CPU)

    def missing():
        raise CheckpointError("gone")

    sources = [array_source("short", noise(10)), array_source("fine", noise(900))]
    sources.append(type(sources[0])("broken", missing))
    short, fine, broken = extract_features(sources, extractor, [-1], pooled=True)
    assert short.layers[4].tolist() == [0.0] * 32
    assert fine.layers[4].any()
    assert broken == Failure("broken", "gone")


def test_a_recogniser_has_no_codes_and_no_model_a_layer_beyond_its_last():
    spec = spec_of()
    torch.manual_seed(0)
    model = build_ctc_model(spec, 5)
    extractor = Extractor(check_model(LoadedModel(spec=spec, kind="ctc", state=model.state_dict(), source="x")), CPU)
    with pytest.raises(CheckpointError, match="x: no quantizer, so no codes: fine-tuning leaves it out"):
        list(extract_codes([], extractor))
    with pytest.raises(SpecError, match="layer 5: this model has layers 0"):
        list(extract_features([], extractor, [5]))


@pytest.mark.parametrize(
    ("text", "layers"),
    [("all", ["features", 0, 1, 2, 3, 4]), ("last", [4]), ("features, 2,-2", ["features", 2, 3]), ("4,-1", [4])],
)
def test_layers_are_written_by_number_or_name(text, layers):
    assert chosen_layers(parse_layers(text), 4) == layers


@pytest.mark.parametrize("text", ["", "top", "1.5", "1,,2"])
def test_what_is_no_layer_is_said(text):
    with pytest.raises(SpecError, match="is no layer; give all, or numbers"):
        parse_layers(text)
