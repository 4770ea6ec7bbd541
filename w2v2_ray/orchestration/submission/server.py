"""Ray's job server: who runs a run, sending, stopping, following."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from w2v2_ray.errors import RunFailedError, UserError
from w2v2_ray.orchestration.address import wrong_token
from w2v2_ray.orchestration.ray_private.core import UPLOAD_LOGGERS
from w2v2_ray.orchestration.submission.request import JobRequest

RUN_KEY, ATTEMPT_KEY = "w2v2_ray_run", "w2v2_ray_attempt"
"""Metadata by which a run's jobs are found again."""
_ADDRESS_VARIABLES = ("RAY_API_SERVER_ADDRESS", "RAY_ADDRESS")
_CHATTY = (
    "ray.dashboard.modules.dashboard_sdk",
    "ray.dashboard.modules.job.sdk",
    *UPLOAD_LOGGERS,
)
"""Loggers of Ray that tell what we tell in one line."""
DEFAULT_URL = "http://127.0.0.1:8265"
_ANSWER_S = 10.0
_WANTS_TOKEN = (401, 403)
_STOP_PATIENCE_S = 60.0
_SERVER_PATIENCE_S = 120.0
_LOOK_INTERVAL_S = 1.0
_USER_MISTAKE = 2


class JobServer:
    """A cluster's job server.

    Args:
        address: Its URL, such as http://127.0.0.1:8265.

    Raises:
        UserError: When it does not answer, or refuses us.
    """

    def __init__(self, address: str) -> None:
        from ray.job_submission import JobSubmissionClient

        self.address = address = read_url(address)
        _try(address)
        for name in _CHATTY:
            logging.getLogger(name).setLevel(logging.ERROR)
        with self._errors(), _without_address_variables():
            self._client = JobSubmissionClient(address)

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Turn what Ray's client raises into one message."""
        import requests
        from ray.exceptions import AuthenticationError

        try:
            yield
        except (ConnectionError, requests.exceptions.RequestException) as error:
            raise _nobody(self.address) from error
        except AuthenticationError as error:
            raise wrong_token(self.address) from error
        except RuntimeError as error:
            raise RunFailedError(f"{self.address}: {' '.join(str(error).split())[:600]}") from error

    def jobs_of(self, run: str) -> list[Any]:
        """Ray's details of all jobs that were submitted for a run, in the order of their attempts."""
        with self._errors():
            jobs = [job for job in self._client.list_jobs() if (job.metadata or {}).get(RUN_KEY) == run]
        return sorted(jobs, key=lambda job: int(job.metadata.get(ATTEMPT_KEY, 0)))

    def live_job_of(self, run: str) -> Any | None:
        """The job that runs a run now, or waits to."""
        live = [job for job in self.jobs_of(run) if not job.status.is_terminal()]
        return live[-1] if live else None

    def submit(self, request: JobRequest) -> str:
        """Send a request.

        Returns:
            The submission id.

        Raises:
            UserError: When the run is being run.
        """
        jobs = self.jobs_of(request.run)
        for job in jobs:
            if not job.status.is_terminal():
                raise self._is_running(request, job.submission_id, job.status)
        attempt = 1 + max((int(job.metadata.get(ATTEMPT_KEY, 0)) for job in jobs), default=0)
        name = request.submission_id(attempt)
        try:
            with self._errors():
                self._client.submit_job(
                    entrypoint=request.entrypoint,
                    submission_id=name,
                    runtime_env=request.runtime_env,
                    metadata={RUN_KEY: request.run, ATTEMPT_KEY: str(attempt)},
                )
        except RunFailedError as error:
            if "already exists" in error.message:
                raise self._is_running(request, name, "just submitted") from error
            raise
        return name

    def _is_running(self, request: JobRequest, name: str, status: Any) -> UserError:
        return UserError(
            f"{request.run}: job {name} is running this on {self.address} ({status}); follow it with "
            f"`ray job logs --follow {name} --address {self.address}`, stop it with the same command and --stop, or "
            "use another name"
        )

    def stop(self, name: str) -> str:
        """Stop a job and wait until it has ended.

        Returns:
            Its status.
        """
        with self._errors():
            self._client.stop_job(name)
            deadline = time.monotonic() + _STOP_PATIENCE_S
            while not (status := self._client.get_job_status(name)).is_terminal() and time.monotonic() < deadline:
                time.sleep(_LOOK_INTERVAL_S)
        return str(status)

    def follow(self, name: str, write: Callable[[str], None]) -> Any:
        """Pass on what a job prints until it has ended.

        A connection that breaks, a tunnel for one, is opened again, and nothing is told twice.

        Returns:
            Ray's details of the job.

        Raises:
            UserError: When the server does not answer for two minutes.
            OSError: When it cannot be passed on, to a closed pipe for one.
        """
        told = 0
        lost: list[OSError] = []

        async def tail(skip: int) -> None:
            nonlocal told
            async for chunk in self._client.tail_job_logs(name):
                fresh, skip = chunk[skip:], max(0, skip - len(chunk))
                told += len(fresh)
                try:
                    write(fresh)
                except OSError as error:  # not the connection's: no use in opening it again
                    lost.append(error)
                    return

        import aiohttp

        while True:
            with contextlib.suppress(RuntimeError, OSError, aiohttp.ClientError):
                asyncio.run(tail(told))
            if lost:
                raise lost[0]
            details = self._patiently(name)
            if details.status.is_terminal():
                return details
            time.sleep(_LOOK_INTERVAL_S)

    def _patiently(self, name: str) -> Any:
        deadline = time.monotonic() + _SERVER_PATIENCE_S
        while True:
            try:
                with self._errors():
                    return self._client.get_job_info(name)
            except (UserError, RunFailedError):
                if time.monotonic() > deadline:
                    raise
                time.sleep(_LOOK_INTERVAL_S)


