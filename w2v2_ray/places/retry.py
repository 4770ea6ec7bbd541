"""Trying again where storage fails in a way that may pass: with growing pauses, for a bounded time."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from typing import TypeVar

import pyarrow as pa
from tenacity import RetryCallState, Retrying, retry_if_exception, stop_after_delay

from w2v2_ray.errors import StorageUnavailableError

T = TypeVar("T")

PATIENCE_VARIABLE = "W2V2_RAY_STORAGE_PATIENCE_S"
"""Environment variable that sets how long remote storage is tried, in seconds."""
_PATIENCE_S = 60.0
_FIRST_PAUSE_S = 0.2
_LONGEST_PAUSE_S = 8.0
_DENIED = ("access_denied", "access denied", "forbidden", "permission denied", "http status 403", "permissiondenied")
_CREDENTIALS = (
    "invalid_access_key_id",
    "invalidaccesskeyid",
    "signature_does_not_match",
    "signaturedoesnotmatch",
    "invalid_client_token_id",
    "unrecognized_client",
    "expired_token",
    "expiredtoken",
    "token has expired",
    "could not load credentials",
    "no credentials",
)
_NO_BUCKET = ("no_such_bucket", "nosuchbucket", "bucket not found", "container not found", "bucket does not exist")
_FAULTY = ("invalid bucket", "invalidbucketname", "bucket name", "expected an s3 object path", "unsupported")


def usual_patience_s() -> float:
    """How long storage is tried before a reader or writer gives up."""
    try:
        return float(os.environ[PATIENCE_VARIABLE])
    except (KeyError, ValueError):
        return _PATIENCE_S


def is_denied(reason: str) -> bool:
    """Whether an error's text says that access is refused: credentials are missing, wrong, expired or too weak."""
    text = reason.lower()
    return any(sign in text for sign in (*_DENIED, *_CREDENTIALS))


def is_no_bucket(reason: str) -> bool:
    """Whether an error's text says that the bucket or container is not there."""
    text = reason.lower()
    return any(sign in text for sign in _NO_BUCKET) or ("bucket" in text and "not found" in text)


def may_pass(error: BaseException) -> bool:
    """Whether trying again may help: what a network or a server does wrong, not what was asked wrongly of them.

    pyarrow's errors of remote storage carry no errno; those that do come from this machine's own disk.
    """
    if isinstance(error, (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError, FileExistsError)):
        return False
    if isinstance(error, (pa.ArrowInvalid, pa.ArrowNotImplementedError)):
        return False
    if not isinstance(error, (OSError, pa.ArrowException)) or getattr(error, "errno", None) is not None:
        return False
    reason = str(error)
    return not (is_denied(reason) or is_no_bucket(reason) or any(sign in reason.lower() for sign in _FAULTY))


def retrying(action: Callable[[], T], what: str, patience_s: float) -> T:
    """Do something with remote storage, again and again while it fails in a way that may pass.

    Args:
        action: Must be harmless to repeat.
        what: Names place and action in the message, such as `s3://bucket/file: cannot read`.
        patience_s: No new attempt is begun after so long; 0 tries once.

    Raises:
        StorageUnavailableError: It failed until then.
        Exception: What cannot pass, as it came.
    """
    retries = Retrying(
        stop=stop_after_delay(patience_s),
        wait=_pause_s,
        retry=retry_if_exception(may_pass),
        reraise=True,
    )
    try:
        return retries(action)
    except Exception as error:
        if not may_pass(error):
            raise
        tries = int(retries.statistics.get("attempt_number", 1))
        raise StorageUnavailableError(
            f"{what}: {' '.join(str(error).split())} (tried {tries} times); check the network and the storage, then "
            "run the same command again: nothing that was finished is lost"
        ) from error


def _pause_s(state: RetryCallState) -> float:
    """Twice as long each time, and never the same on two workers, or all of them would come back at once."""
    longest = min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2.0 ** (state.attempt_number - 1))
    return longest * random.uniform(0.5, 1.0)
