"""What every unit test begins with."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from w2v2_ray.audio import media_file


@pytest.fixture(autouse=True)
def without_media(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As most have it: without the extra [media]; tests that are about it have it."""
    if "media" not in request.module.__name__:
        media_file.reads_media.cache_clear()
        monkeypatch.setattr(media_file, "find_spec", lambda name: None)
    yield
    media_file.reads_media.cache_clear()
