"""Options of fairseq and the NVIDIA reference to our spec, and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from w2v2_ray.errors import CheckpointError
from w2v2_ray.model.interop.architecture import Hints
from w2v2_ray.model.interop.plain_values import read_literal, resolve, to_plain
from w2v2_ray.spec.model import ContrastiveLossSpec, ModelSpec

_SIMPLE = {
    "conv_bias": "feature_encoder.bias",
    "feature_grad_mult": "feature_encoder.gradient_scale",
    "encoder_layers": "encoder.layers",
    "encoder_embed_dim": "encoder.dim",
    "encoder_ffn_embed_dim": "encoder.ffn_dim",
    "encoder_attention_heads": "encoder.heads",
    "layer_norm_first": "encoder.norm_first",
    "conv_pos": "encoder.position_kernel",
    "conv_pos_groups": "encoder.position_groups",
    "dropout": "encoder.dropout",
    "attention_dropout": "encoder.attention_dropout",
    "activation_dropout": "encoder.activation_dropout",
    "encoder_layerdrop": "encoder.layer_drop",
    "latent_groups": "quantizer.codebooks",
    "latent_vars": "quantizer.entries",
    "quantizer_depth": "quantizer.depth",
    "quantizer_factor": "quantizer.factor",
    "mask_prob": "masking.probability",
    "mask_length": "masking.length_frames",
    "mask_channel_prob": "masking.channel_probability",
    "mask_channel_length": "masking.channel_length",
    "mask_selection": "masking.selection",
    "mask_other": "masking.other",
    "no_mask_overlap": "masking.no_overlap",
    "mask_min_space": "masking.min_space",
    "mask_channel_selection": "masking.channel_selection",
    "mask_channel_other": "masking.channel_other",
    "no_mask_channel_overlap": "masking.channel_no_overlap",
    "mask_channel_min_space": "masking.channel_min_space",
    "target_glu": "target_glu",
    "final_dim": "final_dim",
    "dropout_input": "dropout_input",
    "dropout_features": "dropout_features",
    "normalize": "normalize_waveform",
}
"""Options that say the same as one field of the spec."""

_FLOATS = ("dropout", "mask_prob", "mask_channel_prob", "layerdrop", "grad_mult", "mask_other", "mask_channel_other")
_ACTIVATIONS = {"gelu": "gelu", "relu": "relu", "swish": "silu", "tanh": "tanh"}
"""fairseq's names to ours."""
_MODES = {"default": "group_norm", "layer_norm": "layer_norm"}
_ONLY = {
    "layer_type": ("transformer",),
    "pos_conv_depth": (1,),
    "conv_abs_pos": (False,),
    "quantize_input": (False,),
    "quantize_targets": (True,),
    "same_quantizer": (False,),
    "sample_rate": (16_000,),
    "adp_num": (-1, 0),
    "spectrogram_feature_num": (0,),
    "rotary_embeddings": (False,),
}
"""Options with which only one value makes the network that we have; a checkpoint with another one is refused."""

_TRAINING = {
    "negatives_from_everywhere": False,
    "mask_channel_before": False,
    "require_same_masks": True,
    "mask_dropout": 0,
}
"""Options of training alone, and what this trainer does whatever they say."""

_FINE_TUNED = (
    "dropout",
    "attention_dropout",
    "activation_dropout",
    "dropout_input",
    "mask_prob",
    "mask_length",
    "mask_channel_prob",
    "mask_channel_length",
    "mask_selection",
    "mask_other",
    "no_mask_overlap",
    "mask_min_space",
    "mask_channel_selection",
    "mask_channel_other",
    "no_mask_channel_overlap",
    "mask_channel_min_space",
    "mask_channel_before",
    "require_same_masks",
    "mask_dropout",
    "feature_grad_mult",
    "normalize",
)
"""Options that fine-tuning gives anew over those of the pre-trained model."""

_NAMES = {"wav2vec2", "wav2vec_ctc", "wav2vec2_ctc", "wav2vec2_base", "wav2vec2_large"}


@dataclass
class FairseqOptions:
    """What a checkpoint says of its model."""

    model: dict[str, Any] = field(default_factory=dict)
    """Flat, under fairseq's names; empty where the file holds weights alone."""
    final_dropout: float = 0.0
    """Before the head."""
    source: str = ""
    """For messages."""


