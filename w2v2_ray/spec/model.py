"""The network: feature encoder, (Hourglass) Transformer, quantizer. Defaults are the published Base model."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, Literal

from pydantic import Field, field_validator

from w2v2_ray.spec.base import (
    DropProbability,
    Finding,
    Float,
    Int,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveInt,
    Probability,
    Spec,
    largest_divisor,
)

ConvLayer = tuple[PositiveInt, PositiveInt, PositiveInt]

BASE_CONV_LAYERS: tuple[ConvLayer, ...] = (
    (512, 10, 5),
    (512, 3, 2),
    (512, 3, 2),
    (512, 3, 2),
    (512, 3, 2),
    (512, 2, 2),
    (512, 2, 2),
)


SAMPLE_RATE = 16_000
"""Samples per second. Every published recipe is defined at 16 kHz."""


class FeatureEncoderSpec(Spec):
    """The convolutional feature encoder: waveform to one frame per 20 ms (wav2vec 2.0, section 2)."""

    conv_layers: tuple[ConvLayer, ...] = Field(default=BASE_CONV_LAYERS, min_length=1)
    """Blocks as [channels, kernel, stride] (reference: `conv_feature_layers`)."""
    norm: Literal["group_norm", "layer_norm"] = "group_norm"
    """`group_norm`: one GroupNorm over time after the first block (Base, reference mode `default`);
    `layer_norm`: LayerNorm over channels in every block (Large, reference mode `layer_norm`)."""
    bias: bool = False
    """Bias of the convolutions (reference: `conv_bias`)."""
    gradient_scale: Probability = 0.1
    """Factor on gradients that flow into the feature encoder; 0 freezes it (reference: `feature_grad_mult`)."""

    @property
    def channels(self) -> int:
        """Channels C of the frames it puts out."""
        return self.conv_layers[-1][0]

    @property
    def stride_samples(self) -> int:
        """Samples from one frame to the next."""
        product = 1
        for _, _, stride in self.conv_layers:
            product *= stride
        return product

    def num_frames(self, num_samples: int) -> int:
        """Frames T that a waveform of S samples gives; 0 when it is shorter than the receptive field."""
        length = num_samples
        for _, kernel, stride in self.conv_layers:
            length = (length - kernel) // stride + 1 if length >= kernel else 0
        return length


class HourglassSpec(Spec):
    """The Hourglass Transformer: middle layers run on a shortened sequence (Nawrot et al. 2021, section 2)."""

    added_later: ClassVar[tuple[str, ...]] = ("initial_gain",)

    pre_layers: PositiveInt = 2
    """Layers before shortening, at full length."""
    middle_layers: PositiveInt = 8
    """Layers on the shortened sequence."""
    post_layers: PositiveInt = 2
    """Layers after upsampling, at full length."""
    shorten_factor: Int = 4
    """How many frames become one (k in the paper)."""
    resample: Literal["naive", "linear"] = "naive"
    """`naive`: average pooling and repetition; `linear`: learned projections (reference: `hourglass_resample`)."""
    initial_gain: Float = Field(default=1.0, gt=0.0, le=1.0)
    """How loud the middle is at first beside the residual around it: the weight of its last norm before training. At 1,
    as in the reference, small networks at high rates learn to shut the middle off (after LayerScale, Touvron et al.
    2021, section 2)."""

    @field_validator("shorten_factor")
    @classmethod
    def _factor_shortens(cls, value: int) -> int:
        if value < 2:
            raise ValueError("does not shorten anything: use 2 or more, or `hourglass: null` for a plain encoder")
        if value > 64:
            raise ValueError(
                f"{value * 20} ms of speech in one frame; the limit is 64: use 64 or less (published factors: 2 to 6)"
            )
        return value

    @property
    def layers(self) -> int:
        """All layers of the encoder."""
        return self.pre_layers + self.middle_layers + self.post_layers


Activation = Literal["gelu", "relu", "silu", "tanh"]


class EncoderSpec(Spec):
    """The context network: positional convolution and Transformer layers."""

    added_later: ClassVar[tuple[str, ...]] = ("activation",)

    layers: PositiveInt = 12
    """Transformer layers, those of the Hourglass included."""
    dim: PositiveInt = 768
    """Model dimension D (reference: `encoder_embed_dim`)."""
    ffn_dim: PositiveInt = 3072
    """Inner dimension of the feed-forward blocks."""
    activation: Activation = "gelu"
    """Of the feed-forward blocks; the convolutions have GELU whatever it is (fairseq: `activation_fn`, whose `swish` is
    silu here)."""
    heads: PositiveInt = 12
    """Attention heads."""
    norm_first: bool = False
    """Pre-norm layers (Large) instead of post-norm (reference: `layer_norm_first`)."""
    position_kernel: PositiveInt = 128
    """Kernel of the positional convolution, in frames (reference: `conv_pos`)."""
    position_groups: PositiveInt = 16
    """Groups of the positional convolution (reference: `conv_pos_groups`)."""
    hourglass: HourglassSpec | None = HourglassSpec()
    """Shortening of the middle layers, or null for a plain stack."""
    dropout: DropProbability = 0.1
    """Dropout after attention, after the feed-forward block and after the positional convolution."""
    attention_dropout: DropProbability = 0.1
    """Dropout on attention weights."""
    activation_dropout: DropProbability = 0.0
    """Dropout inside the feed-forward block, after its activation."""
    layer_drop: DropProbability = 0.05
    """Probability that a layer is skipped for a micro-batch in training (LayerDrop)."""

    def broken_rules(self) -> Iterator[Finding]:
        """Heads and groups must divide the dimension; the Hourglass must use every layer, post-norm."""
        for key, count in (("heads", self.heads), ("position_groups", self.position_groups)):
            if self.dim % count:
                near = largest_divisor(self.dim, at_most=count)
                yield Finding(
                    f"{key}: {count} does not divide dim: {self.dim}; use a divisor such as {key}: {near}",
                    (key, "dim"),
                )
        if self.hourglass is None:
            return
        h = self.hourglass
        if h.layers != self.layers:
            parts = ("pre_layers", "middle_layers", "post_layers")
            yield Finding(
                f"hourglass: {h.pre_layers} + {h.middle_layers} + {h.post_layers} = {h.layers} layers, but "
                f"layers: {self.layers}; set layers: {h.layers} or change pre/middle/post_layers",
                ("layers", *(f"hourglass.{part}" for part in parts), "hourglass"),
            )
        if self.norm_first:
            yield Finding(
                "hourglass with norm_first: true is not defined (the reference knows post-norm only); "
                "use norm_first: false, or hourglass: null",
                ("norm_first", "hourglass"),
            )


class QuantizerSpec(Spec):
    """The Gumbel product quantizer of the targets (wav2vec 2.0, section 2)."""

    added_later: ClassVar[tuple[str, ...]] = ("depth", "factor")

    codebooks: PositiveInt = 2
    """Codebooks G (reference: `latent_groups`)."""
    entries: Int = Field(default=320, ge=2)
    """Entries V of each codebook (reference: `latent_vars`)."""
    dim: PositiveInt | None = None
    """Dimension of the concatenated codes; null means `final_dim` (reference: `latent_dim`)."""
    depth: Int = Field(default=1, ge=1, le=16)
    """Linear layers from frames to the logits of the codes, GELU between them; 1 as published (fairseq:
    `quantizer_depth`)."""
    factor: Int = Field(default=3, ge=1, le=64)
    """Width of the layers between, as a multiple of the frames' channels, where depth is above 1 (fairseq:
    `quantizer_factor`)."""
    temperature_start: Float = Field(default=2.0, gt=0.0)
    """Gumbel-softmax temperature at the first update."""
    temperature_stop: Float = Field(default=0.5, gt=0.0)
    """Its floor."""
    temperature_decay: Float = Field(default=0.999995, gt=0.0, le=1.0)
    """Its factor per update."""

    def broken_rules(self) -> Iterator[Finding]:
        """The temperature only falls."""
        if self.temperature_stop > self.temperature_start:
            yield Finding(
                f"temperature_stop: {self.temperature_stop} is above temperature_start: {self.temperature_start}; "
                "the temperature only falls, so use a stop at or below the start",
                ("temperature_stop", "temperature_start"),
            )


SpanSelection = Literal["static", "uniform", "normal", "poisson"]


class MaskingSpec(Spec):
    """Span masking of frames (wav2vec 2.0, section 3.1) and of channels (fine-tuning)."""

    added_later: ClassVar[tuple[str, ...]] = tuple(
        f"{part}{name}" for part in ("", "channel_") for name in ("selection", "other", "no_overlap", "min_space")
    )

    probability: Probability = 0.65
    """Share of frames chosen as span starts times the span length; spans overlap (reference: `mask_prob`)."""
    length_frames: PositiveInt = 10
    """Span length in frames (reference: `mask_length`)."""
    channel_probability: Probability = 0.0
    """The same for channels (reference: `mask_channel_prob`)."""
    channel_length: PositiveInt = 64
    """Span length in channels (reference: `mask_channel_length`)."""
    selection: SpanSelection = "static"
    """How long spans of frames are: all `length_frames`, or drawn around it (fairseq: `mask_selection`)."""
    other: NonNegativeFloat = 0.0
    """`uniform`: the shortest span, the longest being twice `length_frames`; `normal`: the deviation; without meaning
    otherwise (fairseq: `mask_other`)."""
    no_overlap: bool = False
    """Spans of frames keep clear of each other (fairseq: `no_mask_overlap`)."""
    min_space: NonNegativeInt = 1
    """Frames between two spans at least, where they do (fairseq: `mask_min_space`)."""
    channel_selection: SpanSelection = "static"
    """As `selection`, of channels (fairseq: `mask_channel_selection`)."""
    channel_other: NonNegativeFloat = 0.0
    """As `other`, of channels (fairseq: `mask_channel_other`)."""
    channel_no_overlap: bool = False
    """As `no_overlap`, of channels (fairseq: `no_mask_channel_overlap`)."""
    channel_min_space: NonNegativeInt = 1
    """As `min_space`, of channels (fairseq: `mask_channel_min_space`)."""

    def broken_rules(self) -> Iterator[Finding]:
        """The shortest span is not above the longest."""
        for part, length_name in (("", "length_frames"), ("channel_", "channel_length")):
            other, length = getattr(self, f"{part}other"), getattr(self, length_name)
            if getattr(self, f"{part}selection") == "uniform" and other > 2 * length:
                yield Finding(
                    f"{part}other: {other} is above twice {length_name}: {length}, the longest span of uniform "
                    f"lengths; use {part}other: {length} or less",
                    (f"{part}other", length_name),
                )


class ModelSpec(Spec):
    """A wav2vec 2.0 model. The defaults are Base with the Hourglass [2, (8, 4), 2]."""

    added_later: ClassVar[tuple[str, ...]] = ("normalize_eps", "target_glu")

    feature_encoder: FeatureEncoderSpec = FeatureEncoderSpec()
    """Waveform to frames."""
    encoder: EncoderSpec = EncoderSpec()
    """Frames to context vectors."""
    quantizer: QuantizerSpec = QuantizerSpec()
    """Frames to discrete targets."""
    masking: MaskingSpec = MaskingSpec()
    """What is hidden from the encoder."""
    final_dim: PositiveInt = 256
    """Dimension in which context and target are compared."""
    target_glu: bool = False
    """A gated linear unit over the projected targets (fairseq: `target_glu`)."""
    dropout_input: DropProbability = 0.1
    """Dropout on the encoder's input."""
    dropout_features: DropProbability = 0.1
    """Dropout on the frames that become targets."""
    normalize_waveform: bool = False
    """Scale each utterance to zero mean and unit variance (Large; reference: `normalize`)."""
    normalize_eps: Float = Field(default=1e-5, gt=0.0, le=1e-3)
    """Added to that variance: 1e-5 in fairseq and the reference, 1e-7 in transformers; quiet audio feels it."""
    sample_rate: Literal[16000] = 16000
    """Samples per second. Every published recipe is defined at 16 kHz."""

    def broken_rules(self) -> Iterator[Finding]:
        """Every codebook gives an equal part of the code."""
        codebooks, source = self.quantizer.codebooks, "final_dim" if self.quantizer.dim is None else "quantizer.dim"
        if self.code_dim % codebooks:
            yield Finding(
                f"quantizer.codebooks: {codebooks} does not divide {source}: {self.code_dim}, the dimension of the "
                f"codes; use a divisor such as {largest_divisor(self.code_dim, at_most=codebooks)}",
                ("quantizer.codebooks", source),
            )

    def identity(self) -> str:
        """The network as text, for the identity of a run."""
        return self.model_dump_json(exclude=self.unsaid())

    @property
    def code_dim(self) -> int:
        """Dimension of the concatenated code vectors."""
        return self.quantizer.dim or self.final_dim


