"""What is tried again, and for how long."""

from __future__ import annotations

import pickle

import pytest

from w2v2_ray.errors import RunFailedError, StorageUnavailableError
from w2v2_ray.places import retry
from w2v2_ray.places.retry import may_pass, retrying, usual_patience_s

PASSING = [
    "AWS Error NETWORK_CONNECTION during GetObject operation: curlCode: 7, Could not connect to server",
    "AWS Error UNKNOWN (HTTP status 503) during PutObject operation: No response body.",
    "AWS Error SLOW_DOWN during PutObject operation: Please reduce your request rate.",
    "AWS Error INTERNAL_FAILURE during HeadObject operation",
]
LASTING = [
    "AWS Error ACCESS_DENIED during GetObject operation: No response body.",
    "AWS Error UNKNOWN (HTTP status 403) during HeadObject operation",
    "AWS Error NO_SUCH_BUCKET during CreateMultipartUpload operation: The specified bucket does not exist",
    "AWS Error INVALID_ACCESS_KEY_ID during PutObject operation: unknown key",
    "Bucket 'x' not found. To create buckets, enable the allow_bucket_creation option.",
]


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "_LONGEST_PAUSE_S", 0.01)


@pytest.mark.parametrize("reason", PASSING)
def test_what_may_pass_is_tried_again(reason: str):
    left = [OSError(reason), OSError(reason)]

    def action() -> str:
        if left:
            raise left.pop()
        return "done"

    assert retrying(action, "s3://x: cannot read", 60.0) == "done"


@pytest.mark.parametrize("error", [*map(OSError, LASTING), FileNotFoundError("gone"), OSError(28, "disk full")])
def test_what_cannot_pass_is_not(error: OSError):
    calls = []

    def action() -> None:
        calls.append(1)
        raise error

    with pytest.raises(type(error)) as caught:
        retrying(action, "s3://x: cannot read", 60.0)
    assert caught.value is error
    assert calls == [1]
    assert not may_pass(error)


def test_when_patience_ends_the_error_names_place_reason_and_tries():
    def action() -> None:
        raise OSError("AWS Error NETWORK_CONNECTION\n during GetObject")

    with pytest.raises(StorageUnavailableError, match=r"x: cannot read: AWS Error NETWORK_CONNECTION dur.*1 times"):
        retrying(action, "s3://x: cannot read", 0.0)


def test_an_outage_is_an_error_of_the_run_and_of_the_storage_and_survives_pickling():
    error = pickle.loads(pickle.dumps(StorageUnavailableError("s3://x: away")))
    assert isinstance(error, RunFailedError)
    assert isinstance(error, OSError)
    assert (str(error), error.message, error.exit_code) == ("s3://x: away", "s3://x: away", 1)


def test_patience_is_set_by_the_environment(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("W2V2_RAY_STORAGE_PATIENCE_S", "2.5")
    assert usual_patience_s() == 2.5
    monkeypatch.setenv("W2V2_RAY_STORAGE_PATIENCE_S", "soon")
    assert usual_patience_s() == 60.0
