"""What a run writes about itself."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from w2v2_ray.run.checkpoints.fence import Fence, SupersededError
from w2v2_ray.run.folder import RunFolder, append_line, read_lines
from w2v2_ray.spec.logging import LoggingSpec
from w2v2_ray.training.recorder import Recorder


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    run = RunFolder(tmp_path)
    run.create()
    return run


def recorder_of(run: RunFolder, start_update: int, **spec: bool) -> Recorder:
    return Recorder(run, LoggingSpec(**spec), start_update, Fence.take(run.notes))


def scalars(run: RunFolder, tag: str) -> list[tuple[int, float]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(run.tensorboard))
    events.Reload()
    return [(event.step, event.value) for event in events.Scalars(tag)]


def test_what_an_earlier_attempt_wrote_beyond_the_checkpoint_is_dropped(run: RunFolder):
    for update in (1, 2, 3, 4):
        append_line(run.metrics, {"update": update})
        append_line(run.samples, {"update": update, "epoch": 0, "utterances": []})
    recorder = recorder_of(run, 2, tensorboard=False)
    recorder.metrics({"update": 3, "loss": 1.0})
    recorder.close()
    assert list(read_lines(run.metrics)) == [{"update": 1}, {"update": 2}, {"update": 3, "loss": 1.0}]
    assert [record["update"] for record in read_lines(run.samples)] == [1, 2]
    assert not run.tensorboard.exists()


def test_samples_of_an_update_that_spans_two_epochs_are_two_lines(run: RunFolder):
    recorder = recorder_of(run, 0, tensorboard=False, trace_samples=True)
    recorder.samples(7, [(1, "a"), (2, "b"), (1, "c")])
    recorder.close()
    assert list(read_lines(run.samples)) == [
        {"update": 7, "epoch": 1, "utterances": ["a", "c"]},
        {"update": 7, "epoch": 2, "utterances": ["b"]},
    ]


def test_tensorboard_shows_training_and_validation_and_purges_what_is_computed_again(run: RunFolder):
    first = recorder_of(run, 0)
    for update in (1, 2, 3):
        first.metrics({"update": update, "loss": 10.0 - update, "note": "no number"})
    first.validation(2, {"loss": 9.5})
    first.close()
    assert scalars(run, "train/loss") == [(1, 9.0), (2, 8.0), (3, 7.0)]
    assert scalars(run, "validation/loss") == [(2, 9.5)]
    second = recorder_of(run, 1)
    second.metrics({"update": 2, "loss": 5.0})
    second.close()
    assert scalars(run, "train/loss") == [(1, 9.0), (2, 5.0)]
    assert [(event["event"], event["update"]) for event in read_lines(run.events)] == [("validation", 2)]


def test_a_worker_that_was_superseded_no_longer_writes(run: RunFolder):
    old = recorder_of(run, 0, tensorboard=False)
    old.metrics({"update": 1, "loss": 3.0})
    new = recorder_of(run, 1, tensorboard=False)
    with pytest.raises(SupersededError):
        old.metrics({"update": 2, "loss": 9.0})
    new.metrics({"update": 2, "loss": 2.0})
    for recorder in (old, new):
        recorder.close()
    assert [record["loss"] for record in read_lines(run.metrics)] == [3.0, 2.0]


def test_a_full_disk_loses_no_line_once_there_is_room_again(run: RunFolder, monkeypatch: pytest.MonkeyPatch):
    recorder = recorder_of(run, 0, tensorboard=False)
    recorder.metrics({"update": 1})
    real = recorder._metrics._file

    class Full:
        def write(self, content: bytes) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    class NearlyFull:
        def write(self, content: bytes) -> int:
            return real.write(content[:5])

    for file, update in ((Full(), 2), (NearlyFull(), 3), (real, 4)):
        monkeypatch.setattr(recorder._metrics, "_file", file)
        recorder.metrics({"update": update})
    recorder.close()
    assert [record["update"] for record in read_lines(run.metrics)] == [1, 2, 3, 4]
