"""The one place that starts or joins Ray, with a stand-in for Ray's own start."""

from __future__ import annotations

import logging
from types import SimpleNamespace
from typing import Any

import pytest
import ray
from ray.exceptions import AuthenticationError

from w2v2_ray.errors import RunFailedError, UserError
from w2v2_ray.orchestration import cluster as module
from w2v2_ray.orchestration.cluster import ray_cluster, survey
from w2v2_ray.orchestration.supply import Supply


class FakeRay:
    """What was asked of Ray, and what it is to raise."""

    def __init__(self) -> None:
        self.options: dict[str, Any] = {}
        self.error: Exception | None = None
        self.shutdowns = 0

    def init(self, **options: Any) -> Any:
        self.options = options
        if self.error is not None:
            raise self.error
        logging.getLogger(module.TOKEN_LOGGER).warning("Token authentication is enabled for this Ray cluster.")
        return SimpleNamespace(dashboard_url="127.0.0.1:8265")

    def shutdown(self) -> None:
        self.shutdowns += 1


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeRay:
    fake = FakeRay()
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", fake.init)
    monkeypatch.setattr(ray, "shutdown", fake.shutdown)
    monkeypatch.setattr(module, "try_address", lambda address: None)
    monkeypatch.setattr(module, "_require_node_here", lambda address: None)
    monkeypatch.setattr(module, "visible_gpus", lambda environment: 0)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    return fake


def enter(address: str | None = None, **options: Any) -> module.Cluster:
    with ray_cluster(address, **options) as cluster:
        return cluster


def test_without_an_address_ray_is_started_here_even_where_a_cluster_runs(fake, caplog):
    cluster = enter(num_cpus=4.5, settings={"a": 1})
    assert cluster == module.Cluster(started_here=True, dashboard="http://127.0.0.1:8265")
    assert (fake.options["address"], fake.options["num_cpus"], fake.options["_system_config"]) == ("local", 5, {"a": 1})
    assert fake.shutdowns == 1
    assert caplog.records == []  # what Ray says of its token in every run


def test_ray_is_told_of_the_gpus_that_we_count(fake, monkeypatch):
    monkeypatch.setattr(module, "visible_gpus", lambda environment: 2)
    enter()
    assert fake.options["num_gpus"] == 2


@pytest.mark.parametrize("how", ["option", "variable"])
def test_a_cluster_that_is_named_is_joined_as_it_is(fake, monkeypatch, how):
    if how == "variable":
        monkeypatch.setenv("RAY_ADDRESS", "head:6379")
    cluster = enter("head:6379" if how == "option" else None, num_cpus=4, settings={"a": 1})
    assert not cluster.started_here
    assert fake.options["address"] == "head:6379"
    assert not {"num_cpus", "_system_config", "include_dashboard"} & {*fake.options}
    assert fake.shutdowns == 1


@pytest.mark.parametrize(
    ("address", "error", "kind", "said"),
    [
        (None, Exception("The current node timed out during startup."), RunFailedError, "timed out during startup. Is"),
        (None, ValueError("x\n\nlast line\n"), RunFailedError, "this machine: last line. Is it short of memory"),
        ("head:1", ConnectionError("no"), UserError, "--address head:1: no Ray cluster answers there [(]no[)]"),
        ("head:1", RuntimeError("Version mismatch"), UserError, "head:1: .*Version mismatch"),
        ("head:1", AuthenticationError("token"), UserError, "head:1: this cluster wants a token"),
    ],
)
def test_whatever_ray_raises_is_one_message_and_what_it_began_is_ended(fake, address, error, kind, said):
    fake.error = error
    with pytest.raises(kind, match=said):
        enter(address)
    assert fake.shutdowns == 1


def test_a_machine_that_is_no_node_is_told_at_once(fake, monkeypatch):
    monkeypatch.undo()
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(module, "try_address", lambda address: None)
    monkeypatch.setattr("w2v2_ray.orchestration.cluster.nodes_here", set)
    with pytest.raises(UserError, match=r"this machine is no node of it; .*ray start --address head:6379"):
        enter("head:6379")


def test_a_ray_that_this_process_uses_stays(fake, monkeypatch):
    monkeypatch.setattr(ray, "is_initialized", lambda: True)
    assert not enter("nonsense://x").started_here
    assert fake.shutdowns == 0
    assert fake.options == {}


def test_a_survey_starts_nothing(fake, monkeypatch):
    there = Supply(nodes=({"CPU": 1.0},), free=())
    monkeypatch.setattr(module, "look_at_cluster", lambda needs, address=None: there)
    assert survey(None) is None
    assert survey("head:6379") is there
    assert fake.options == {}
