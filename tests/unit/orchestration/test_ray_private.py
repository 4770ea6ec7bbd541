"""Every private name of Ray that we use is there, takes what we give it, and does what we use it for."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from types import SimpleNamespace
from typing import Any

import pytest

from w2v2_ray.orchestration.ray_private import core, process_group, train


def test_the_names_of_ray_train_are_there_with_what_we_override():
    for name in train.__all__:
        assert getattr(train, name) is not None
    assert {"make_decision_for_non_running_worker_group", "make_decision_for_running_worker_group"} <= set(
        dir(train.ScalingPolicy)
    )
    assert "make_decision" in dir(train.DefaultFailurePolicy)
    assert {decision.name for decision in train.FailureDecision} >= {"RETRY", "RAISE", "NOOP"}
    hooks = dir(train.ControllerCallback) + dir(train.WorkerGroupCallback)
    assert {"after_controller_state_update", "after_worker_group_start"} <= set(hooks)


def test_the_note_of_ray_start_and_the_nodes_of_this_machine_can_be_asked_for():
    assert core.noted_address() is None or ":" in core.noted_address()
    assert all(len(node) == 56 for node in core.nodes_here())


def test_a_channel_to_a_control_store_can_be_made_and_closed_where_none_answers():
    channel = core.control_channel("127.0.0.1:1")
    assert callable(channel.unary_unary)
    channel.close()


def test_without_a_cluster_no_autoscaler_has_left_a_report():
    assert core.first_autoscaler_report() is None


def test_an_upload_is_walked_with_what_is_ignored_left_out(tmp_path):
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "a.py").write_text("a")
    (tmp_path / "left").mkdir()
    (tmp_path / "left" / "b.py").write_text("b")
    (tmp_path / "c.log").write_text("c")
    (tmp_path / ".gitignore").write_text("*.log\n")
    seen: list[str] = []
    core.walk_upload(tmp_path, ["left"], lambda path: seen.append(os.path.relpath(path, tmp_path)))
    assert "kept/a.py" in seen
    assert not {"left/b.py", "c.log"} & set(seen)


@pytest.mark.parametrize("name", [core.TOKEN_LOGGER, *core.UPLOAD_LOGGERS])
def test_the_loggers_are_modules_of_ray(name):
    from importlib.util import find_spec

    assert find_spec(name) is not None


def test_draining_nodes_are_asked_of_the_state_that_ray_keeps():
    import ray

    assert callable(ray._private.state.state.get_draining_nodes)


def test_a_head_for_one_command_starts_without_what_it_never_uses_and_later_ones_as_ever():
    from ray._private import parameter

    usual = parameter.RayParams()
    with core.lean_head():
        lean = parameter.RayParams(num_cpus=3)
    assert (lean.dashboard_agent_listen_port, lean.no_monitor, lean.include_log_monitor) == (0, True, False)
    assert lean.num_cpus == 3
    assert isinstance(lean, type(usual))
    assert type(parameter.RayParams()) is type(usual)
    assert usual.dashboard_agent_listen_port
    assert not usual.no_monitor


def test_ray_init_makes_its_parameters_where_they_are_changed():
    import inspect

    import ray

    assert "ray._private.parameter.RayParams(" in inspect.getsource(inspect.unwrap(ray.init))


class Worker:
    """As much of a worker as the watch for drained nodes asks."""

    def __init__(self, rank: int, node: str) -> None:
        self.distributed_context = SimpleNamespace(world_rank=rank)
        self.metadata = SimpleNamespace(node_id=node)
        self.told: list[Any] = []
        self.was_told = threading.Event()
        self.actor = SimpleNamespace(mark_preempt=self)

    def remote(self, info: Any) -> None:
        self.told.append(info)
        self.was_told.set()


def test_a_drained_node_is_told_to_all_workers_by_the_controller_itself(monkeypatch: pytest.MonkeyPatch):
    from ray.train.v2._internal.execution import preemption

    monkeypatch.setattr(preemption, "_get_draining_nodes", lambda: {"b": 0, "elsewhere": 0})
    monkeypatch.setenv("RAY_TRAIN_PREEMPTION_POLL_INTERVAL_S", "0.01")
    workers = [Worker(0, "a"), Worker(1, "b"), Worker(2, "b")]
    watch = train._WatchHere()
    watch.after_worker_group_start(SimpleNamespace(get_workers=lambda: workers))
    thread = watch._watcher._monitor_thread
    assert all(worker.was_told.wait(10) for worker in workers)
    assert workers[0].told[0].preempted_node_to_ranks == {"b": [1, 2]}
    watch.before_worker_group_shutdown(None)
    thread.join(10)
    assert not thread.is_alive()
    watch.after_worker_group_abort(None)


def test_workers_of_a_cluster_started_here_are_not_given_the_environment_that_they_have(monkeypatch):
    monkeypatch.setenv("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.5")
    assert train._TidyWorkerGroup._get_worker_runtime_env({})["env_vars"]["RAY_TRAIN_HEALTH_CHECK_INTERVAL_S"] == "0.5"
    assert train._HeirWorkerGroup._get_worker_runtime_env({}) == {}
    assert train._HeirController.worker_group_cls is train._HeirWorkerGroup


class Workers:
    """A worker group that remembers what it was asked to run."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.calls: list[tuple[Any, ...]] = []

    def __len__(self) -> int:
        return self.size

    def execute_single(self, rank: int, function: Any) -> tuple[str, int]:
        return "10.0.0.1", 1234

    def execute(self, function: Any, *given: Any) -> None:
        self.calls.append((function, *given))

    def execute_single_async(self, rank: int, function: Any, *given: Any) -> str:
        self.calls.append((function, *given))
        return "future"

    def execute_async(self, function: Any, *given: Any) -> str:
        self.calls.append((function, *given))
        return "future"


