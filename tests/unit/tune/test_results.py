from __future__ import annotations

import base64
from copy import deepcopy

import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from w2v2_ray.errors import StorageError
from w2v2_ray.spec.loading import load_job, load_job_text
from w2v2_ray.spec.sweep import SweepSpec
from w2v2_ray.tune.document import Table, as_html, as_markdown
from w2v2_ray.tune.find_concat import concat_values, largest_that_fits
from w2v2_ray.tune.folder import SweepFolder
from w2v2_ray.tune.measurement import Measurement
from w2v2_ray.tune.pareto import pareto_front
from w2v2_ray.tune.points import Point, Rejected, key_of
from w2v2_ray.tune.published import PUBLISHED_FACTORS, published_for
from w2v2_ray.tune.quality import compare, value_at
from w2v2_ray.tune.report import write_report
from w2v2_ray.tune.results import summarise, winner

JOB = load_job_text("kind: pretrain\npreset: base\nname: x\ndata: {train: a}\n", "x").job
SWEEP = SweepSpec.model_validate({"name": "s", "base": "b", "space": "c"})


def point(factor):
    encoder = JOB.model.encoder
    hourglass = encoder.hourglass.model_copy(update={"shorten_factor": factor}) if factor else None
    model = JOB.model.model_copy(update={"encoder": encoder.model_copy(update={"hourglass": hourglass})})
    job = JOB.model_copy(update={"model": model})
    return Point(key_of(job), f"factor {factor}" if factor else "off", {"factor": factor}, job, job)


POINTS = [point(None), point(2), point(4)]
KEYS = [p.key for p in POINTS]


def measured(key, repeat, speed, memory, started, **figures):
    found = {"frames_per_s": speed, "peak_memory_bytes": memory, "device": "GPU", **figures}
    return Measurement(key, repeat, "ok", figures=found, started=started, wall_s=1.0)


@pytest.fixture
def folder(tmp_path):
    made = SweepFolder(tmp_path / "sweep")
    made.create()
    for place, entry in enumerate(POINTS):
        made.keep_point(entry, entry.trial_job, place)
    made.keep_baseline(KEYS[0])
    return made


def fill(folder):
    speeds = {KEYS[0]: 100.0, KEYS[1]: 150.0}
    for repeat in range(2):
        for place, (key, speed) in enumerate(speeds.items()):
            slow = 1.0 if repeat == 0 else 0.1  # the machine became ten times slower between the repeats
            started = 100.0 * repeat + place
            folder.measurements.write(measured(key, repeat, speed * slow, 1000 - 300 * place, started))
    folder.measurements.write(Measurement(KEYS[2], 0, "out_of_memory", "can't allocate", started=300.0))


def test_a_machine_that_drifts_does_not_change_the_speed_up(folder):
    fill(folder)
    base, two, four = summarise(folder.points(), list(folder.measurements), KEYS[0])
    assert (base.label, two.label, four.label) == ("off", "factor 2", "factor 4")
    assert (two.speed_up.low, two.speed_up.median, two.speed_up.high) == pytest.approx((1.5, 1.5, 1.5))
    assert two.memory_percent.median == pytest.approx(70.0)
    assert two.frames_per_s.low == pytest.approx(15.0)
    assert four.failure.reason == "can't allocate"
    assert [row.on_front for row in (base, two, four)] == [False, True, False]


def test_the_report_has_the_table_the_reasons_the_files_and_a_winner_that_loads(folder):
    fill(folder)
    folder.keep_rejected(
        [Rejected("factor 1", {"factor": 1}, "does not shorten"), Rejected("0", {}, "does not shorten")]
    )
    report = write_report(SWEEP, folder)
    text = (folder.path / "report.md").read_text()
    assert "| factor 2 | 1.50x | 70.0 | 1.25x | 70.98 |" in text
    assert "out of memory | can't allocate" in text
    assert "| factor 1; 0 | does not shorten |" in text
    page = (folder.path / "report.html").read_text()
    assert base64.b64encode((folder.path / "bars.png").read_bytes()).decode() in page
    assert 'src="data:image/png' in page
    assert report.best == "factor 2"
    best = load_job(report.best_spec).job
    assert (best.model, best.name) == (POINTS[1].job.model, "s_best")
    assert pyarrow.parquet.read_table(folder.path / "trials.parquet").num_rows == 5
    assert len((folder.path / "trials.csv").read_text().splitlines()) == 6


