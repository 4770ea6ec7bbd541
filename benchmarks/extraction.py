"""Hidden states of all layers, ours beside transformers: the same weights, the same audio, in one run.

    python benchmarks/extraction.py DATASET [--utterances 32] [--size base] [--rounds 3]

A Base (or small) network without Hourglass and with random weights is exported to a Hugging Face folder and read back
by transformers. Each round gives both the same padded batches; frames a second are those of valid frames.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from w2v2_ray.audio.torchaudio_compat import import_torchaudio
from w2v2_ray.data.dataset import SpeechDataset
from w2v2_ray.extraction.extractor import Extractor
from w2v2_ray.model.factory import build_backbone
from w2v2_ray.model.interop.format_names import TargetFormat
from w2v2_ray.model.interop.formats import export_model
from w2v2_ray.model.interop.loaded_model import LoadedModel, check_model
from w2v2_ray.spec.model import ModelSpec

_SIZES: dict[str, dict[str, Any]] = {
    # Layer norms: with a group norm transformers has no attention mask, so that padding would change its vectors.
    "base": {"feature_encoder": {"norm": "layer_norm", "bias": True}, "encoder": {"hourglass": None}},
    "small": {
        "feature_encoder": {"norm": "layer_norm", "bias": True},
        "encoder": {"hourglass": None, "layers": 6, "dim": 256, "ffn_dim": 1024, "heads": 4},
    },
}
Batch = list[NDArray[np.int16]]


def random_model(size: str) -> LoadedModel:
    """A backbone of random weights."""
    document = {**_SIZES[size], "normalize_waveform": True, "normalize_eps": 1e-7}
    document["encoder"] = {**document["encoder"], "norm_first": True}
    spec = ModelSpec.model_validate(document)
    torch.manual_seed(0)
    weights = {f"backbone.{name}": tensor for name, tensor in build_backbone(spec).state_dict().items()}
    return check_model(LoadedModel(spec=spec, kind="backbone", state=weights, source="random"))


def transformers_features(folder: Path) -> Callable[[Batch], list[NDArray[np.float32]]]:
    """The last layer of each waveform, by transformers; all layers are computed and kept."""
    import_torchaudio()
    import transformers

    model = transformers.Wav2Vec2Model.from_pretrained(folder).eval()
    processor = transformers.Wav2Vec2FeatureExtractor.from_pretrained(folder)

    def features(batch: Batch) -> list[NDArray[np.float32]]:
        samples = [waveform.astype(np.float32) / 32768 for waveform in batch]
        inputs = processor(samples, sampling_rate=16_000, return_tensors="pt", padding=True, return_attention_mask=True)
        with torch.inference_mode():
            outputs = model(inputs.input_values, attention_mask=inputs.attention_mask, output_hidden_states=True)
        states = [state.numpy() for state in outputs.hidden_states]
        lengths = model._get_feat_extract_output_lengths(inputs.attention_mask.sum(1)).tolist()
        assert len(states) > 1
        last = outputs.last_hidden_state.numpy()
        return [last[row, :length] for row, length in enumerate(lengths)]

    return features


def our_features(model: LoadedModel) -> Callable[[Batch], list[NDArray[np.float32]]]:
    """The same by us."""
    extractor = Extractor(model, torch.device("cpu"))
    return lambda batch: [layers[extractor.num_layers] for layers in extractor.features(batch, None)]


def timed(features: Callable[[Batch], list[NDArray[np.float32]]], batches: Sequence[Batch]) -> tuple[float, Any]:
    """Frames a second over all batches, and what was found in the last."""
    started = time.perf_counter()
    found = [features(batch) for batch in batches]
    elapsed = time.perf_counter() - started
    return sum(len(frames) for some in found for frames in some) / elapsed, found[-1]


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset")
    parser.add_argument("--utterances", type=int, default=32)
    parser.add_argument("--size", choices=sorted(_SIZES), default="base")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch-size", type=int, default=8)
    args = parser.parse_args()
    dataset = SpeechDataset.open(args.dataset)
    waveforms = [dataset.audio(index) for index in range(min(args.utterances, len(dataset)))]
    batches = [waveforms[start : start + args.batch_size] for start in range(0, len(waveforms), args.batch_size)]
    model = random_model(args.size)
    with tempfile.TemporaryDirectory() as folder:
        export_model(model, TargetFormat.HUGGINGFACE, Path(folder) / "model")
        ways = {"ours": our_features(model), "transformers": transformers_features(Path(folder) / "model")}
        speeds: dict[str, list[float]] = {name: [] for name in ways}
        last: dict[str, Any] = {}
        for _ in range(args.rounds):
            for name, features in ways.items():
                speed, last[name] = timed(features, batches)
                speeds[name].append(speed)
    difference = max(float(np.abs(a - b).max()) for a, b in zip(last["ours"], last["transformers"], strict=True))
    seconds = sum(map(len, waveforms)) / 16_000
    print(f"{len(waveforms)} utterances, {seconds:.0f} s, {args.size}, {torch.get_num_threads()} threads, fp32")
    for name, found in speeds.items():
        print(f"{name}: median {statistics.median(found):,.0f} frames/s ({min(found):,.0f} to {max(found):,.0f})")
    ratios = [ours / theirs for ours, theirs in zip(*speeds.values(), strict=True)]
    print(f"ours / transformers: median {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")
    print(f"largest difference of the last layer: {difference:.2e}")


if __name__ == "__main__":
    main()
