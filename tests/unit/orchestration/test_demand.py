"""What a run asks of its cluster's autoscaler, and that it stops asking."""

from __future__ import annotations

from typing import Any

import pytest
import ray
from ray.train import ScalingConfig

from w2v2_ray.orchestration import demand
from w2v2_ray.orchestration.demand import FixedPolicy, requester_of, withdraw_request


class FakeCoordinatorClient:
    """Remembers, for all of its kind, who asked for what, in order."""

    calls: list[tuple[Any, ...]] = []  # noqa: RUF012  (emptied by the fixture)

    def __init__(self, requester: str) -> None:
        self._requester = requester

    def cancel_resource_request(self) -> None:
        self.calls.append((self._requester, "cancel"))

    def send_resource_request(self, scaling_config: ScalingConfig, num_workers: int) -> None:
        self.calls.append((self._requester, "ask", num_workers))


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    monkeypatch.setattr(FakeCoordinatorClient, "calls", [])
    monkeypatch.setattr(demand, "TrainAutoscalingCoordinatorClient", FakeCoordinatorClient)
    return FakeCoordinatorClient.calls


def test_every_launch_of_a_run_asks_under_the_same_name():
    """Another process may have asked before: the name must not hang on anything but the run."""
    assert requester_of("/shared/runs/x") == "w2v2-ray-1b24dc8e17d4949fa138c50f"
    assert requester_of("/shared/runs/x") != requester_of("/shared/runs/y")


def test_a_launch_takes_back_what_a_killed_one_asked_for_before_it_asks_itself(calls):
    policy = FixedPolicy(ScalingConfig(num_workers=3), "/shared/runs/x")
    policy.after_controller_start(None)
    name = requester_of("/shared/runs/x")
    assert calls == [(name, "cancel"), (name, "ask", 3)]


def test_where_there_is_no_autoscaler_nobody_is_asked(calls):
    """Whom to ask would be an actor, with a process of its own."""
    policy = FixedPolicy(ScalingConfig(num_workers=3), "/shared/runs/x", asks=False)
    policy.after_controller_start(None)
    policy._maybe_send_resource_request()
    policy.before_controller_abort()
    assert calls == []


def test_to_withdraw_without_a_cluster_does_nothing_and_starts_none():
    """Ray's `get_actor` starts a cluster where there is none."""
    assert not ray.is_initialized()
    withdraw_request("/shared/runs/x")
    assert not ray.is_initialized()


class FakeCluster:
    """As much of `ray` as withdrawing uses."""

    def __init__(self, failure: Exception | None = None) -> None:
        self.cancelled: list[str] = []
        self._failure = failure

    def is_initialized(self) -> bool:
        return True

    def get_actor(self, name: str, namespace: str) -> Any:
        if self._failure is not None:
            raise self._failure
        return self

    @property
    def cancel_request(self) -> Any:
        return self

    def remote(self, requester: str) -> str:
        return requester

    def get(self, request: str, timeout: float) -> None:
        self.cancelled.append(request)


def test_the_driver_withdraws_what_the_controller_asked_for(monkeypatch: pytest.MonkeyPatch):
    cluster = FakeCluster()
    monkeypatch.setattr(demand, "ray", cluster)
    withdraw_request("/shared/runs/x")
    assert cluster.cancelled == [requester_of("/shared/runs/x")]


def test_a_cluster_that_is_gone_is_no_error_when_withdrawing(monkeypatch: pytest.MonkeyPatch):
    cluster = FakeCluster(ConnectionError("the head is gone"))
    monkeypatch.setattr(demand, "ray", cluster)
    withdraw_request("/shared/runs/x")
    assert cluster.cancelled == []
