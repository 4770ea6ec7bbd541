"""Fixtures shared by every test."""

from __future__ import annotations

from pathlib import Path

import pytest

_SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """The folder of reference material beside the checkout, where there is one."""
    if not (_SHARED / "golden").is_dir():
        pytest.skip("../shared (golden files and AN4) is not beside this checkout")
    return _SHARED
