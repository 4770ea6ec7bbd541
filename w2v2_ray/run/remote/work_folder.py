"""Where on a node a run that lives on an object store keeps its working folder."""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path
from typing import Literal

Role = Literal["driver", "worker", "view"]
"""Who works there: the driver with Ray's controller, the workers of the node, or commands that only look."""

WORK_FOLDER_VARIABLE = "W2V2_RAY_WORK_DIR"
"""Environment variable that names the folder for all of them; by default one under the system's temporary folder."""


def work_folder(uri: str, role: Role) -> Path:
    """The working folder of a run; two roles never share one, as if they were on two nodes."""
    base = os.environ.get(WORK_FOLDER_VARIABLE)
    root = Path(base) if base else Path(tempfile.gettempdir()) / f"w2v2-ray-work-{os.getuid()}"
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    name = uri.partition("?")[0].rstrip("/").rpartition("/")[2]
    return root / f"{name}-{hashlib.sha256(uri.encode()).hexdigest()[:16]}" / role
