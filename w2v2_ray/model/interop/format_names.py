"""The names of the formats. Apart from their readers and writers, so that the command can list them without torch."""

from __future__ import annotations

from enum import StrEnum


class SourceFormat(StrEnum):
    """What can be imported."""

    AUTO = "auto"
    OWN = "own"
    HUGGINGFACE = "huggingface"
    FAIRSEQ = "fairseq"
    NVIDIA = "nvidia"
    TORCHAUDIO = "torchaudio"


class TargetFormat(StrEnum):
    """What can be exported to."""

    OWN = "own"
    HUGGINGFACE = "huggingface"
    FAIRSEQ = "fairseq"
    NVIDIA = "nvidia"
    TORCHAUDIO = "torchaudio"
    ONNX = "onnx"
    TORCH_EXPORT = "torch-export"
