from __future__ import annotations

import os
import time

import pytest
import ray

from w2v2_ray.errors import DatasetError, RunFailedError, UserError
from w2v2_ray.orchestration.share import run_on_workers

pytestmark = pytest.mark.ray


@pytest.fixture(scope="module")
def cluster():
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    yield
    ray.shutdown()


@pytest.mark.usefixtures("cluster")
def test_results_come_in_the_order_of_the_parts_and_each_is_announced():
    def square(number):
        time.sleep(0.2 * (3 - number))
        return number * number

    done = []
    assert run_on_workers(square, [1, 2, 3], on_done=done.append) == [1, 4, 9]
    assert sorted(done) == [0, 1, 2]
    assert ray.is_initialized()  # a Ray that was here before stays


@pytest.mark.usefixtures("cluster")
def test_a_users_mistake_on_a_worker_arrives_as_it_was_raised():
    def fail(part):
        raise DatasetError(f"part {part} is damaged")

    with pytest.raises(DatasetError, match=r"^part a is damaged$") as caught:
        run_on_workers(fail, ["a"])
    assert type(caught.value) is DatasetError


@pytest.mark.usefixtures("cluster")
def test_a_worker_that_dies_fails_the_run_with_one_message():
    with pytest.raises(RunFailedError, match=r"a worker died, .* fewer --workers"):
        run_on_workers(lambda part: os._exit(1), [0])


def test_an_address_without_a_cluster_is_refused(monkeypatch):
    def refuse(**options):
        raise ConnectionError

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", refuse)
    with pytest.raises(UserError, match="nowhere:1: no Ray cluster answers there"):
        run_on_workers(str, [0], address="nowhere:1")
