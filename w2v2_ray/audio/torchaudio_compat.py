"""Import torchaudio where its native library does not load.

The torchaudio wheel of the package index is linked against one CUDA build. Beside a CPU-only torch (or a torch of
another CUDA version) `import torchaudio` raises, and so does everything that imports it in passing, `transformers`
among others. What this project needs of it (`functional.resample`, `models`) is pure Python and never touches the
library, so we let torchaudio take the path that it has for installations without one.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType

_NATIVE_FAILURES = (OSError, RuntimeError, ImportError, AttributeError)
"""What a native library that does not fit raises: a missing libcudart, another CUDA version, missing symbols."""


def import_torchaudio() -> ModuleType:
    """Import torchaudio, without its native library if that does not load.

    A torchaudio that works is left alone. Afterwards a plain `import torchaudio`, also inside other libraries, finds
    the module made here; call this before importing such a library.

    Returns:
        The `torchaudio` module.

    Raises:
        ModuleNotFoundError: torchaudio is not installed.
    """
    try:
        return importlib.import_module("torchaudio")
    except ModuleNotFoundError:
        raise
    except _NATIVE_FAILURES:
        # The failed attempt leaves this helper module loaded; the second attempt runs with it, and with its loader
        # saying "there is no library file", which torchaudio takes for a build without native parts.
        utils = sys.modules.get("torchaudio._extension.utils")
        if utils is None:
            raise
        utils._load_lib = lambda lib: False  # type: ignore[attr-defined]
        return importlib.import_module("torchaudio")
