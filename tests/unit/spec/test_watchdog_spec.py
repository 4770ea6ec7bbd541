from __future__ import annotations

import pytest
from pydantic import ValidationError

from w2v2_ray.errors import SpecError
from w2v2_ray.spec.loading import dump_job, load_job_text
from w2v2_ray.spec.watchdog import CodebookCollapseCheck, LossSpikeCheck, WatchdogSpec

JOB = "kind: pretrain\nname: x\ndata: {train: a}\n"


def test_the_watchdog_is_on_by_default_and_every_check_acts():
    spec = load_job_text(JOB, "job.yaml").job.watchdog
    assert spec.enabled
    assert spec.max_rollbacks == 3
    checks = [getattr(spec, name) for name in WatchdogSpec.model_fields if hasattr(getattr(spec, name), "action")]
    assert len(checks) == 7
    assert all(check.action in {"stop", "rollback"} for check in checks)


@pytest.mark.parametrize("action", ["warn", "stop", "rollback", "off"])
def test_yaml_carries_every_action_there_and_back(action):
    job = load_job_text(JOB + f"watchdog: {{loss_spike: {{action: {action}}}}}\n", "job.yaml").job
    assert job.watchdog.loss_spike.action == action
    assert load_job_text(dump_job(job), "job.yaml").job == job


@pytest.mark.parametrize("name", ["codebook_collapse", "trivial_solution", "vanishing_gradient", "flat_at_chance"])
def test_a_rollback_that_changes_nothing_is_refused(name):
    with pytest.raises(SpecError, match=rf"watchdog: {name}.action: rollback with lr_factor: 1.0") as caught:
        load_job_text(JOB, "job.yaml", [f"watchdog.{name}.action=rollback", "watchdog.lr_factor=1.0"])
    assert "lr_factor: 0.5" in caught.value.message
    assert "job.yaml" in caught.value.message or "--set" in caught.value.message


def test_skipping_alone_suffices_where_a_batch_is_to_blame():
    assert WatchdogSpec(lr_factor=1.0).skip_updates
    with pytest.raises(ValidationError, match=r"lr_factor: 0\.5 or skip_updates: true"):
        WatchdogSpec(lr_factor=1.0, skip_updates=False)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: WatchdogSpec(lr_factor=0.0),
        lambda: WatchdogSpec(lr_factor=1.5),
        lambda: WatchdogSpec(max_rollbacks=-1),
        lambda: LossSpikeCheck(window_updates=3),
        lambda: LossSpikeCheck(patience_updates=0),
        lambda: LossSpikeCheck(action="panic"),
        lambda: CodebookCollapseCheck(ratio=0.5),
    ],
)
def test_senseless_values_are_refused(wrong):
    with pytest.raises(ValidationError):
        wrong()


def test_switching_it_off_is_advised_against():
    loaded = load_job_text(JOB, "job.yaml", ["watchdog.enabled=false"])
    assert any("goes on to its last update" in warning.message for warning in loaded.warnings)
    assert not any("watchdog" in str(w) for w in load_job_text(JOB, "job.yaml").warnings)
