"""Elastic wav2vec 2.0 training with the Hourglass Transformer on Ray and DeepSpeed."""

__version__ = "0.1.0"