class ContrastiveLossSpec(Spec):
    """The pre-training objective (wav2vec 2.0, equations 2 to 4)."""

    added_later: ClassVar[tuple[str, ...]] = ("cross_sample_negatives", "codebook_negatives")

    negatives: PositiveInt = 100
    """Distractors N per masked frame, from other masked frames of the same utterance."""
    cross_sample_negatives: NonNegativeInt = 0
    """Further ones per masked frame, from all other masked frames of its sub-batch (fairseq:
    `cross_sample_negatives`)."""
    codebook_negatives: NonNegativeInt = 0
    """Further ones per masked frame, random entries of the codebooks put together (fairseq: `codebook_negatives`)."""
    logit_temperature: Float = Field(default=0.1, gt=0.0)
    """Divisor of the cosine similarities (kappa; reference: `logit_temp`)."""
    diversity_weight: Float = Field(default=0.1, ge=0.0)
    """Weight of the codebook diversity loss (alpha)."""
    features_penalty_weight: Float = Field(default=10.0, ge=0.0)
    """Weight of the mean square of the feature encoder's output (reference: second `loss_weights`)."""

    @property
    def total_negatives(self) -> int:
        """Distractors per masked frame of every kind."""
        return self.negatives + self.cross_sample_negatives + self.codebook_negatives

    def identity(self) -> str:
        """The objective as text, for the identity of a run."""
        return self.model_dump_json(exclude=self.unsaid())