def read_url(given: str) -> str:
    """A job server's URL; nothing is the usual one on this machine.

    Raises:
        UserError: When it is none.
    """
    url = given.strip() or DEFAULT_URL
    try:
        parts = urlsplit(url)
        right = parts.scheme in ("http", "https") and parts.hostname and (parts.port is None or parts.port > 0)
    except ValueError:  # of a port out of range, and of half an IPv6 address
        right = False
    if not right or any(c.isspace() for c in url):
        raise UserError(
            f"--address {given}: the URL of Ray's dashboard is wanted, such as {DEFAULT_URL} (HOST:6379, by which "
            "nodes join, is another port)"
        )
    return url


def _try(url: str) -> None:
    """See whether somebody answers: Ray's client would wait for ever for one that accepts and says nothing.

    Raises:
        UserError: When nobody does, or who does is no job server.
    """
    import requests

    try:
        answer = requests.get(f"{url.rstrip('/')}/api/version", timeout=_ANSWER_S)
        # Without a token, which goes to nobody who is not known to be Ray.
        is_ray = answer.status_code in _WANTS_TOKEN or "ray_version" in answer.json()
    except requests.exceptions.JSONDecodeError:
        is_ray = False
    except requests.exceptions.RequestException as error:
        raise _nobody(url) from error
    if not is_ray:
        raise UserError(f"{url}: something answers there, but it is no Ray job server; give the URL of Ray's dashboard")


def _nobody(url: str) -> UserError:
    return UserError(
        f"{url}: no Ray job server answers there; on another machine, open a tunnel first: "
        "ssh -N -L 8265:127.0.0.1:8265 HEAD, then use --address http://127.0.0.1:8265"
    )


def exit_status(details: Any) -> int:
    """What our command would have ended with: 0 done, 2 the user's input was wrong, 1 anything else.

    Args:
        details: Ray's of a job that has ended.
    """
    if str(details.status) == "SUCCEEDED":
        return 0
    return _USER_MISTAKE if details.driver_exit_code == _USER_MISTAKE else 1


def in_the_open(address: str) -> bool:
    """Whether an address sends code and a token unencrypted over a network that is nobody's own.

    Only addresses written as numbers are judged; a name may mean anything.
    """
    parts = urlsplit(address)
    try:
        return parts.scheme == "http" and ipaddress.ip_address(parts.hostname or "").is_global
    except ValueError:
        return False


@contextmanager
def _without_address_variables() -> Iterator[None]:
    """Ray's client would let them override the address that it is given."""
    kept = {name: os.environ.pop(name) for name in _ADDRESS_VARIABLES if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(kept)
