"""Reads other people's `.pt` files without running anything that is in them.

A `.pt` is a pickle, and a pickle is a program. It is read by torch's weights-only loader, which knows tensors and
plain containers and refuses everything else. Real checkpoints of fairseq hold more: an `argparse.Namespace`,
OmegaConf containers, dictionaries of fairseq's own classes. For those names, and no others, the loader is handed
classes made here that keep what they are given and do nothing, so neither library needs to be installed and
neither's code can be reached. What a file refers to is read off its opcodes first, so that a refusal names all of it.
"""

from __future__ import annotations

import _compat_pickle
import argparse
import functools
import pickletools
import warnings
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor

from w2v2_ray.errors import CheckpointError
from w2v2_ray.impostors import impostor
from w2v2_ray.model.interop.loaded_model import list_some

_ZIP_MAGIC = b"PK\x03\x04"
_ZIP_OVERHEAD_BYTES = 1 << 20
"""How much more than the file's own size its entries may say they hold: nothing is compressed in a torch archive."""
_MAX_PICKLE_BYTES = 256 << 20
_INERT_PACKAGES = ("fairseq.", "omegaconf.", "typing.", "numpy.", "pathlib.")
_INERT_NAMES = frozenset(
    {"_operator.getitem", "operator.getitem", "enum.Enum", "collections.defaultdict"}
    | {f"builtins.{name}" for name in ("bool", "dict", "float", "int", "list", "object", "str", "tuple", "type")}
)
"""What OmegaConf's metadata and logged numbers refer to."""


class Inert:
    """Stands for an object of a class that is not loaded: keeps its arguments and attributes, does nothing."""

    qualified_name = ""
    """Of the class it stands for."""

    def __new__(cls, *_: Any, **__: Any) -> Inert:
        """Take any arguments, as the class it stands for may have any."""
        return super().__new__(cls)

    def __init__(self, *arguments: Any, **_: Any) -> None:
        self.arguments = arguments

    def __setstate__(self, state: Any) -> None:
        if isinstance(state, tuple) and len(state) == 2:  # attributes and slots
            state = {**(state[0] or {}), **(state[1] or {})}
        if isinstance(state, dict):
            self.__dict__.update({str(key): value for key, value in state.items()})


def load_pickled(path: Path) -> Any:
    """Load a `.pt`, `.pth` or `.bin`: zip archives and the older format alike.

    Tensors of a zip archive are mapped, not read: copy them before the file changes.

    Returns:
        What was saved; objects of classes that are not loaded are `Inert`.

    Raises:
        CheckpointError: When the file is hostile, a zip bomb, truncated, or not a checkpoint.
    """
    instead = impostor(path)
    if instead is not None:
        raise CheckpointError(f"{path}: this is {instead}")
    try:
        with path.open("rb") as file:
            magic = file.read(4)
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror})") from None
    is_zip = magic == _ZIP_MAGIC
    names = _names_in_zip(path) if is_zip else _names_in_legacy(path)
    refused = sorted(name for name in names if not _is_known(name))
    if refused:
        raise CheckpointError(
            f"{path}: refers to {list_some(refused)}, which no weights file needs; loading it could run a program, so "
            "nothing of it was loaded. Get the checkpoint from its author as safetensors or a plain state dict"
        )
    loaded = _load(path, names, mapped=is_zip)
    _check_tensor_sizes(path, loaded)
    return loaded


def _load(path: Path, names: set[str], *, mapped: bool) -> Any:
    inert = [(_inert_class(name), name) for name in sorted(names) if _is_inert(name)]
    allowed: list[Any] = [argparse.Namespace, *inert]
    try:
        with torch.serialization.safe_globals(allowed), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    # A damaged or hostile file can make the loader raise anything at all.
    except Exception as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise CheckpointError(
            f"{path}: cannot be loaded as weights: damaged, truncated, or not saved by torch.save ({reason})"
        ) from None


def _inert_class(qualified_name: str) -> Callable[..., Any]:
    if qualified_name == "collections.defaultdict":
        return _empty_dict
    return type("Inert", (Inert,), {"qualified_name": qualified_name})


def _empty_dict(*_: Any) -> dict[Any, Any]:
    """Stands for `defaultdict(factory)`, without the factory."""
    return {}


def _is_inert(name: str) -> bool:
    return name in _INERT_NAMES or name.startswith(_INERT_PACKAGES)


def _is_known(name: str) -> bool:
    return _is_inert(name) or name == "argparse.Namespace" or name in _torch_names()