def read_options(checkpoint: Mapping[str, Any], source: str) -> FairseqOptions:
    """Find the options in either form: `args` (a Namespace; NVIDIA: a dict) or `cfg` (nested; OmegaConf or plain).

    Raises:
        CheckpointError: When they say that this is another architecture.
    """
    cfg, args = checkpoint.get("cfg"), checkpoint.get("args")
    if cfg is not None:
        found = to_plain(cfg)
        options = _from_cfg(resolve(found)) if isinstance(found, dict) else {}
    else:
        found = to_plain(args) if args is not None else {}
        options = _from_args(found) if isinstance(found, dict) else {}
    options = {name: value for name, value in options.items() if value is not None}
    name = options.get("_name") or options.get("arch")
    if isinstance(name, str) and name not in _NAMES:
        raise CheckpointError(f"{source}: its architecture is {name}; wav2vec2 and wav2vec_ctc can be imported")
    for option, admitted in _ONLY.items():
        if option in options and options[option] not in admitted:
            raise CheckpointError(
                f"{source}: trained with {option}: {options[option]!r}, which is another network; "
                f"{' or '.join(repr(value) for value in admitted)} can be imported"
            )
    return FairseqOptions(options, float(options.get("final_dropout") or 0.0), source)


def _from_cfg(cfg: Mapping[str, Any]) -> dict[str, Any]:
    model, task, criterion = (_mapping(cfg.get(part)) for part in ("model", "task", "criterion"))
    own = {**model, **_picked(task, "normalize", "sample_rate"), **_picked(criterion, "loss_weights")}
    return _over_pretrained(own, model.get("w2v_args"))


def _from_args(args: Mapping[str, Any]) -> dict[str, Any]:
    return _over_pretrained(dict(args), args.get("w2v_args"))


