"""What the driver passes on of a run: to Prometheus, MLflow, Weights & Biases."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from w2v2_ray.errors import MissingExtraError
from w2v2_ray.orchestration.sinks.prometheus import PrometheusSink, exported_names
from w2v2_ray.orchestration.sinks.sink import feed, make_sinks
from w2v2_ray.run.folder import RunFolder, append_line

DASHBOARD = Path(__file__).resolve().parents[3] / "cluster" / "grafana" / "w2v2_ray.json"
RECORD = {"update": 1, "loss": 3.0, "world_size": 2, "update_s": 1.5, "lr": 1e-3, "time": 1.0}


def test_every_metric_that_the_dashboard_asks_for_is_one_we_export():
    dashboard = json.loads(DASHBOARD.read_text())
    texts = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    texts += [variable["definition"] for variable in dashboard["templating"]["list"] if "definition" in variable]
    asked = {name for text in texts for name in re.findall(r"ray_w2v2_\w+", text)}
    assert asked == exported_names()
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])


class Metric:
    """Stands for a metric of Ray."""

    values: dict[tuple[str, str], float] = {}  # noqa: RUF012

    def __init__(self, name: str, description: str, tag_keys: tuple[str, ...]) -> None:
        self.name = name

    def set(self, value: float, tags: dict[str, str]) -> None:
        self.values[self.name, ""] = value

    def inc(self, value: float, tags: dict[str, str]) -> None:
        key = (self.name, tags["event"])
        self.values[key] = self.values.get(key, 0.0) + value


def test_figures_and_events_of_a_run_set_gauges_and_counters(tiny_job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("ray.util.metrics.Gauge", Metric)
    monkeypatch.setattr("ray.util.metrics.Counter", Metric)
    run = RunFolder(tmp_path)
    run.event("worker_lost", rank=0)  # of an earlier launch
    with feed(run, [PrometheusSink(tiny_job())]):
        append_line(run.metrics, RECORD)
        run.event("worker_lost", rank=1)
        run.event("recovered", update=1, updates_recomputed=3, seconds_to_next_update=9.0)
        run.event("snapshot", update=1, write_s=0.25)
    assert Metric.values["w2v2_loss", ""] == 3.0
    assert Metric.values["w2v2_failures", "worker_lost"] == 1
    assert Metric.values["w2v2_recomputed_updates", "recovered"] == 3
    assert Metric.values["w2v2_snapshot_write_seconds", ""] == 0.25
    assert Metric.values["w2v2_worker_seconds", "update"] == 3.0


class Broken:
    """A service that is away."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def metrics(self, record: dict[str, Any]) -> None:
        self.calls.append("metrics")
        raise ConnectionError("away")

    def event(self, record: dict[str, Any]) -> None:
        self.calls.append("event")

    def close(self) -> None:
        self.calls.append("close")
        raise ConnectionError("away")


def test_a_sink_that_fails_is_given_up_and_the_run_goes_on(tmp_path: Path):
    sink, run = Broken(), RunFolder(tmp_path)
    with feed(run, [sink]):
        append_line(run.metrics, RECORD)
        append_line(run.metrics, {**RECORD, "update": 2})
    assert sink.calls == ["metrics", "close"]


@pytest.mark.parametrize("name", ["mlflow", "wandb"])
def test_a_missing_extra_is_named_with_the_command(
    tiny_job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
):
    for module in [m for m in sys.modules if m.partition(".")[0] == name]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingExtraError, match=rf"logging.{name}: .*pip install 'w2v2-ray\[{name}\]'"):
        make_sinks(tiny_job({f"logging.{name}": {}}), RunFolder(tmp_path))


def feed_a_run(job, run: RunFolder, updates: range) -> None:
    with feed(run, make_sinks(job, run)):
        for update in updates:
            append_line(run.metrics, {**RECORD, "update": update, "loss": 4.0 - update, "time": float(update)})
        run.event("validation", update=updates[-1], loss=2.5)
        run.event("end", update=updates[-1])


def test_mlflow_has_one_run_that_is_gone_on_with(tiny_job, tmp_path: Path):
    pytest.importorskip("mlflow", reason="the extra [mlflow] is not installed")
    from mlflow.tracking import MlflowClient

    uri = f"sqlite:///{tmp_path}/mlflow.db" if _has_sqlalchemy() else f"file:{tmp_path}/mlruns"
    job, run = tiny_job({"logging.mlflow": {"tracking_uri": uri}}), RunFolder(tmp_path / "run")
    run.create()
    feed_a_run(job, run, range(1, 4))
    feed_a_run(job, run, range(4, 6))
    client = MlflowClient(tracking_uri=uri)
    (logged,) = client.search_runs([client.get_experiment_by_name("w2v2-ray").experiment_id])
    assert logged.info.status == "FINISHED"
    assert logged.data.params["optim.lr"] == "0.001"
    assert [m.step for m in client.get_metric_history(logged.info.run_id, "train/loss")] == [1, 2, 3, 4, 5]
    assert logged.data.metrics["validation/loss"] == 2.5


def _has_sqlalchemy() -> bool:
    try:
        import sqlalchemy  # noqa: F401
    except ImportError:
        return False
    return True


@pytest.mark.filterwarnings("ignore")
def test_wandb_writes_its_files_into_the_runs_folder_when_offline(tiny_job, tmp_path: Path):
    pytest.importorskip("wandb", reason="the extra [wandb] is not installed")
    job, run = tiny_job({"logging.wandb": {"mode": "offline"}}), RunFolder(tmp_path / "run")
    run.create()
    feed_a_run(job, run, range(1, 4))
    assert list(run.path.glob("wandb/offline-run-*/run-*.wandb"))
