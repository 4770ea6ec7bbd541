from __future__ import annotations

import gc
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch

from w2v2_ray.data.buffers import BufferPool


def address(array):
    return array.__array_interface__["data"][0]


def test_memory_is_used_again_once_nobody_holds_it():
    pool = BufferPool()
    first = pool.empty(3, 5)
    assert (first.shape, first.dtype, first.flags.writeable) == ((3, 5), np.int16, True)
    where = address(first)
    second = pool.empty(2, 4)
    assert address(second) != where
    del first
    assert address(pool.empty(2, 7)) == where


def test_a_view_or_a_tensor_keeps_the_memory():
    pool = BufferPool()
    held = [
        pool.empty(4, 6)[1:][:, 2:],
        pool.empty(24).reshape(4, 6).T,
        torch.from_numpy(pool.empty(4, 6))[2],
        memoryview(pool.empty(24)),
    ]
    gc.collect()
    for value, one in enumerate(held):
        np.asarray(one)[:] = value
    others = [pool.empty(4, 6) for _ in range(10)]
    for other in others:
        other[:] = -1
    for value, one in enumerate(held):
        assert (np.asarray(one) == value).all()


def test_a_larger_array_gets_larger_memory():
    pool = BufferPool()
    small = pool.empty(10)
    del small
    large = pool.empty(1000)
    large[:] = 7
    assert (large == 7).all()


def test_threads_never_share_memory():
    pool = BufferPool()

    def fill(value: int) -> bool:
        for _ in range(200):
            array = pool.empty(50)
            array[:] = value
            if not (array == value).all():
                return False
        return True

    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(fill, range(8)))
