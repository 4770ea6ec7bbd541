"""Submitting to Ray's job server, stopping and following: with a stand-in for Ray's client."""

from __future__ import annotations

import http.server
import os
import socket
import threading

import pytest
import requests
from job_client import FakeJobClient, job_details
from ray.exceptions import AuthenticationError
from ray.job_submission import JobStatus

from w2v2_ray.errors import RunFailedError, UserError
from w2v2_ray.orchestration.submission import server as server_module
from w2v2_ray.orchestration.submission.request import JobRequest
from w2v2_ray.orchestration.submission.server import JobServer, exit_status, in_the_open
from w2v2_ray.orchestration.submission.upload import Upload

ADDRESS = "http://127.0.0.1:8265"
RUN = "/shared/runs/x"
LIVE = [JobStatus.PENDING, JobStatus.RUNNING]
ENDED = [JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.STOPPED]


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> FakeJobClient:
    client = FakeJobClient()
    monkeypatch.setattr("ray.job_submission.JobSubmissionClient", client)
    monkeypatch.setattr("w2v2_ray.orchestration.submission.server._try", lambda url: None)
    monkeypatch.setattr(server_module, "_LOOK_INTERVAL_S", 0.0)
    return client


@pytest.fixture
def request_x(tmp_path) -> JobRequest:
    return JobRequest(RUN, "x", "python -m jobs.train x.yaml", {"working_dir": "."}, Upload(tmp_path, {}))


def test_a_first_submission_carries_the_run_it_is_for(client, request_x):
    name = JobServer(ADDRESS).submit(request_x)
    assert name == request_x.submission_id(1)
    assert client.submitted == [
        {
            "entrypoint": "python -m jobs.train x.yaml",
            "submission_id": name,
            "runtime_env": {"working_dir": "."},
            "metadata": {"w2v2_ray_run": RUN, "w2v2_ray_attempt": "1"},
        }
    ]


def test_a_run_whose_jobs_have_ended_is_submitted_as_the_next_attempt(client, request_x):
    client.jobs = [job_details(RUN, attempt, status) for attempt, status in zip((10, 2, 9), ENDED, strict=True)]
    client.jobs.append(job_details("/another/run", 40, JobStatus.RUNNING))
    assert JobServer(ADDRESS).submit(request_x) == request_x.submission_id(11)


@pytest.mark.parametrize("status", LIVE)
def test_a_run_with_a_live_job_is_refused_and_the_job_is_named(client, request_x, status):
    client.jobs = [job_details(RUN, 3, status), job_details(RUN, 4, JobStatus.FAILED)]
    with pytest.raises(UserError, match=r"/shared/runs/x: job job-3 is running this .*--stop"):
        JobServer(ADDRESS).submit(request_x)
    assert client.submitted == []


def test_of_two_who_submit_at_once_the_second_is_told_that_the_run_is_being_run(client, request_x):
    client.refusal = RuntimeError("Job with submission_id x-1 already exists. Please use a different submission_id.")
    with pytest.raises(UserError, match="is running this"):
        JobServer(ADDRESS).submit(request_x)


def test_what_else_the_server_refuses_is_one_line_and_no_mistake_of_the_user(client, request_x):
    client.refusal = RuntimeError("Request failed with status code 500:\n   disk is full" + "x" * 5000)
    with pytest.raises(RunFailedError) as refused:
        JobServer(ADDRESS).submit(request_x)
    assert refused.value.message.startswith(f"{ADDRESS}: Request failed with status code 500: disk is full")
    assert len(refused.value.message) < 700


@pytest.mark.parametrize("address", ["head:8265", "ray://head:10001", "http://", "auto"])
def test_an_address_that_is_no_url_of_a_job_server_is_refused(address):
    with pytest.raises(UserError, match="the URL of Ray's dashboard is wanted"):
        JobServer(address)


@pytest.mark.parametrize(
    "failure", [ConnectionError("Failed to connect"), requests.exceptions.ReadTimeout("slow")], ids=str
)
def test_where_no_job_server_answers_a_tunnel_is_proposed(client, failure):
    client.failure = failure
    with pytest.raises(UserError, match=r"no Ray job server answers there.*ssh -N -L 8265:127\.0\.0\.1:8265"):
        JobServer(ADDRESS)


def test_a_missing_token_is_told_as_that(client):
    client.failure = AuthenticationError("Unauthorized")
    with pytest.raises(UserError, match="wants a token"):
        JobServer(ADDRESS)


def test_the_given_address_counts_whatever_the_environment_says(monkeypatch):
    monkeypatch.setattr(server_module, "_try", lambda url: None)
    seen = {}

    class Client:
        def __init__(self, address):
            seen.update(address=address, variable=os.environ.get("RAY_ADDRESS"))

    monkeypatch.setattr("ray.job_submission.JobSubmissionClient", Client)
    monkeypatch.setenv("RAY_ADDRESS", "http://elsewhere:1")
    JobServer(ADDRESS)
    assert seen == {"address": ADDRESS, "variable": None}
    assert os.environ["RAY_ADDRESS"] == "http://elsewhere:1"


