"""What is told of a group of workers that ended, and what counts as a failure."""

from __future__ import annotations

import pytest
import torch
from ray.exceptions import ActorDiedError, RuntimeEnvSetupError
from ray.train import FailureConfig
from ray.train.v2._internal.exceptions import WorkerHealthCheckFailedError, WorkerHealthCheckTimeoutError
from ray.train.v2._internal.execution.failure_handling import FailureDecision
from ray.train.v2.api.exceptions import ControllerError, WorkerGroupError

from w2v2_ray.orchestration.failures import NodeLeaving, PatientFailurePolicy, classify
from w2v2_ray.orchestration.settings import ray_variables, set_ray_variables


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (WorkerHealthCheckFailedError("failed", failure=ActorDiedError()), "worker_lost"),
        (WorkerHealthCheckTimeoutError("hanging for 10.5 seconds"), "worker_hung"),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), "oom"),
        (MemoryError(), "oom"),
        (RuntimeError("[../gloo/transport/tcp/pair.cc:547] Connection closed by peer [192.0.2.2]:3"), "collateral"),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), "worker_lost"),
        (NodeLeaving("saved"), "left"),
    ],
)
def test_an_error_tells_what_happened_to_its_worker(error: BaseException, cause: str):
    ending = classify(error)
    assert ending.cause == cause
    assert len(ending.text) < 900


def test_a_long_error_is_shortened():
    assert len(classify(RuntimeError("x" * 100_000)).text) < 900


def group_error(*errors: Exception) -> WorkerGroupError:
    return WorkerGroupError("failed", dict(enumerate(errors)))


def test_workers_that_give_a_node_back_do_not_use_up_the_failures_a_run_survives():
    policy = PatientFailurePolicy(FailureConfig(max_failures=1))
    for _ in range(5):
        leaving = group_error(NodeLeaving("saved"), RuntimeError("Connection closed by peer"))
        assert policy.make_decision(leaving) == FailureDecision.RETRY
    crash = group_error(RuntimeError("crashed"))
    assert policy.make_decision(crash) == FailureDecision.RETRY
    assert policy.make_decision(crash) == FailureDecision.RAISE


def test_failures_without_any_progress_end_the_run_early_and_progress_forgives_them():
    states = iter([1, 1, 1, 2, 2, 2, 2])
    policy = PatientFailurePolicy(FailureConfig(max_failures=100), lambda: next(states), 3)
    decisions = [policy.make_decision(group_error(RuntimeError("crashed"))) for _ in range(7)]
    assert decisions == [FailureDecision.RETRY] * 6 + [FailureDecision.RAISE]


def unready_node() -> ControllerError:
    return ControllerError(RuntimeEnvSetupError("the upload could not be unpacked"))


def test_a_node_that_could_not_be_made_ready_is_tried_again_and_is_no_failure_of_the_run():
    states = iter(range(100))
    policy = PatientFailurePolicy(FailureConfig(max_failures=0), lambda: next(states), 3)
    assert [policy.make_decision(unready_node()) for _ in range(20)] == [FailureDecision.RETRY] * 20
    assert policy.make_decision(group_error(RuntimeError("crashed"))) == FailureDecision.RAISE


def test_nodes_that_can_never_be_made_ready_end_the_run():
    policy = PatientFailurePolicy(FailureConfig(max_failures=-1), lambda: "same", 3)
    decisions = [policy.make_decision(unready_node()) for _ in range(4)]
    assert decisions == [FailureDecision.RETRY] * 3 + [FailureDecision.RAISE]


def test_another_failure_of_the_controller_ends_the_run():
    policy = PatientFailurePolicy(FailureConfig(max_failures=0, controller_failure_limit=0), lambda: "same", 3)
    assert policy.make_decision(ControllerError(RuntimeError("a bug"))) == FailureDecision.RAISE


def test_ray_is_told_the_specs_patience_unless_the_user_has_told_it_otherwise(tiny_job):
    job = tiny_job({"failure.hang_timeout_s": 7.5, "failure.start_timeout_s": 4.0})
    environment = {"RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "99"}
    set_ray_variables(job, environment)
    assert environment["RAY_TRAIN_WORKER_HEALTH_CHECK_TIMEOUT_S"] == "7.5"
    assert environment["RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S"] == "99"
    assert set(environment) == set(ray_variables(job))


def test_workers_wait_for_each_other_as_long_as_the_spec_says(tiny_job, tmp_path):
    from w2v2_ray.orchestration.elastic_trainer import ElasticTrainer
    from w2v2_ray.run.folder import RunFolder

    job = tiny_job({"failure.join_timeout_s": 90.5, "worker.gpus": 0})
    trainer = ElasticTrainer(job, RunFolder(tmp_path / "run"), lambda config: None, {}, "launch")
    assert trainer.backend_config.timeout_s == 91


def test_every_variable_is_one_that_ray_knows():
    """Ray ignores a misspelt one without a word."""
    from ray.train import constants
    from ray.train.v2._internal.constants import ENV_VARS_TO_PROPAGATE

    known = ENV_VARS_TO_PROPAGATE | {constants.TORCH_PROCESS_GROUP_SHUTDOWN_TIMEOUT_S}
    from w2v2_ray.spec.job import PretrainJob

    job = PretrainJob.model_construct(failure=PretrainJob.model_fields["failure"].default)
    assert set(ray_variables(job)) <= known
