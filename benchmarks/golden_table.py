"""Prints a Markdown table of the largest differences to the golden files, per file and quantity.

Usage: python benchmarks/golden_table.py GOLDEN_DIR
"""

from __future__ import annotations

import argparse
import ast
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from w2v2_ray.model.ctc import Wav2Vec2CtcModel
from w2v2_ray.model.factory import build_ctc_model, build_pretrain_model
from w2v2_ray.model.interop.fairseq_names import from_fairseq, to_fairseq
from w2v2_ray.model.pretraining import Wav2Vec2PretrainModel
from w2v2_ray.spec.model import ContrastiveLossSpec, ModelSpec

Arrays = Mapping[str, NDArray[Any]]

_EXACT = ("sample_size", "correct")


@dataclass(frozen=True)
class Difference:
    """How far one quantity of ours is from the golden one."""

    quantity: str
    absolute: float
    relative: float
    """Largest difference over the largest absolute golden value of the tensor."""


def load(path: Path) -> dict[str, NDArray[Any]]:
    """Return the arrays of a golden file."""
    with np.load(path) as arrays:
        return {name: arrays[name] for name in arrays.files}


def read_config(arrays: Arrays) -> dict[str, Any]:
    """Return the reference options that a golden file was made with."""
    config: dict[str, Any] = json.loads(str(arrays["config"]))
    return config


def model_spec(config: Mapping[str, Any]) -> ModelSpec:
    """Translate the reference's options into a spec, with every dropout off."""
    hourglass = None
    if config["hourglass_transformer"]:
        pre, (middle, factor), post = ast.literal_eval(config["hourglass_transformer"])
        hourglass = {
            "pre_layers": pre,
            "middle_layers": middle,
            "post_layers": post,
            "shorten_factor": factor,
            "resample": config["hourglass_resample"],
        }
    return ModelSpec.model_validate(
        {
            "feature_encoder": {
                "conv_layers": _conv_layers(config["conv_feature_layers"]),
                "norm": "layer_norm" if config["extractor_mode"] == "layer_norm" else "group_norm",
                "bias": config["conv_bias"],
                "gradient_scale": config.get("feature_grad_mult", 1.0),
            },
            "encoder": {
                "layers": config["encoder_layers"],
                "dim": config["encoder_embed_dim"],
                "ffn_dim": config["encoder_ffn_embed_dim"],
                "heads": config["encoder_attention_heads"],
                "norm_first": config["layer_norm_first"],
                "position_kernel": config["conv_pos"],
                "position_groups": config["conv_pos_groups"],
                "hourglass": hourglass,
                "dropout": 0.0,
                "attention_dropout": 0.0,
                "layer_drop": 0.0,
            },
            "quantizer": {"codebooks": config.get("latent_groups", 2), "entries": config.get("latent_vars", 320)},
            "final_dim": config.get("final_dim", 256),
            "dropout_input": 0.0,
            "dropout_features": 0.0,
        }
    )


def load_pretrain_model(arrays: Arrays) -> Wav2Vec2PretrainModel:
    """Build a pre-training model with a golden file's weights, in the modes that the file was made in."""
    config = read_config(arrays)
    diversity_weight, penalty_weight = config["loss_weights"]
    loss = ContrastiveLossSpec(
        negatives=config["num_negatives"],
        logit_temperature=config["logit_temp"],
        diversity_weight=diversity_weight,
        features_penalty_weight=penalty_weight,
    )
    # With several sub-batches the reference takes the diversity of the last for all of them.
    model = build_pretrain_model(model_spec(config), loss, concat_diversity="last")
    model.load_state_dict(from_fairseq(_tensors(arrays, "w:"), num_codebooks=config["latent_groups"]))
    model.train()
    model.quantizer.eval()
    return model


def load_ctc_model(arrays: Arrays) -> Wav2Vec2CtcModel:
    """Build a recogniser with a golden file's weights."""
    config = read_config(arrays)
    model = build_ctc_model(model_spec(config), config["vocab_size"])
    model.load_state_dict(from_fairseq(_tensors(arrays, "w:")))
    return model.eval()


def sub_batch_inputs(arrays: Arrays) -> tuple[list[int], Tensor, list[Tensor]]:
    """Return sub-batch sizes, masks [B, T] and negatives [b, M, N] of a golden file.

    Its negatives index the flattened masked frames of the sub-batch; ours count within the utterance.
    """
    config = read_config(arrays)
    masks, negatives = [], []
    for index, size in enumerate(config["sub_batch_sizes"]):
        masks.append(torch.from_numpy(arrays[f"mask_{index}"]))
        flat = torch.from_numpy(arrays[f"neg_idx_{index}"])
        masked = flat.shape[1] // config["num_negatives"]
        within = flat - torch.arange(size)[:, None] * masked
        negatives.append(within.view(size, masked, config["num_negatives"]))
    return config["sub_batch_sizes"], torch.cat(masks), negatives