def test_a_process_group_is_announced_joined_by_all_and_left(monkeypatch: pytest.MonkeyPatch):
    waited: list[Any] = []
    monkeypatch.setattr(process_group.ray, "get", lambda futures, **options: waited.append((futures, options)))
    workers, config = Workers(2), process_group.GlooConfig(timeout_s=7)
    backend = config.backend_cls()
    backend.on_start(workers, config)
    backend.on_shutdown(workers, config)
    assert workers.calls == [
        (process_group._announce, "10.0.0.1", 1234),
        (process_group._join, 0, 2, 7),
        (process_group._join, 1, 2, 7),
        (process_group._leave, True),
    ]
    assert waited[0] == (["future", "future"], {})
    assert waited[1][1]["timeout"] > 0


def test_a_worker_that_never_answers_does_not_hold_up_the_end(monkeypatch: pytest.MonkeyPatch):
    from ray.exceptions import GetTimeoutError

    def never(futures: Any, timeout: float) -> None:
        raise GetTimeoutError

    monkeypatch.setattr(process_group.ray, "get", never)
    workers = Workers(2)
    process_group._GlooBackend().on_shutdown(workers, process_group.GlooConfig(timeout_s=7))
    assert len(workers.calls) == 1


def test_rays_own_functions_take_what_they_are_given():
    import inspect

    from ray.train.torch import config

    setup = inspect.signature(config._setup_torch_process_group)
    assert list(setup.bind("gloo", 0, 2, "env://", 7).arguments) == [*setup.parameters]
    inspect.signature(config._set_torch_distributed_env_vars).bind()
    inspect.signature(config._shutdown_torch).bind(destroy_process_group=True)


@pytest.mark.parametrize(
    "module",
    [
        "w2v2_ray.orchestration.launch",
        "w2v2_ray.orchestration.elastic_trainer",
        "w2v2_ray.orchestration.living.supervisor",
        "w2v2_ray.orchestration.entry",
        "w2v2_ray.orchestration.ray_private.preloaded",
    ],
)
def test_what_the_driver_and_controllers_import_brings_no_torch(module: str):
    """A CPU second of each, at every start."""
    code = f"import sys, {module}; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
