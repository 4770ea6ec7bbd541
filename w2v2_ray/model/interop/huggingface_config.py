"""Hugging Face's `config.json` and the small files beside it, to our spec and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from w2v2_ray.errors import CheckpointError
from w2v2_ray.model.interop.architecture import Hints
from w2v2_ray.model.interop.loaded_model import LoadedModel, ModelKind
from w2v2_ray.spec.model import ContrastiveLossSpec
from w2v2_ray.spec.symbols import WORD_DELIMITER

ARCHITECTURES: dict[ModelKind, str] = {
    "pretrain": "Wav2Vec2ForPreTraining",
    "ctc": "Wav2Vec2ForCTC",
    "backbone": "Wav2Vec2Model",
}

_SIMPLE = {
    "conv_bias": "feature_encoder.bias",
    "num_hidden_layers": "encoder.layers",
    "hidden_size": "encoder.dim",
    "intermediate_size": "encoder.ffn_dim",
    "num_attention_heads": "encoder.heads",
    "do_stable_layer_norm": "encoder.norm_first",
    "num_conv_pos_embeddings": "encoder.position_kernel",
    "num_conv_pos_embedding_groups": "encoder.position_groups",
    "hidden_dropout": "encoder.dropout",
    "attention_dropout": "encoder.attention_dropout",
    "activation_dropout": "encoder.activation_dropout",
    "layerdrop": "encoder.layer_drop",
    "mask_time_prob": "masking.probability",
    "mask_time_length": "masking.length_frames",
    "mask_feature_prob": "masking.channel_probability",
    "mask_feature_length": "masking.channel_length",
    "feat_proj_dropout": "dropout_input",
    "feat_quantizer_dropout": "dropout_features",
}
"""Keys of `config.json` that say the same as one field of the spec."""

_DEFAULTS: dict[str, Any] = {
    "conv_bias": False,
    "num_hidden_layers": 12,
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_attention_heads": 12,
    "do_stable_layer_norm": False,
    "num_conv_pos_embeddings": 128,
    "num_conv_pos_embedding_groups": 16,
    "hidden_dropout": 0.1,
    "attention_dropout": 0.1,
    "activation_dropout": 0.1,
    "layerdrop": 0.1,
    "mask_time_prob": 0.05,
    "mask_time_length": 10,
    "mask_feature_prob": 0.0,
    "mask_feature_length": 10,
    "feat_proj_dropout": 0.0,
    "feat_quantizer_dropout": 0.0,
    "hidden_act": "gelu",
    "feat_extract_norm": "group",
    "conv_stride": [5, 2, 2, 2, 2, 2, 2],
    "pad_token_id": 0,
    "final_dropout": 0.1,
}
"""What transformers takes where `config.json` leaves a key out, as it may."""

_NORMALIZE_EPS = 1e-7
"""Of `Wav2Vec2FeatureExtractor.zero_mean_unit_var_norm`; fairseq's layer_norm has 1e-5."""

_ONLY: dict[str, tuple[Any, ...]] = {
    "feat_extract_activation": ("gelu",),
    "layer_norm_eps": (1e-5,),
    "add_adapter": (False,),
    "adapter_attn_dim": (None,),
    "position_embeddings_type": (None,),
}


_ACTIVATIONS = {"gelu": "gelu", "relu": "relu", "silu": "silu", "swish": "silu", "tanh": "tanh"}
"""Names of transformers to ours."""


def hints_from_config(config: Mapping[str, Any], preprocessor: Mapping[str, Any], source: str) -> Hints:
    """Translate `config.json` and `preprocessor_config.json`.

    Raises:
        CheckpointError: When they describe another architecture.
    """
    if config.get("model_type") != "wav2vec2":
        raise CheckpointError(f"{source}: its model_type is {config.get('model_type')!r}; wav2vec2 can be imported")
    architectures = config.get("architectures") or []
    if architectures and not set(architectures) & set(ARCHITECTURES.values()):
        raise CheckpointError(
            f"{source}: a {', '.join(map(str, architectures))}; {', '.join(ARCHITECTURES.values())} can be imported"
        )
    for key, admitted in _ONLY.items():
        if key in config and config[key] not in admitted:
            raise CheckpointError(f"{source}: its {key} is {config[key]!r}; this network has {admitted[0]!r}")
    said = {**_DEFAULTS, **config}
    if said["hidden_act"] not in _ACTIVATIONS:
        raise CheckpointError(
            f"{source}: its hidden_act is {said['hidden_act']!r}; {', '.join(_ACTIVATIONS)} can be imported"
        )
    spec: dict[str, Any] = {"feature_encoder": {}, "encoder": {}, "masking": {}, "quantizer": {}}
    for key, path in _SIMPLE.items():
        parent, _, name = path.rpartition(".")
        target = spec[parent] if parent else spec
        target[name] = float(said[key]) if isinstance(_DEFAULTS[key], float) else said[key]
    if not said.get("apply_spec_augment", True):
        spec["masking"] |= {"probability": 0.0, "channel_probability": 0.0}
    spec["feature_encoder"]["norm"] = f"{said['feat_extract_norm']}_norm"
    spec["encoder"] |= {"hourglass": None, "activation": _ACTIVATIONS[said["hidden_act"]]}
    spec["normalize_waveform"] = bool(preprocessor.get("do_normalize", True))
    if spec["normalize_waveform"]:
        spec["normalize_eps"] = float(preprocessor.get("normalize_eps", _NORMALIZE_EPS))
    if preprocessor.get("sampling_rate", 16_000) != 16_000:
        raise CheckpointError(f"{source}: made for {preprocessor['sampling_rate']} Hz; 16000 Hz can be imported")
    return Hints(spec, tuple(int(stride) for stride in said["conv_stride"]), source)