def test_the_live_job_of_a_run_is_found_among_others(client):
    client.jobs = [
        job_details(RUN, 2, JobStatus.RUNNING),
        job_details(RUN, 1, JobStatus.STOPPED),
        job_details("/another/run", 1, JobStatus.RUNNING),
    ]
    server = JobServer(ADDRESS)
    assert server.live_job_of(RUN).submission_id == "job-2"
    assert server.live_job_of("/third/run") is None


def test_stopping_waits_until_the_job_has_ended(client):
    client.statuses = [JobStatus.RUNNING, JobStatus.RUNNING, JobStatus.STOPPED]
    assert JobServer(ADDRESS).stop("x-1") == "STOPPED"
    assert client.stopped == ["x-1"]


def test_logs_are_told_once_even_when_the_connection_breaks_in_the_middle(client):
    client.logs = [
        ["one\n", "tw", OSError("the tunnel broke")],
        ["one\ntwo\nth", RuntimeError("Logs closed")],
        ["one\n", "two\n", "three\n"],
    ]
    client.statuses = [JobStatus.RUNNING, JobStatus.RUNNING, JobStatus.SUCCEEDED]
    told: list[str] = []
    details = JobServer(ADDRESS).follow("x-1", told.append)
    assert "".join(told) == "one\ntwo\nthree\n"
    assert details.status == JobStatus.SUCCEEDED


def test_following_goes_on_while_the_job_waits_to_start(client):
    client.logs = [[], ["started\n"]]
    client.statuses = [JobStatus.PENDING, JobStatus.FAILED]
    client.exit_code = 1
    told: list[str] = []
    assert JobServer(ADDRESS).follow("x-1", told.append).driver_exit_code == 1
    assert told == ["started\n"]


def test_following_ends_when_nobody_reads_any_more(client):
    client.logs = [["one\n", "two\n"]]
    client.statuses = [JobStatus.RUNNING]

    def write(text):
        raise BrokenPipeError("closed")

    with pytest.raises(BrokenPipeError):
        JobServer(ADDRESS).follow("x-1", write)


def test_following_ends_with_one_error_when_the_server_is_gone_for_good(client, monkeypatch):
    server = JobServer(ADDRESS)
    monkeypatch.setattr(server_module, "_SERVER_PATIENCE_S", 0.0)

    def refuse(name):
        raise ConnectionError("refused")

    monkeypatch.setattr(client, "get_job_info", refuse)
    with pytest.raises(UserError, match="no Ray job server answers there"):
        server.follow("x-1", lambda text: None)


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [
        (JobStatus.SUCCEEDED, 0, 0),
        (JobStatus.FAILED, 2, 2),
        (JobStatus.FAILED, 1, 1),
        (JobStatus.FAILED, -9, 1),
        (JobStatus.FAILED, None, 1),
        (JobStatus.STOPPED, None, 1),
    ],
)
def test_the_exit_status_is_the_jobs(status, code, expected):
    assert exit_status(job_details(RUN, 1, status, code)) == expected


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("http://8.8.8.8:8265", True),
        ("https://8.8.8.8:8265", False),
        ("http://127.0.0.1:8265", False),
        ("http://10.1.2.3:8265", False),
        ("http://192.168.1.2:8265", False),
        ("http://head:8265", False),
        ("http://[2606:4700::1]:8265", True),
    ],
)
def test_only_public_addresses_without_encryption_are_in_the_open(address, expected):
    assert in_the_open(address) is expected


@pytest.mark.parametrize("given", ["http://127.0.0.1:99999", "http://[::1", "127.0.0.1:8265", "http://a b", "http://"])
def test_a_malformed_url_is_refused_before_anything_is_asked(given):
    with pytest.raises(UserError, match="the URL of Ray's dashboard is wanted"):
        JobServer(given)


def test_an_empty_address_is_as_good_as_none(client):
    assert JobServer(" ").address == ADDRESS


def test_who_accepts_and_says_nothing_is_not_waited_for(monkeypatch):
    monkeypatch.setattr(server_module, "_ANSWER_S", 0.2)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        with pytest.raises(UserError, match="no Ray job server answers there"):
            JobServer(f"http://127.0.0.1:{silent.getsockname()[1]}")


def test_another_web_server_is_told_from_rays():
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"<html>")

        def log_message(self, *_):
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            with pytest.raises(UserError, match="no Ray job server; give the URL"):
                JobServer(f"http://127.0.0.1:{server.server_port}")
        finally:
            server.shutdown()
            thread.join()