@functools.cache
def _torch_names() -> set[str]:
    """What the weights-only loader allows by itself; its own check decides, this one words the refusal."""
    rebuild = {name for name in dir(torch._utils) if name.startswith("_rebuild_")}
    storages = {f"torch.{name}" for name in dir(torch) if name.endswith(("Storage", "Tensor"))}
    dtypes = {str(value) for value in vars(torch).values() if isinstance(value, torch.dtype)}
    plain = {"collections.OrderedDict", "collections.Counter", "_codecs.encode", "builtins.set", "builtins.bytearray"}
    other = {
        "builtins.complex",
        "torch.Size",
        "torch.device",
        "torch.nn.parameter.Parameter",
        "torch.serialization._get_layout",
        "torch.storage.TypedStorage",
        "torch.storage.UntypedStorage",
        "torch._tensor._rebuild_from_type_v2",
    }
    return plain | other | storages | dtypes | {f"torch._utils.{name}" for name in rebuild}


def _names_in_zip(path: Path) -> set[str]:
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            _check_zip_sizes(path, entries)
            if any(entry.filename.endswith("/constants.pkl") for entry in entries):
                raise CheckpointError(
                    f"{path}: a TorchScript program, not weights; save the original model's state dict instead"
                )
            pickles = [entry for entry in entries if entry.filename.endswith("/data.pkl")]
            if len(pickles) != 1:
                raise CheckpointError(f"{path}: a zip file, but not one of torch.save (no data.pkl in it)")
            with archive.open(pickles[0]) as file:
                return set(_globals(path, file))
    except CheckpointError:
        raise
    # Damage makes zipfile raise errors of many kinds, those of decoding and unpacking among them.
    except Exception as error:
        reason = " ".join(str(error).split())[:120]
        raise CheckpointError(f"{path}: truncated or damaged ({reason}); copy or download it again") from None


def _check_zip_sizes(path: Path, entries: list[zipfile.ZipInfo]) -> None:
    declared, held = sum(entry.file_size for entry in entries), path.stat().st_size
    if declared > held + _ZIP_OVERHEAD_BYTES or any(
        entry.compress_type != zipfile.ZIP_STORED and entry.file_size > _ZIP_OVERHEAD_BYTES for entry in entries
    ):
        raise CheckpointError(
            f"{path}: a zip bomb: {held} bytes that say they unpack to {declared}; torch.save never compresses, so "
            "this is not a file of its making. Nothing was unpacked"
        )


def _names_in_legacy(path: Path) -> set[str]:
    """The older format is a row of pickles (magic number, version, machine, object) and then the storages."""
    names: set[str] = set()
    with path.open("rb") as file:
        try:
            for _ in range(4):
                names.update(_globals(path, file))
        except CheckpointError:
            # A hostile pickle may be anything but a checkpoint; what it would have done is the better message.
            if all(_is_known(name) for name in names):
                raise
    return names


def _globals(path: Path, file: IO[bytes]) -> Iterator[str]:
    """Dotted names that the next pickle of a file would import, read off its opcodes."""
    texts: list[str] = []
    start = file.tell()
    try:
        for opcode, argument, _ in pickletools.genops(file):
            if opcode.name in ("GLOBAL", "INST"):
                module, _, name = str(argument).partition(" ")
                yield _modern_name(module, name)
            elif opcode.name == "STACK_GLOBAL":
                yield ".".join(texts[-2:]) if len(texts) > 1 else "something unnamed"
            elif isinstance(argument, str):
                texts = [*texts[-1:], argument]
            elif opcode.name.startswith("EXT"):
                yield f"copyreg extension {argument}"
            if file.tell() - start > _MAX_PICKLE_BYTES:
                raise ValueError("its description alone is too large")
    except (ValueError, UnicodeDecodeError, OverflowError, MemoryError) as error:
        reason = " ".join(str(error).split())[:120]
        raise CheckpointError(f"{path}: not a checkpoint, or a truncated or damaged one ({reason})") from None


def _modern_name(module: str, name: str) -> str:
    """Python 3's name of what a protocol-2 pickle calls by Python 2's, as loaders map it."""
    if (module, name) in _compat_pickle.NAME_MAPPING:
        module, name = _compat_pickle.NAME_MAPPING[module, name]
    else:
        module = _compat_pickle.IMPORT_MAPPING.get(module, module)
    return f"{module}.{name}"


def _check_tensor_sizes(path: Path, loaded: Any) -> None:
    """Refuse tensors that say they have more elements than they hold: copying one would fill the memory."""
    for name, tensor in _tensors(loaded):
        if (
            tensor.layout is not torch.strided
            or tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes()
        ):
            raise CheckpointError(
                f"{path}: {name} says it has shape {list(tensor.shape)} but holds less; "
                "the file was not written by a training program"
            )


def _tensors(value: Any, name: str = "", depth: int = 0) -> Iterator[tuple[str, Tensor]]:
    if isinstance(value, Tensor):
        yield name or "the tensor", value
    elif isinstance(value, dict) and depth < 3:
        for key, child in value.items():
            yield from _tensors(child, f"{name}.{key}" if name else str(key), depth + 1)
