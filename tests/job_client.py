"""A stand-in for the client of Ray's job server: it remembers what it is asked and answers what it is told."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any

from ray.job_submission import JobDetails, JobStatus, JobType

from w2v2_ray.orchestration.submission.server import ATTEMPT_KEY, RUN_KEY

_DONE = (JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.STOPPED)


def job_details(run: str, attempt: int, status: JobStatus, exit_code: int | None = None, message: str = "") -> Any:
    """Ray's own record of a job that we have submitted."""
    return JobDetails(
        type=JobType.SUBMISSION,
        submission_id=f"job-{attempt}",
        status=status,
        entrypoint="python",
        message=message,
        metadata={RUN_KEY: run, ATTEMPT_KEY: str(attempt)},
        driver_exit_code=exit_code,
    )


class FakeJobClient:
    """Takes the place of the class `JobSubmissionClient` and of its instance.

    Attributes:
        jobs: What the server lists.
        logs: What each connection for logs yields before it breaks off or ends; an exception is raised.
        statuses: Of the followed or stopped job, one a question; the last one for ever.
        submitted: Arguments of each submission.
        stopped: Submission ids.
        failure: Raised by every request, when set.
        refusal: Raised by a submission, when set.
    """

    def __init__(self) -> None:
        self.address = ""
        self.jobs: list[Any] = []
        self.logs: list[Sequence[str | Exception]] = []
        self.statuses: list[JobStatus] = [JobStatus.SUCCEEDED]
        self.exit_code: int | None = 0
        self.submitted: list[dict[str, Any]] = []
        self.stopped: list[str] = []
        self.failure: Exception | None = None
        self.refusal: Exception | None = None

    def __call__(self, address: str) -> FakeJobClient:
        """As the class is called."""
        self.address = address
        self._fail()
        return self

    def _fail(self) -> None:
        if self.failure is not None:
            raise self.failure

    def list_jobs(self) -> list[Any]:
        self._fail()
        return self.jobs

    def submit_job(self, **request: Any) -> str:
        if self.refusal is not None:
            raise self.refusal
        self.submitted.append(request)
        return str(request["submission_id"])

    def stop_job(self, name: str) -> bool:
        self.stopped.append(name)
        return True

    def get_job_status(self, name: str) -> JobStatus:
        return self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0]

    def get_job_info(self, name: str) -> Any:
        status = self.get_job_status(name)
        return job_details("run", 1, status, self.exit_code if status in _DONE else None)

    async def tail_job_logs(self, name: str) -> AsyncIterator[str]:
        for chunk in self.logs.pop(0) if self.logs else ():
            if isinstance(chunk, Exception):
                raise chunk
            yield chunk
