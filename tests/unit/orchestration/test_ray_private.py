"""Every private name of Ray that we use is there, takes what we give it, and does what we use it for."""

from __future__ import annotations

import os

import pytest

from w2v2_ray.orchestration.ray_private import core, train


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