def pretrain_differences(arrays: Arrays) -> list[Difference]:
    """Run a `pretrain_*.npz` and compare everything it records, every gradient included."""
    model = load_pretrain_model(arrays)
    sizes, masks, negatives = sub_batch_inputs(arrays)
    source = torch.from_numpy(arrays["source"])
    out = model(source, sizes, masks, negatives, gumbel_temperature=2.0, return_logits=True)
    out.loss_sum.backward()
    assert out.logits is not None
    ours = {
        "logits": _in_golden_order(out.logits),
        "loss_sum": out.loss_sum.detach(),
        "losses": torch.stack([out.contrastive, out.diversity, out.features_penalty]),
        "sample_size": torch.tensor(out.sample_size),
        "correct": out.correct,
        "features_pen": out.features_mean_square,
        # Of several sub-batches the files hold the last one's.
        "prob_perplexity": out.prob_perplexities[-1],
        "code_perplexity": out.code_perplexities[-1],
    }
    with torch.no_grad():
        ours["encoder_out"] = model.backbone(source).context
    differences = [_difference(name, tensor, arrays[name]) for name, tensor in ours.items()]
    return differences + gradient_differences(model, arrays)


def _in_golden_order(logits: list[Tensor]) -> Tensor:
    """Flatten [b, M, 1 + N] logits to frames.

    Files of several sub-batches are ordered by sub-batch, utterance, time, as their README says; those of one were
    written by another branch of the reference, by time and then utterance.
    """
    if len(logits) == 1:
        return logits[0].transpose(0, 1).flatten(0, 1)
    return torch.cat([part.flatten(0, 1) for part in logits])


def gradient_differences(model: Wav2Vec2PretrainModel, arrays: Arrays) -> list[Difference]:
    """Compare the gradient of every parameter, under the reference's names."""
    gradients = {name: torch.zeros_like(p) if p.grad is None else p.grad for name, p in model.named_parameters()}
    theirs = to_fairseq(gradients)
    # The reference fuses its projections too when it runs, so that is how its gradients are named.
    for name in [name for name in theirs if ".q_proj." in name]:
        parts = [theirs.pop(name.replace("q_proj", part)) for part in ("q_proj", "k_proj", "v_proj")]
        theirs[name.replace("q_proj", "qkv")] = torch.cat(parts)
    golden = {name.removeprefix("g:") for name in arrays if name.startswith("g:")}
    if golden != set(theirs):
        raise ValueError(f"gradients in only one of ours and the golden file: {sorted(golden ^ set(theirs))}")
    return [_difference(f"g:{name}", tensor, arrays[f"g:{name}"]) for name, tensor in sorted(theirs.items())]


def ctc_differences(arrays: Arrays) -> list[Difference]:
    """Run a `ctc_*.npz` and compare log-probabilities and padding."""
    model = load_ctc_model(arrays)
    with torch.no_grad():
        out = model(torch.from_numpy(arrays["source"]), torch.from_numpy(arrays["lengths"]))
    assert out.padding_mask is not None
    return [
        _difference("log_probs", out.log_probs, arrays["log_probs"]),
        _difference("padding_mask", out.padding_mask, arrays["padding_mask"]),
    ]


def differences(path: Path) -> list[Difference]:
    """Compare with a golden file of either kind."""
    arrays = load(path)
    return ctc_differences(arrays) if path.name.startswith("ctc_") else pretrain_differences(arrays)


def _conv_layers(text: str) -> list[tuple[int, int, int]]:
    """Read `[(32,10,5)]+[(32,3,2)]*4`, the reference's way of writing convolutions, without evaluating it."""
    layers: list[tuple[int, int, int]] = []
    for term in text.split("+"):
        listed, _, times = term.partition("*")
        layers += ast.literal_eval(listed.strip()) * int(times or 1)
    return layers


def _tensors(arrays: Arrays, prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): torch.from_numpy(a) for name, a in arrays.items() if name.startswith(prefix)}


def _difference(name: str, ours: Tensor, golden: NDArray[Any]) -> Difference:
    mine = ours.detach().double().numpy()
    theirs = golden.astype(np.float64)
    if mine.shape != theirs.shape:
        raise ValueError(f"{name}: shape {mine.shape}, golden {theirs.shape}")
    # Equal infinities differ by nothing; others differ by infinity.
    finite = np.isfinite(theirs) & np.isfinite(mine)
    absolute = float("inf")
    if np.array_equal(mine[~finite], theirs[~finite]):
        absolute = float(np.abs(mine[finite] - theirs[finite]).max(initial=0.0))
    scale = float(np.abs(theirs[np.isfinite(theirs)]).max(initial=0.0))
    return Difference(name, absolute, absolute / scale if scale else absolute)


def _rows(path: Path) -> list[str]:
    found = differences(path)
    gradients = [d for d in found if d.quantity.startswith("g:")]
    shown = [d for d in found if not d.quantity.startswith("g:")]
    rows = [f"| {path.stem} | {d.quantity} | {d.absolute:.1e} | {d.relative:.1e} |" for d in shown]
    if gradients:
        worst = max(gradients, key=lambda d: d.relative)
        name = f"{len(gradients)} gradients, worst {worst.quantity.removeprefix('g:')}"
        rows.append(f"| {path.stem} | {name} | {worst.absolute:.1e} | {worst.relative:.1e} |")
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("golden_dir", type=Path)
    golden_dir: Path = parser.parse_args().golden_dir
    paths = sorted(golden_dir.glob("*.npz"))
    if not paths:
        parser.error(f"{golden_dir} holds no .npz files")
    print("| file | quantity | max difference | relative to the largest value |")
    print("| --- | --- | --- | --- |")
    for path in paths:
        print("\n".join(_rows(path)))


if __name__ == "__main__":
    main()