def _over_pretrained(own: dict[str, Any], pretrained: Any) -> dict[str, Any]:
    """A fine-tuned model's options: the network's from its pre-training, regularisation from fine-tuning."""
    if not isinstance(pretrained, Mapping) or not pretrained:
        return own
    below = _from_cfg(pretrained) if isinstance(pretrained.get("model"), Mapping) else _from_args(pretrained)
    above = _picked(own, *_FINE_TUNED, "final_dropout", "_name", "arch")
    if own.get("layerdrop") is not None:
        above["encoder_layerdrop"] = own["layerdrop"]
    return {**below, **{name: value for name, value in above.items() if value is not None}}


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _picked(options: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {name: options[name] for name in names if name in options}


def hints_from(options: FairseqOptions) -> Hints:
    """Translate options into fields of the spec; what they do not say stays unsaid.

    Raises:
        CheckpointError: When an option cannot be read.
    """
    said = options.model
    spec: dict[str, Any] = {}
    try:
        for name, path in _SIMPLE.items():
            if name in said:
                value = said[name]
                _put(spec, path, float(value) if name.endswith(_FLOATS) or name in _FLOATS else value)
        if not said.get("final_dim", 1):  # fairseq: 0 means the encoder's
            spec["final_dim"] = said["encoder_embed_dim"]
        if said.get("latent_dim"):
            _put(spec, "quantizer.dim", said["latent_dim"])
        if "activation_fn" in said:
            _put(spec, "encoder.activation", _activation(str(said["activation_fn"])))
        if "extractor_mode" in said:
            _put(spec, "feature_encoder.norm", _MODES[said["extractor_mode"]])
        strides = _read_convolutions(spec, said)
        _read_temperature(spec, said)
        _read_hourglass(spec, said)
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{options.source}: options that cannot be read: {error}") from None
    return Hints(spec, strides, options.source)


def _activation(theirs: str) -> str:
    if theirs not in _ACTIVATIONS:
        raise ValueError(f"activation_fn: {theirs}; {', '.join(_ACTIVATIONS)} can be imported")
    return _ACTIVATIONS[theirs]


def _read_convolutions(spec: dict[str, Any], said: Mapping[str, Any]) -> tuple[int, ...] | None:
    layers = said.get("conv_feature_layers")
    if layers is None:
        return None
    layers = [[int(n) for n in layer] for layer in (read_literal(layers) if isinstance(layers, str) else layers)]
    _put(spec, "feature_encoder.conv_layers", layers)
    return tuple(stride for _, _, stride in layers)


def _read_temperature(spec: dict[str, Any], said: Mapping[str, Any]) -> None:
    schedule = said.get("latent_temp")
    if schedule is None:
        return
    start, stop, decay = read_literal(schedule) if isinstance(schedule, str) else schedule
    for name, value in (("start", start), ("stop", stop), ("decay", decay)):
        _put(spec, f"quantizer.temperature_{name}", float(value))


def _read_hourglass(spec: dict[str, Any], said: Mapping[str, Any]) -> None:
    text = said.get("hourglass_transformer")
    if not text:
        return
    pre, (middle, factor), post = read_literal(text) if isinstance(text, str) else text
    layers = {"pre_layers": pre, "middle_layers": middle, "post_layers": post, "shorten_factor": factor}
    _put(spec, "encoder.hourglass", {**layers, "resample": said.get("hourglass_resample") or "naive"})
    # The reference's encoder_layers may still say what a plain encoder would have.
    spec["encoder"]["layers"] = pre + middle + post


def loss_from(options: FairseqOptions) -> ContrastiveLossSpec | None:
    """The objective, where the options say anything of it."""
    said: dict[str, Any] = {}
    if "num_negatives" in options.model:
        said["negatives"] = options.model["num_negatives"]
    for name in ("cross_sample_negatives", "codebook_negatives"):
        if name in options.model:
            said[name] = options.model[name]
    if "logit_temp" in options.model:
        said["logit_temperature"] = float(options.model["logit_temp"])
    weights = options.model.get("loss_weights")
    if isinstance(weights, list) and weights:
        said["diversity_weight"] = float(weights[0])
        said["features_penalty_weight"] = float(weights[1]) if len(weights) > 1 else 0.0
    try:
        return ContrastiveLossSpec.model_validate(said) if said else None
    except ValueError as error:
        raise CheckpointError(f"{options.source}: options of its loss that cannot be read: {error}") from None


def training_notes(options: FairseqOptions) -> tuple[str, ...]:
    """Name the options that made the weights and that training from them will not have; the network is the same."""
    return tuple(
        f"trained with {name}: {options.model[name]!r}; training from it goes on with {ours!r}, which is all there is"
        for name, ours in _TRAINING.items()
        if options.model.get(name, ours) != ours
    )


def options_of(spec: ModelSpec, loss: ContrastiveLossSpec | None) -> dict[str, Any]:
    """Write a spec as options of fairseq's pre-training model; an Hourglass as the NVIDIA reference does."""
    document = spec.model_dump()
    options = {name: _get(document, path) for name, path in _SIMPLE.items()}
    encoder, quantizer = spec.encoder, spec.quantizer
    options |= {
        "extractor_mode": "layer_norm" if spec.feature_encoder.norm == "layer_norm" else "default",
        "conv_feature_layers": repr([tuple(layer) for layer in spec.feature_encoder.conv_layers]),
        "latent_dim": quantizer.dim or 0,
        "latent_temp": repr((quantizer.temperature_start, quantizer.temperature_stop, quantizer.temperature_decay)),
        "quantize_targets": True,
        "activation_fn": next(name for name, ours in _ACTIVATIONS.items() if ours == encoder.activation),
        "sample_rate": spec.sample_rate,
    }
    if encoder.hourglass is not None:
        h = encoder.hourglass
        layers = [h.pre_layers, (h.middle_layers, h.shorten_factor), h.post_layers]
        options |= {"hourglass_transformer": repr(layers).replace(" ", ""), "hourglass_resample": h.resample}
    loss = loss or ContrastiveLossSpec()
    options |= {
        "num_negatives": loss.negatives,
        "cross_sample_negatives": loss.cross_sample_negatives,
        "codebook_negatives": loss.codebook_negatives,
        "logit_temp": loss.logit_temperature,
        "loss_weights": [loss.diversity_weight, loss.features_penalty_weight],
    }
    return options


def _put(spec: dict[str, Any], path: str, value: Any) -> None:
    *parents, name = path.split(".")
    for parent in parents:
        spec = spec.setdefault(parent, {})
    spec[name] = value


def _get(document: Mapping[str, Any], path: str) -> Any:
    value: Any = document
    for part in path.split("."):
        value = value[part]
    return value
