"""Which format a source is in, and the readers and writers of all of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from w2v2_ray.errors import CheckpointError
from w2v2_ray.model.interop.fairseq_checkpoint import convert_fairseq, export_fairseq, export_nvidia
from w2v2_ray.model.interop.format_names import SourceFormat, TargetFormat
from w2v2_ray.model.interop.graph_export import export_onnx, export_program
from w2v2_ray.model.interop.huggingface import CONFIG, export_huggingface, import_huggingface
from w2v2_ray.model.interop.loaded_model import LoadedModel, check_model
from w2v2_ray.model.interop.model_folder import is_model_folder, load_model, write_model
from w2v2_ray.model.interop.safe_pickle import load_pickled
from w2v2_ray.model.interop.torchaudio_state import convert_torchaudio, export_torchaudio, read_description
from w2v2_ray.model.interop.weights_file import read_safetensors

_WRITERS: dict[TargetFormat, Callable[[LoadedModel, Path], tuple[Path, ...]]] = {
    TargetFormat.OWN: write_model,
    TargetFormat.HUGGINGFACE: export_huggingface,
    TargetFormat.FAIRSEQ: export_fairseq,
    TargetFormat.NVIDIA: export_nvidia,
    TargetFormat.TORCHAUDIO: export_torchaudio,
    TargetFormat.ONNX: export_onnx,
    TargetFormat.TORCH_EXPORT: export_program,
}


def import_model(
    source: Path, source_format: SourceFormat = SourceFormat.AUTO, vocabulary: tuple[str, ...] | None = None
) -> LoadedModel:
    """Read a model in any format that is known here. Nothing in it is executed.

    Args:
        source: A folder (ours, Hugging Face's) or a file (`.pt`, `.pth`, `.bin`, `.safetensors`).
        source_format: Its format; `auto` looks.
        vocabulary: Symbols to use instead of the source's own, in the order of its outputs.

    Raises:
        CheckpointError: With one message that says what is wrong and lists what differs.
    """
    if not source.exists():
        raise CheckpointError(f"{source}: no such file or folder")
    found = _detect(source) if source_format is SourceFormat.AUTO else source_format
    if found is SourceFormat.OWN:
        model = load_model(source)
        return model if vocabulary is None else check_model(replace(model, vocabulary=vocabulary))
    if found is SourceFormat.HUGGINGFACE:
        return import_huggingface(source, vocabulary)
    if source.is_dir():
        raise CheckpointError(f"{source}: is a folder; a {found} checkpoint is one file")
    content = read_safetensors(source) if source.suffix == ".safetensors" else load_pickled(source)
    if found is SourceFormat.AUTO:
        content, found = _detect_content(content, source)
    if found is SourceFormat.TORCHAUDIO:
        return convert_torchaudio(content, str(source), vocabulary, read_description(source))
    return convert_fairseq(content, str(source), vocabulary)


def _detect(source: Path) -> SourceFormat:
    """Tell a folder's format; of a file it takes the content to tell."""
    if not source.is_dir():
        return SourceFormat.AUTO
    if is_model_folder(source):
        return SourceFormat.OWN
    if (source / CONFIG).is_file():
        return SourceFormat.HUGGINGFACE
    raise CheckpointError(
        f"{source}: neither a model folder of w2v2-ray (spec.yaml, model.safetensors) nor of Hugging Face "
        f"({CONFIG}); give the folder or the file of a checkpoint"
    )


def _detect_content(content: Any, source: Path) -> tuple[Any, SourceFormat]:
    names = [str(name) for name in content] if isinstance(content, dict) else []
    # fairseq and the NVIDIA reference keep the state dict under `model`; torchaudio's file is one.
    if "model" in names:
        return content, SourceFormat.FAIRSEQ
    if any(".pos_conv.0." in name for name in names):
        return {"model": content}, SourceFormat.FAIRSEQ
    if any(name.startswith(("wav2vec2.", "feature_projection.")) for name in names):
        raise CheckpointError(f"{source}: weights of a Hugging Face model; give its folder, which has {CONFIG} too")
    return content, SourceFormat.TORCHAUDIO


def export_model(model: LoadedModel, target: TargetFormat, out: Path) -> tuple[Path, ...]:
    """Write a model in another format.

    Returns:
        The files written.

    Raises:
        CheckpointError: When that format has no such network.
        StorageError: When it cannot be written.
    """
    return _WRITERS[target](model, out)