def loss_from_config(config: Mapping[str, Any]) -> ContrastiveLossSpec:
    """The objective that a configuration describes; its penalty on features is not in there and 0 in transformers."""
    return ContrastiveLossSpec(
        negatives=int(config.get("num_negatives", 100)),
        logit_temperature=float(config.get("contrastive_logits_temperature", 0.1)),
        diversity_weight=float(config.get("diversity_loss_weight", 0.1)),
        features_penalty_weight=0.0,
    )


def blank_of(config: Mapping[str, Any]) -> int:
    """Index of the CTC blank, which Hugging Face calls padding."""
    return int(config.get("pad_token_id") or 0)


def final_dropout_of(config: Mapping[str, Any]) -> float:
    """Dropout before the head."""
    return float(config.get("final_dropout", _DEFAULTS["final_dropout"]))


def refuse_what_it_lacks(model: LoadedModel) -> None:
    """Refuse a network, or the objective of a pre-training model, that `config.json` has no words for.

    How a recogniser's spans of masked frames are drawn is left out, as are its other settings of training.

    Raises:
        CheckpointError: Naming what it is.
    """
    spec, loss = model.spec, model.loss or ContrastiveLossSpec()
    if spec.encoder.hourglass is not None:
        raise CheckpointError(
            f"{model.source}: transformers has no Hourglass; export to nvidia, onnx or torch-export, which have"
        )
    if model.kind != "pretrain":
        return
    lacking = [
        name
        for name, there in (
            ("quantizer.depth", spec.quantizer.depth > 1),
            ("target_glu", spec.target_glu),
            ("loss.cross_sample_negatives", loss.cross_sample_negatives > 0),
            ("loss.codebook_negatives", loss.codebook_negatives > 0),
            *((f"masking.{name}", name not in spec.masking.unsaid()) for name in spec.masking.added_later),
        )
        if there
    ]
    if lacking:
        raise CheckpointError(
            f"{model.source}: transformers has nothing like its {', '.join(lacking)}; export to fairseq or nvidia, "
            "which have"
        )


def config_of(model: LoadedModel) -> dict[str, Any]:
    """Write a spec as `config.json`."""
    spec = model.spec
    document = spec.model_dump()
    config: dict[str, Any] = {"architectures": [ARCHITECTURES[model.kind]], "model_type": "wav2vec2"}
    for key, path in _SIMPLE.items():
        parent, _, name = path.rpartition(".")
        config[key] = (document[parent] if parent else document)[name]
    layers = spec.feature_encoder.conv_layers
    loss = model.loss or ContrastiveLossSpec()
    config |= {
        "apply_spec_augment": True,
        "bos_token_id": 1,
        "codevector_dim": spec.code_dim,
        "contrastive_logits_temperature": loss.logit_temperature,
        "conv_dim": [channels for channels, _, _ in layers],
        "conv_kernel": [kernel for _, kernel, _ in layers],
        "conv_stride": [stride for _, _, stride in layers],
        "ctc_loss_reduction": "sum",
        "ctc_zero_infinity": True,
        "diversity_loss_weight": loss.diversity_weight,
        "dtype": "float32",
        "eos_token_id": 2,
        "feat_extract_activation": "gelu",
        "feat_extract_norm": spec.feature_encoder.norm.removesuffix("_norm"),
        "final_dropout": model.final_dropout,
        "hidden_act": spec.encoder.activation,
        "initializer_range": 0.02,
        "layer_norm_eps": 1e-5,
        "mask_time_min_masks": 2,
        "num_codevector_groups": spec.quantizer.codebooks,
        "num_codevectors_per_group": spec.quantizer.entries,
        "num_negatives": loss.negatives,
        "pad_token_id": 0,
        "proj_codevector_dim": spec.final_dim,
        "vocab_size": model.vocab_size or 32,
    }
    return config


def preprocessor_of(model: LoadedModel) -> dict[str, Any]:
    """Write `preprocessor_config.json`."""
    spec = model.spec
    return {
        "feature_extractor_type": "Wav2Vec2FeatureExtractor",
        "feature_size": 1,
        "sampling_rate": spec.sample_rate,
        "padding_side": "right",
        "padding_value": 0.0,
        "do_normalize": spec.normalize_waveform,
        # transformers knows no other epsilon than its own and passes the key over; our import takes it back.
        **({"normalize_eps": spec.normalize_eps} if spec.normalize_waveform else {}),
        # Models with a group norm over time were trained without an attention mask.
        "return_attention_mask": spec.feature_encoder.norm == "layer_norm",
    }


def tokenizer_of(symbols: Sequence[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Write `tokenizer_config.json` and `special_tokens_map.json` for symbols under Hugging Face's names.

    A special token that the vocabulary lacks is null: naming it would add an output that the model does not have.
    """
    special = {
        "bos_token": next((s for s in symbols[1:] if s == "<s>"), None),
        "eos_token": next((s for s in symbols[1:] if s == "</s>"), None),
        "unk_token": next((s for s in symbols[1:] if s in ("<unk>", "[UNK]")), None),
        "pad_token": symbols[0],
    }
    tokenizer = {
        "tokenizer_class": "Wav2Vec2CTCTokenizer",
        "processor_class": "Wav2Vec2Processor",
        "do_lower_case": False,
        "replace_word_delimiter_char": " ",
        "word_delimiter_token": WORD_DELIMITER,
        **special,
    }
    return tokenizer, {name: token for name, token in special.items() if token is not None}
