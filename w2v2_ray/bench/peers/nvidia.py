"""The NVIDIA reference, from a checkout that the user gives; none of it is part of this package.

What the checkout imports and this machine lacks (CUDA extensions, audio libraries) the user puts on PYTHONPATH, as
modules that are empty where a training step does not touch them. Masks are ours; it draws its own negatives, as many.
"""

from __future__ import annotations

import argparse
import sys
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from w2v2_ray.bench.workload import DTYPES, StepInput, StepSettings, first_weights, model_spec
from w2v2_ray.errors import MissingExtraError, SpecError
from w2v2_ray.model.interop.fairseq_names import to_fairseq
from w2v2_ray.spec.model import ContrastiveLossSpec, ModelSpec


class NvidiaLoss:
    """Its `Wav2Vec2Model` on one micro-batch, with the loss of its pre-training criterion."""

    def __init__(self, settings: StepSettings, given: StepInput) -> None:
        spec = model_spec(settings)
        model_class, options = _import(settings.peer_path)
        for name, value in _options(spec).items():
            setattr(options, name, value)
        options.fp32_pos_conv = settings.precision == "bf16"
        options.fp32_cosine_sim = False
        model = model_class(_Config(**vars(options)))
        model.load_state_dict(to_fairseq(first_weights(spec)))
        self.model = model.to(settings.device, DTYPES[settings.precision]).train()
        if settings.precision == "bf16":
            self.model.encoder.pos_conv.to(torch.float32)
        self._waveform = given.waveform.to(settings.device, DTYPES[settings.precision])
        # With several sub-batches it insists on drawing the masks too.
        several = settings.concat > 1
        self._sizes = torch.tensor(given.sub_batch_sizes) if several else None
        self._masks = None if several else given.masks.to(settings.device)
        self._loss = ContrastiveLossSpec()

    def __call__(self) -> Tensor:
        """Forward."""
        out = self.model(self._waveform, mask_indices=self._masks, sub_batch_sizes=self._sizes)
        logits = self.model.get_logits(out).float()
        loss = F.cross_entropy(logits, self.model.get_targets(None, out), reduction="sum")
        weights = self._loss.diversity_weight, self._loss.features_penalty_weight
        for part, weight in zip(self.model.get_extra_losses(out), weights, strict=True):
            loss = loss + weight * part.float() * len(logits)
        return loss


class _Config(SimpleNamespace):
    """Options by attribute; the checkout also asks whether one is `in` them."""

    def __contains__(self, name: object) -> bool:
        return name in vars(self)

    def get(self, name: str, default: Any = None) -> Any:
        return vars(self).get(name, default)


def _import(peer_path: str | None) -> tuple[Any, argparse.Namespace]:
    """Its model class and its options at their defaults."""
    if peer_path is None or not (Path(peer_path) / "wav2vec2" / "model.py").is_file():
        raise SpecError(
            f"--peer-path {peer_path}: holds no wav2vec2/model.py; give the folder "
            "PyTorch/SpeechRecognition/wav2vec2 of a checkout of NVIDIA's DeepLearningExamples"
        )
    sys.path.insert(0, peer_path)
    try:
        model_class = import_module("wav2vec2.model").Wav2Vec2Model
        parser = argparse.ArgumentParser()
        options = import_module("wav2vec2.arg_parser")
        options.populate_pretraining(parser)
        options.populate_common(parser)
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            f"{peer_path}: needs the module {error.name}; install it, or put a stand-in on PYTHONPATH"
        ) from None
    return model_class, parser.parse_args(["--output_dir", ""])


def _options(spec: ModelSpec) -> dict[str, Any]:
    encoder, hourglass = spec.encoder, spec.encoder.hourglass
    return {
        "quantize_targets": True,
        "infonce": True,
        "mha": "pyt",
        "extractor_mode": "default",
        "encoder_layers": encoder.layers,
        "encoder_embed_dim": encoder.dim,
        "encoder_ffn_embed_dim": encoder.ffn_dim,
        "encoder_attention_heads": encoder.heads,
        "dropout": encoder.dropout,
        "attention_dropout": encoder.attention_dropout,
        "activation_dropout": encoder.activation_dropout,
        "encoder_layerdrop": encoder.layer_drop,
        "dropout_input": spec.dropout_input,
        "dropout_features": spec.dropout_features,
        "feature_grad_mult": spec.feature_encoder.gradient_scale,
        "mask_prob": spec.masking.probability,
        "final_dim": spec.final_dim,
        "latent_temp": (2.0, 0.5, 0.999995),
        "hourglass_transformer": None
        if hourglass is None
        else f"[{hourglass.pre_layers},({hourglass.middle_layers},{hourglass.shorten_factor}),{hourglass.post_layers}]",
    }


def build(settings: StepSettings, given: StepInput) -> NvidiaLoss:
    """See `peers.build`."""
    return NvidiaLoss(settings, given)