def test_a_sweep_without_a_measurement_has_no_report(folder):
    with pytest.raises(StorageError, match="nothing was measured"):
        write_report(SWEEP, folder)


def test_a_damaged_measurement_is_as_if_it_was_not_made(folder):
    measurement = measured(KEYS[0], 0, 1.0, 1, 0.0)
    folder.measurements.write(measurement)
    assert folder.measurements.find(KEYS[0], 0) == measurement
    (folder.measurements.folder / measurement.file_name).write_text('{"key": ')
    assert folder.measurements.find(KEYS[0], 0) is None


def test_published_figures_stand_only_beside_what_they_were_published_for():
    jobs = [{"kind": "pretrain", **entry.job.model_dump(mode="json")} for entry in POINTS]
    assert [published_for(job, jobs[0]) for job in jobs] == [PUBLISHED_FACTORS[factor] for factor in (None, 2, 4)]
    assert published_for(jobs[1], jobs[2]) is None  # the baseline has a Hourglass
    for change in ({"pre_layers": 1, "middle_layers": 9}, {"resample": "linear"}, {"shorten_factor": 7}):
        other = deepcopy(jobs[1])
        other["model"]["encoder"]["hourglass"] |= change
        assert published_for(other, jobs[0]) is None
    other = deepcopy(jobs[1])
    other["batch"]["concat"] = 4
    assert published_for(other, jobs[0]) is None


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=1, max_size=20))
def test_nothing_dominates_the_front_and_something_on_it_dominates_all_others(costs):
    front = pareto_front(costs)
    assert front

    def dominates(a, b):
        return a != b and all(x <= y for x, y in zip(a, b, strict=True))

    for index, entry in enumerate(costs):
        beaten = any(dominates(costs[best], entry) for best in front)
        assert beaten == (index not in front)


@given(st.lists(st.integers(1, 64), min_size=1, max_size=20, unique=True).map(sorted), st.integers(0, 70))
def test_bisection_finds_the_largest_value_below_any_limit(values, limit):
    tried = []

    def fits(value):
        tried.append(value)
        return value <= limit

    assert largest_that_fits(values, fits) == max((v for v in values if v <= limit), default=None)
    assert len(tried) == len(set(tried)) <= 8


def test_concat_values_divide_the_update():
    assert concat_values(12, None) == [1, 2, 3, 4, 6, 12]
    assert concat_values(12, 5) == [1, 2, 3, 4]


def curve(losses, seconds):
    return [{"update": i + 1.0, "trained_s": (i + 1) * seconds, "loss": loss} for i, loss in enumerate(losses)]


def test_trained_points_are_compared_at_updates_and_times_that_all_finished_ones_reached():
    slow = Measurement("slow", 0, "ok", figures={"finished": True})
    fast = Measurement("fast", 0, "ok", figures={"finished": True})
    stopped = Measurement("stopped", 0, "ok", figures={"finished": False})
    found = compare(
        [(slow, curve([9.0, 5.0], 10.0)), (fast, curve([9.0, 8.0, 7.0, 6.0], 5.0)), (stopped, curve([9.5], 5.0))]
    )
    assert (found.updates, found.seconds) == (2, 20.0)
    assert (found.trained["slow"].loss_at_updates, found.trained["fast"].loss_at_updates) == (5.0, 8.0)
    assert (found.trained["slow"].loss_at_time, found.trained["fast"].loss_at_time) == (5.0, 6.0)
    assert found.trained["stopped"].loss_at_updates is None
    assert found.losses() == {"slow": 5.0, "fast": 6.0}


def test_a_figure_at_a_moment_is_that_before_it_and_none_beyond_the_end():
    assert value_at(curve([4.0, 3.0, 2.0], 1.0), "trained_s", 2.5, "loss") == 3.0
    assert value_at(curve([4.0], 1.0), "trained_s", 2.5, "loss") is None


def test_the_winner_of_trained_points_is_the_lowest_loss_not_the_fastest(folder):
    fill(folder)
    rows = summarise(folder.points(), list(folder.measurements), KEYS[0])
    assert winner(rows).label == "factor 2"
    assert winner(rows, {KEYS[0]: 1.0, KEYS[1]: 2.0}).label == "off"


def test_html_escapes_what_a_label_holds_and_markdown_keeps_cells_apart():
    table = Table(("a", "b"), [("<script>", "x|y")])
    assert "<script>" not in as_html("t", [table])
    assert "x\\|y" in as_markdown([table])
