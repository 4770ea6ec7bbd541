"""Builds the networks from specs: the only place in the model, besides interop, that reads them."""

from __future__ import annotations

from w2v2_ray.model.backbone import Wav2Vec2Backbone
from w2v2_ray.model.ctc import Wav2Vec2CtcModel
from w2v2_ray.model.encoder import TransformerEncoder
from w2v2_ray.model.feature_encoder import FeatureEncoder
from w2v2_ray.model.hourglass import HourglassStack
from w2v2_ray.model.layer import TransformerLayer
from w2v2_ray.model.positional import PositionalConv
from w2v2_ray.model.pretraining import ConcatDiversity, Wav2Vec2PretrainModel
from w2v2_ray.model.quantizer import GumbelQuantizer
from w2v2_ray.model.stack import LayerDropMode, LayerStack
from w2v2_ray.spec.model import ContrastiveLossSpec, EncoderSpec, ModelSpec


def build_encoder(
    spec: EncoderSpec,
    *,
    layer_drop_mode: LayerDropMode = "skip",
    activation_checkpointing: bool = False,
    like_reference: bool = False,
) -> TransformerEncoder:
    """Build the Transformer encoder, with or without the Hourglass; see `build_ctc_model`."""

    def stack(num_layers: int) -> LayerStack:
        layers = [
            TransformerLayer(
                spec.dim,
                spec.ffn_dim,
                spec.heads,
                norm_first=spec.norm_first,
                dropout=spec.dropout,
                attention_dropout=spec.attention_dropout,
                activation_dropout=spec.activation_dropout,
                activation=spec.activation,
            )
            for _ in range(num_layers)
        ]
        return LayerStack(layers, layer_drop_mode=layer_drop_mode, activation_checkpointing=activation_checkpointing)

    hourglass = spec.hourglass
    layers: LayerStack | HourglassStack
    if hourglass is None:
        layers = stack(spec.layers)
    else:
        layers = HourglassStack(
            stack(hourglass.pre_layers),
            stack(hourglass.middle_layers),
            stack(hourglass.post_layers),
            shorten_factor=hourglass.shorten_factor,
            dim=spec.dim,
            resample=hourglass.resample,
            initial_gain=hourglass.initial_gain,
            padding_counts=like_reference,
        )
    pos_conv = PositionalConv(spec.dim, spec.position_kernel, spec.position_groups)
    return TransformerEncoder(pos_conv, layers, dim=spec.dim, dropout=spec.dropout)


def build_backbone(
    spec: ModelSpec,
    *,
    layer_drop_mode: LayerDropMode = "skip",
    activation_checkpointing: bool = False,
    like_reference: bool = False,
) -> Wav2Vec2Backbone:
    """Build what pre-training and fine-tuning share; see `build_ctc_model`. Weights come from torch's generator."""
    feature_encoder = FeatureEncoder(
        spec.feature_encoder.conv_layers,
        spec.feature_encoder.norm,
        spec.feature_encoder.bias,
        spec.feature_encoder.gradient_scale,
        padding_counts=like_reference,
    )
    encoder = build_encoder(
        spec.encoder,
        layer_drop_mode=layer_drop_mode,
        activation_checkpointing=activation_checkpointing,
        like_reference=like_reference,
    )
    return Wav2Vec2Backbone(feature_encoder, encoder, dim=spec.encoder.dim, dropout_input=spec.dropout_input)


def build_pretrain_model(
    spec: ModelSpec,
    loss: ContrastiveLossSpec | None = None,
    *,
    layer_drop_mode: LayerDropMode = "skip",
    activation_checkpointing: bool = False,
    concat_diversity: ConcatDiversity = "each",
) -> Wav2Vec2PretrainModel:
    """Build the pre-training model. Weights come from torch's global generator, which the caller seeds.

    Args:
        spec: The network.
        loss: The objective; None takes the published Base one.
        layer_drop_mode: "skip", or "run_and_discard" for ZeRO 2 and 3.
        activation_checkpointing: Compute activations of Transformer layers again in the backward pass.
        concat_diversity: "each" keeps the quantiser's statistics each sub-batch's own, as the virtual world has it;
            "last" is what the reference computes for several sub-batches in one forward pass.
    """
    loss = loss or ContrastiveLossSpec()
    backbone = build_backbone(spec, layer_drop_mode=layer_drop_mode, activation_checkpointing=activation_checkpointing)
    quantizer = GumbelQuantizer(
        spec.feature_encoder.channels,
        spec.quantizer.codebooks,
        spec.quantizer.entries,
        spec.code_dim,
        depth=spec.quantizer.depth,
        factor=spec.quantizer.factor,
    )
    return Wav2Vec2PretrainModel(
        backbone,
        quantizer,
        final_dim=spec.final_dim,
        dropout_features=spec.dropout_features,
        target_glu=spec.target_glu,
        logit_temperature=loss.logit_temperature,
        diversity_weight=loss.diversity_weight,
        features_penalty_weight=loss.features_penalty_weight,
        concat_diversity=concat_diversity,
    )


def build_ctc_model(
    spec: ModelSpec,
    vocab_size: int,
    final_dropout: float = 0.0,
    *,
    layer_drop_mode: LayerDropMode = "skip",
    activation_checkpointing: bool = False,
    like_reference: bool = False,
) -> Wav2Vec2CtcModel:
    """Build the recogniser. Weights come from torch's global generator, which the caller seeds.

    Args:
        spec: The network.
        vocab_size: Symbols, the blank included.
        final_dropout: Before the last layer.
        layer_drop_mode: "skip", or "run_and_discard" for ZeRO 2 and 3.
        activation_checkpointing: Compute activations of Transformer layers again in the backward pass.
        like_reference: Let padding count where it does in the reference's training and its validation: in frames that
            the Hourglass shortens, and in the statistics of the group norm.
    """
    backbone = build_backbone(
        spec,
        layer_drop_mode=layer_drop_mode,
        activation_checkpointing=activation_checkpointing,
        like_reference=like_reference,
    )
    return Wav2Vec2CtcModel(backbone, vocab_size=vocab_size, final_dropout=final_dropout)
