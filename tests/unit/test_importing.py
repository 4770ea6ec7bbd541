from __future__ import annotations

import gc

import pytest

from w2v2_ray.importing import no_collection


def fail_within_the_block() -> None:
    with no_collection():
        assert not gc.isenabled()
        raise ImportError


def test_nothing_is_collected_within_the_block_whatever_becomes_of_it():
    assert gc.isenabled()
    with pytest.raises(ImportError):
        fail_within_the_block()
    assert gc.isenabled()


def test_what_was_off_before_stays_off():
    gc.disable()
    try:
        with no_collection():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()
