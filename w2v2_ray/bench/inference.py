"""Latency of a recogniser: waveform in, best path out."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from w2v2_ray.audio.torchaudio_compat import import_torchaudio
from w2v2_ray.bench.workload import DTYPES, SAMPLE_RATE, base_spec
from w2v2_ray.errors import RunFailedError
from w2v2_ray.model.ctc import Wav2Vec2CtcModel
from w2v2_ray.model.factory import build_ctc_model
from w2v2_ray.model.interop.huggingface_config import config_of
from w2v2_ray.model.interop.loaded_model import LoadedModel
from w2v2_ray.model.interop.model_folder import load_model
from w2v2_ray.model.interop.module_names import HUGGINGFACE, to_modules
from w2v2_ray.spec.model import ModelSpec

_VOCABULARY = 32


def measure(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Measure one implementation and batch in this process.

    Args:
        settings: `implementation` ("w2v2-ray" or "transformers"), `variant`, `precision`, `batch`, `seconds`,
            `device`, `steps`, `layers`; `model`, the folder of a recogniser to measure in place of a random one.

    Returns:
        latency_ms (median), cpu_ms of all threads, audio_s_per_s.
    """
    spec, ours = _network(settings)
    model: nn.Module = ours
    if settings["implementation"] == "transformers":
        model = _theirs(spec, ours.state_dict())
    else:
        ours.backbone.encoder.pos_conv.fold()
    model = model.to(settings["device"], DTYPES[settings["precision"]]).eval()
    samples = round(float(settings["seconds"]) * SAMPLE_RATE)
    noise = np.random.default_rng(1).standard_normal((int(settings["batch"]), samples)).astype(np.float32) * 0.1
    waveform = torch.from_numpy(noise)
    lengths = torch.full((len(waveform),), samples)
    times, cpu_times = [], []
    for step in range(int(settings["steps"]) + 1):
        started, cpu_started = time.perf_counter(), time.process_time()
        with torch.inference_mode():
            _best(model, waveform, lengths, settings).cpu()
        if step:
            times.append(time.perf_counter() - started)
            cpu_times.append(time.process_time() - cpu_started)
    latency_s = statistics.median(times)
    return {
        "latency_ms": latency_s * 1000,
        "cpu_ms": statistics.median(cpu_times) * 1000,
        "audio_s_per_s": len(waveform) * float(settings["seconds"]) / latency_s,
    }


def _network(settings: Mapping[str, Any]) -> tuple[ModelSpec, Wav2Vec2CtcModel]:
    if settings.get("model"):
        loaded = load_model(Path(settings["model"]))
        network = loaded.build()
        assert isinstance(network, Wav2Vec2CtcModel), "the command asks for a recogniser"
        return loaded.spec, network
    spec = base_spec(settings["variant"], int(settings["layers"]))
    torch.manual_seed(0)
    return spec, build_ctc_model(spec, _VOCABULARY).eval()


def _best(model: nn.Module, waveform: Tensor, lengths: Tensor, settings: Mapping[str, Any]) -> Tensor:
    """Shape: waveform [B, S] -> [B, T]."""
    dtype = DTYPES[settings["precision"]]
    waveform = waveform.to(settings["device"], dtype)
    if isinstance(model, Wav2Vec2CtcModel):
        # As the recogniser calls it: with lengths, so that a batch changes nothing.
        return model(waveform, lengths.to(settings["device"])).log_probs.argmax(-1)  # type: ignore[no-any-return]
    return model(waveform).logits.argmax(-1)  # type: ignore[no-any-return]


def _theirs(spec: ModelSpec, state: dict[str, Tensor]) -> nn.Module:
    import_torchaudio()  # transformers imports it
    import transformers

    config = transformers.Wav2Vec2Config(**config_of(LoadedModel(spec, "ctc", state)))
    model: nn.Module = transformers.Wav2Vec2ForCTC(config)
    mismatch = model.load_state_dict(to_modules(state, HUGGINGFACE), strict=False)
    # The mask embedding is not used here. Anything else would make it another network.
    strange = [*mismatch.unexpected_keys, *(key for key in mismatch.missing_keys if "masked_spec_embed" not in key)]
    if strange:
        raise RunFailedError(f"transformers does not take the same weights: {', '.join(strange[:5])}")
    return model
