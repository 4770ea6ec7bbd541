"""Prints a Markdown table of the largest differences after conversion: direction, format, size, quantity.

Every model is random, every comparison is of the same weights on the same waveform in fp32: their library runs what we
exported, and we run what their library saved. Round trips compare weights. Then the seconds of round trips at Base
size. transformers and torchaudio are needed; onnx and onnxruntime are used if they are installed.

Usage: python benchmarks/interop_table.py [--sizes small base] [--no-graphs]
"""

from __future__ import annotations

import argparse
import importlib.util
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from w2v2_ray.audio.torchaudio_compat import import_torchaudio
from w2v2_ray.model.backbone import Wav2Vec2Backbone
from w2v2_ray.model.ctc import Wav2Vec2CtcModel
from w2v2_ray.model.factory import build_backbone, build_ctc_model, build_pretrain_model
from w2v2_ray.model.interop.format_names import TargetFormat
from w2v2_ray.model.interop.formats import export_model, import_model
from w2v2_ray.model.interop.loaded_model import BACKBONE, LoadedModel, ModelKind, check_model
from w2v2_ray.model.interop.torchaudio_state import wav2vec2_model_arguments
from w2v2_ray.model.masking import sample_negatives, span_mask
from w2v2_ray.model.pretraining import Wav2Vec2PretrainModel
from w2v2_ray.spec.model import ContrastiveLossSpec, ModelSpec

VOCABULARY = ("<s>", "<pad>", "</s>", "<unk>", "|", *"ETAONIHSRDLUMWCFGYPBVKXJQZ'")
SECONDS = {"small": 1.6, "base": 2.0}
BATCH = {"small": 3, "base": 2}
NEGATIVES = 20


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    direction: str
    model_format: str
    size: str
    quantity: str
    difference: float
    """Largest absolute difference."""


def spec_of(style: str, size: str) -> ModelSpec:
    """A plain model in the style of Base (post-norm, group norm) or Large (pre-norm, layer norms, conv bias)."""
    large = style == "large"
    document: dict[str, Any] = {
        "feature_encoder": {"norm": "layer_norm" if large else "group_norm", "bias": large},
        "encoder": {"hourglass": None, "norm_first": large},
        "normalize_waveform": large,
    }
    if size == "small":
        convs = [(32, 10, 5), *[(32, 3, 2)] * 4, *[(32, 2, 2)] * 2]
        document["feature_encoder"]["conv_layers"] = convs
        document["encoder"] |= {"layers": 4, "dim": 64, "ffn_dim": 128, "heads": 4, "position_kernel": 32}
        document |= {"quantizer": {"entries": 24}, "final_dim": 48}
    return ModelSpec.model_validate(document)


def random_model(kind: ModelKind, style: str, size: str) -> LoadedModel:
    """Our initial weights, larger ones for attention; norms and biases drawn too, so that none of them is 0 or 1."""
    torch.manual_seed(7)
    spec = spec_of(style, size)
    builders: dict[ModelKind, Callable[[], nn.Module]] = {
        "pretrain": lambda: build_pretrain_model(spec),
        "ctc": lambda: build_ctc_model(spec, len(VOCABULARY)),
        "backbone": lambda: build_backbone(spec),
    }
    state = builders[kind]().state_dict()
    for name, tensor in state.items():
        if name.endswith(".bias") or "norm.weight" in name:
            tensor.add_(0.1 * torch.randn_like(tensor))
        elif ".stack." in name:
            # N(0, 0.02) suits a width of 768; at a small one attention, and an error in it, would hardly matter.
            tensor.mul_((2.0 if "qkv" in name else 1.0) * (768 / spec.encoder.dim) ** 0.5)
    if kind == "backbone":
        state = {BACKBONE + name: tensor for name, tensor in state.items()}
    vocabulary = VOCABULARY if kind == "ctc" else None
    loss = ContrastiveLossSpec(negatives=NEGATIVES, features_penalty_weight=0.0) if kind == "pretrain" else None
    return check_model(LoadedModel(spec, kind, state, vocabulary, loss, source=f"{style} {size}"))


def waveform_of(size: str) -> Tensor:
    """Noise with a varying loudness: [B, S]."""
    rng = np.random.default_rng(3)
    samples = round(SECONDS[size] * 16_000)
    loudness = 0.05 + 0.1 * np.abs(np.sin(np.linspace(0, 9, samples)))
    return torch.from_numpy((loudness * rng.standard_normal((BATCH[size], samples))).astype(np.float32))


