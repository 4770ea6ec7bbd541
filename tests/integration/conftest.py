"""What the integration tests share with the benchmarks: clusters that can be harmed, and runs to compare with."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))
