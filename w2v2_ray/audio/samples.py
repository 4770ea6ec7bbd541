"""What decoded audio is everywhere here."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

SAMPLE_RATE = 16_000
"""Samples per second, that of every published recipe."""

Samples = npt.NDArray[np.int16]
"""Mono. Shape: [samples]."""