def largest(ours: Tensor, theirs: Tensor) -> float:
    """Largest absolute difference; infinities must be in the same places.

    Raises:
        ValueError: When shapes or infinities differ.
    """
    if ours.shape != theirs.shape:
        raise ValueError(f"shapes {list(ours.shape)} and {list(theirs.shape)}")
    finite = torch.isfinite(ours)
    if not torch.equal(finite, torch.isfinite(theirs)):
        raise ValueError("infinities in different places")
    return float((ours[finite].double() - theirs[finite].double()).abs().max())


def _layer_outputs(layers: nn.ModuleList, run: Callable[[], Any]) -> tuple[list[Tensor], Any]:
    kept: list[Tensor] = []

    def keep(_: nn.Module, __: Any, output: Any) -> None:
        kept.append(output[0] if isinstance(output, tuple) else output)

    handles = [layer.register_forward_hook(keep) for layer in layers]
    try:
        with torch.no_grad():
            result = run()
    finally:
        for handle in handles:
            handle.remove()
    return kept, result


def hidden_state_difference(ours: Wav2Vec2Backbone, theirs: Any, their_layers: Any, waveform: Tensor) -> float:
    """Over the output of every layer and of the encoder."""
    mine, context = _layer_outputs(ours.encoder.stack.layers, lambda: ours(waveform).context)  # type: ignore[arg-type]
    others, out = _layer_outputs(their_layers, lambda: theirs(waveform))
    last = out[0] if isinstance(out, tuple) else out.last_hidden_state
    if len(mine) != len(others):
        raise ValueError(f"{len(mine)} and {len(others)} layers")
    return max(largest(a, b) for a, b in zip([*mine, context], [*others, last], strict=True))


def pretraining_differences(ours: Wav2Vec2PretrainModel, theirs: Any, waveform: Tensor) -> dict[str, float]:
    """Logits and loss with the same masks and negatives, dropout off, the quantizer in eval mode (hard argmax)."""
    rng = np.random.default_rng(5)
    batch = waveform.shape[0]
    frames = ours.backbone.feature_encoder.num_frames(waveform.shape[1])
    mask = span_mask(rng, batch, frames, 0.65, 10)
    masked = int(mask[0].sum())
    negatives = torch.from_numpy(sample_negatives(rng, batch, masked, NEGATIVES))
    mask_t = torch.from_numpy(mask)
    # Theirs index all frames of the batch, ours the masked frames of the utterance.
    positions = torch.stack([row.nonzero()[:, 0] for row in mask_t])
    sampled = torch.zeros(batch, frames, NEGATIVES, dtype=torch.int64)
    for row in range(batch):
        sampled[row, mask_t[row]] = positions[row][negatives[row]] + row * frames
    with torch.no_grad():
        mine = ours(waveform, [batch], mask_t, [negatives], gumbel_temperature=2.0, return_logits=True)
        other = theirs(waveform, mask_time_indices=mask_t, sampled_negative_indices=sampled)
        # Only in training mode do they compute the perplexity of the soft distribution, which the loss is made of.
        theirs.quantizer.train()
        features = theirs.wav2vec2(waveform, mask_time_indices=mask_t).extract_features
        soft = theirs.quantizer(features, mask_time_indices=mask_t)[1]
        theirs.quantizer.eval()
    diversity = ours.diversity_weight * (ours.quantizer.num_codes - soft) / ours.quantizer.num_codes * mask_t.sum()
    masked_frames = mine.sample_size
    return {
        "pre-training logits": largest(mine.logits[0], _their_logits(theirs, other, mask_t, sampled)),
        "contrastive loss per frame": abs(float(mine.contrastive - other.contrastive_loss)) / masked_frames,
        "loss per frame": abs(float(mine.loss_sum - (other.contrastive_loss + diversity))) / masked_frames,
        "code perplexity, relative": abs(float(mine.code_perplexity / other.codevector_perplexity) - 1.0),
    }


def _their_logits(theirs: Any, out: Any, mask: Tensor, sampled: Tensor) -> Tensor:
    """Shape: [B, M, 1 + N]."""
    targets, predicted = out.projected_quantized_states, out.projected_states
    batch, frames, dim = targets.shape
    negatives = targets.view(-1, dim)[sampled.view(-1)].view(batch, frames, -1, dim).permute(2, 0, 1, 3)
    logits: Tensor = theirs.compute_contrastive_logits(targets[None], negatives, predicted, 0.1)
    logits[1:][(targets == negatives).all(-1)] = -torch.inf
    return logits.permute(1, 2, 0)[mask].view(batch, -1, logits.shape[0])


def transformers_rows(size: str, style: str, folder: Path) -> Iterator[Row]:
    """Both directions against transformers."""
    import_torchaudio()  # transformers imports it
    import transformers

    transformers.utils.logging.disable_progress_bar()
    classes: dict[ModelKind, Any] = {
        "pretrain": transformers.Wav2Vec2ForPreTraining,
        "ctc": transformers.Wav2Vec2ForCTC,
        "backbone": transformers.Wav2Vec2Model,
    }
    waveform = waveform_of(size)
    for kind, their_class in classes.items():
        if kind == "backbone" and size != "small":
            continue
        model = random_model(kind, style, size)
        export_model(model, TargetFormat.HUGGINGFACE, folder / f"{style}-{kind}")
        theirs = their_class.from_pretrained(folder / f"{style}-{kind}").eval()
        label = f"{style}-style {size}"
        for quantity, value in _compare_transformers(model, theirs, waveform).items():
            yield Row("export", "Hugging Face", label, f"{kind}: {quantity}", value)
        theirs.save_pretrained(folder / f"{style}-{kind}-theirs")
        back = import_model(folder / f"{style}-{kind}-theirs", vocabulary=_their_vocabulary(model))
        for quantity, value in _compare_transformers(back, theirs, waveform).items():
            yield Row("import", "Hugging Face", label, f"{kind}: {quantity}", value)
        yield Row("round trip", "Hugging Face", label, f"{kind}: weights", weight_difference(model, back))


def _their_vocabulary(model: LoadedModel) -> tuple[str, ...] | None:
    """`save_pretrained` of a model writes no vocabulary."""
    from w2v2_ray.model.interop.vocabulary import to_huggingface

    return None if model.vocabulary is None else to_huggingface(model.vocabulary)


def _compare_transformers(model: LoadedModel, theirs: Any, waveform: Tensor) -> dict[str, float]:
    ours = model.build()
    base = theirs if model.kind == "backbone" else theirs.wav2vec2
    backbone = ours if isinstance(ours, Wav2Vec2Backbone) else ours.backbone
    found = {"hidden states": hidden_state_difference(backbone, base, base.encoder.layers, waveform)}
    if isinstance(ours, Wav2Vec2PretrainModel):
        found |= pretraining_differences(ours, theirs, waveform)
    if isinstance(ours, Wav2Vec2CtcModel):
        with torch.no_grad():
            log_probs = theirs(waveform).logits.log_softmax(-1)
            found["log-probs"] = largest(ours(waveform).log_probs, log_probs)
    return found


def torchaudio_rows(size: str, style: str, folder: Path) -> Iterator[Row]:
    """Both directions against torchaudio."""
    torchaudio = import_torchaudio()
    waveform, label = waveform_of(size), f"{style}-style {size}"
    model = random_model("ctc", style, size)
    path = folder / f"{style}-audio.pt"
    export_model(model, TargetFormat.TORCHAUDIO, path)
    theirs = torchaudio.models.wav2vec2_model(**wav2vec2_model_arguments(model)).eval()
    theirs.load_state_dict(torch.load(path, weights_only=True))
    torch.save(theirs.state_dict(), path)  # by their own hand, beside the arguments that we wrote
    back = import_model(path)
    for direction, ours in (("export", model), ("import", back)):
        network = ours.build()
        layers = theirs.encoder.transformer.layers
        assert isinstance(network, Wav2Vec2CtcModel)
        mine, out = _layer_outputs(network.backbone.encoder.stack.layers, lambda n=network: n(waveform))  # type: ignore[arg-type, misc]
        others, emission = _layer_outputs(layers, lambda: theirs(waveform)[0])
        hidden = max(largest(a, b) for a, b in zip(mine, others, strict=True))
        yield Row(direction, "torchaudio", label, "ctc: hidden states", hidden)
        yield Row(direction, "torchaudio", label, "ctc: log-probs", largest(out.log_probs, emission.log_softmax(-1)))
    yield Row("round trip", "torchaudio", label, "ctc: weights, mask embedding apart", weight_difference(model, back))


def weight_difference(model: LoadedModel, other: LoadedModel) -> float:
    """Over all weights that both have; torchaudio has no place for the mask embedding."""
    apart = {"backbone.input_masking.embedding"} if other.notes else set()
    names = set(model.state) - apart
    if names != set(other.state) - apart:
        raise ValueError(f"different weights: {sorted(names ^ set(other.state))}")
    return max(largest(model.state[name], other.state[name]) for name in names)


def round_trip_rows(size: str, folder: Path) -> Iterator[Row]:
    """Formats whose library is not needed to read them: every weight there and back, one with an Hourglass."""
    hourglass = {"pre_layers": 1, "middle_layers": 2, "post_layers": 1, "shorten_factor": 3, "resample": "linear"}
    for style in ("base", "large") if size == "small" else ("base",):
        kinds: tuple[ModelKind, ...] = ("pretrain", "ctc")
        for kind in kinds:
            model = random_model(kind, style, size)
            for target in (TargetFormat.OWN, TargetFormat.FAIRSEQ, TargetFormat.NVIDIA):
                path = folder / f"{style}-{kind}-{target}{'' if target is TargetFormat.OWN else '.pt'}"
                export_model(model, target, path)
                value = weight_difference(model, import_model(path))
                yield Row("round trip", target.value, f"{style}-style {size}", f"{kind}: weights", value)
    if size == "small":
        document = spec_of("base", size).model_dump()
        document["encoder"]["hourglass"] = hourglass
        spec = ModelSpec.model_validate(document)
        model = check_model(
            LoadedModel(spec, "ctc", build_ctc_model(spec, len(VOCABULARY)).state_dict(), VOCABULARY, source="h")
        )
        export_model(model, TargetFormat.NVIDIA, folder / "hourglass.pt")
        value = weight_difference(model, import_model(folder / "hourglass.pt"))
        yield Row("round trip", "nvidia", "Hourglass small", "ctc: weights", value)


def graph_rows(folder: Path) -> Iterator[Row]:
    """Graphs on a padded batch of another size than they were traced with, with an Hourglass."""
    document = spec_of("base", "small").model_dump()
    hourglass = {"pre_layers": 1, "middle_layers": 2, "post_layers": 1, "shorten_factor": 3, "resample": "naive"}
    document["encoder"]["hourglass"] = hourglass
    spec = ModelSpec.model_validate(document)
    torch.manual_seed(2)
    model = check_model(
        LoadedModel(spec, "ctc", build_ctc_model(spec, len(VOCABULARY)).state_dict(), VOCABULARY, source="graph")
    )
    waveform = waveform_of("small")
    lengths = torch.tensor([waveform.shape[1] - 1111 * row for row in range(len(waveform))])
    network = model.build()
    with torch.no_grad():
        ours = network(waveform, lengths).log_probs
        export_model(model, TargetFormat.TORCH_EXPORT, folder / "model.pt2")
        program = torch.export.load(folder / "model.pt2").module()
        value = largest(ours, program(waveform, lengths)[0])
    yield Row("export", "torch.export", "Hourglass small", "ctc: log-probs, padded batch", value)
    if all(importlib.util.find_spec(name) for name in ("onnx", "onnxscript", "onnxruntime")):
        import onnxruntime

        export_model(model, TargetFormat.ONNX, folder / "model.onnx")
        session = onnxruntime.InferenceSession(str(folder / "model.onnx"))
        out = session.run(None, {"waveform": waveform.numpy(), "lengths": lengths.numpy()})
        value = largest(ours, torch.from_numpy(out[0]))
        yield Row("export", "ONNX", "Hourglass small", "ctc: log-probs, padded batch", value)


def round_trip_seconds(folder: Path) -> Iterator[tuple[str, float, float]]:
    """(format, seconds to export, seconds to import) of a Base pre-training model, 95 million parameters."""
    model = random_model("pretrain", "base", "base")
    for target in (TargetFormat.OWN, TargetFormat.HUGGINGFACE, TargetFormat.FAIRSEQ, TargetFormat.NVIDIA):
        path = folder / f"timed-{target}{'.pt' if target in (TargetFormat.FAIRSEQ, TargetFormat.NVIDIA) else ''}"
        started = time.perf_counter()
        export_model(model, target, path)
        written = time.perf_counter()
        import_model(path)
        yield target.value, written - started, time.perf_counter() - written


def rows(sizes: list[str], folder: Path, *, graphs: bool = True) -> Iterator[Row]:
    """All rows of the table."""
    for size in sizes:
        for style in ("base", "large") if size == "small" else ("base",):
            yield from transformers_rows(size, style, folder / size)
            yield from torchaudio_rows(size, style, folder / size)
        yield from round_trip_rows(size, folder / size)
    if graphs:
        yield from graph_rows(folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", choices=sorted(SECONDS), default=["small", "base"])
    parser.add_argument("--no-graphs", action="store_true", help="leave out ONNX and torch.export")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        print("| direction | format | size | quantity | max difference |\n| --- | --- | --- | --- | --- |")
        for row in rows(arguments.sizes, folder, graphs=not arguments.no_graphs):
            cells = (row.direction, row.model_format, row.size, row.quantity, f"{row.difference:.1e}")
            print(f"| {' | '.join(cells)} |", flush=True)
        if "base" in arguments.sizes:
            print("\n| Base, 95 M parameters | export, s | import, s | round trip, s |\n| --- | --- | --- | --- |")
            for target, out_s, in_s in round_trip_seconds(folder):
                print(f"| {target} | {out_s:.1f} | {in_s:.1f} | {out_s + in_s:.1f} |", flush=True)


if __name__ == "__main__":
    main()
