"""`w2v2-ray submit`: what is printed, where, and the exit status. Ray's client is a stand-in."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from job_client import FakeJobClient, job_details
from ray.job_submission import JobStatus
from typer.testing import CliRunner

from w2v2_ray.cli.app import app
from w2v2_ray.orchestration.submission import server as server_module

ADDRESS = "http://127.0.0.1:8265"
SPEC = "kind: pretrain\npreset: tiny\nname: x\nstorage_path: /shared/runs\ndata: {train: /shared/a}\n"
RUN = "/shared/runs/x"


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> FakeJobClient:
    client = FakeJobClient()
    monkeypatch.setattr("ray.job_submission.JobSubmissionClient", client)
    monkeypatch.setattr("w2v2_ray.orchestration.submission.server._try", lambda url: None)
    monkeypatch.setattr(server_module, "_LOOK_INTERVAL_S", 0.0)
    return client


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    file = tmp_path / "x.yaml"
    file.write_text(SPEC)
    return file


def submit(*arguments: object, folder: Path | None = None):
    where = ["--working-dir", str(folder)] if folder else []
    return CliRunner().invoke(app, ["submit", *map(str, arguments), "--address", ADDRESS, *where])


def assert_refused(result, client: FakeJobClient, text: str) -> None:
    """Exit status 2, one message and nothing sent."""
    assert result.exit_code == 2, result.output
    assert text in " ".join(result.stderr.split())
    assert "Traceback" not in result.output
    assert result.stdout == ""
    assert client.submitted == []


def test_the_submission_id_alone_is_printed_on_stdout(client, spec):
    result = submit(spec, folder=spec.parent)
    assert result.exit_code == 0, result.output
    (sent,) = client.submitted
    assert result.stdout == sent["submission_id"] + "\n"
    assert sent["entrypoint"] == "python -m w2v2_ray.cli.job_entry train x.yaml"
    assert client.address == ADDRESS


def test_overrides_are_checked_here_and_sent(client, spec):
    assert_refused(submit(spec, "--set", "sed=1", folder=spec.parent), client, "sed")
    assert submit(spec, "--set", "seed=1", folder=spec.parent).exit_code == 0
    assert client.submitted[0]["entrypoint"].endswith(" x.yaml --set seed=1")


def test_a_mistake_in_the_spec_ends_here(client, spec):
    spec.write_text(SPEC + "seed: -1\n")
    assert_refused(submit(spec, folder=spec.parent), client, "1 mistake")


def test_a_spec_that_is_not_there_ends_here(client, spec):
    assert_refused(submit(spec.parent / "absent.yaml", folder=spec.parent), client, "absent.yaml")


def test_too_large_an_upload_ends_here(client, spec):
    (spec.parent / "model.bin").write_bytes(b"0" * 2**21)
    result = submit(spec, "--max-upload-mib", 1, folder=spec.parent)
    assert_refused(result, client, "above the limit of 1 MiB; the biggest: model.bin 2.0 MiB")


def test_a_run_that_is_being_run_is_not_submitted_again(client, spec):
    client.jobs = [job_details(RUN, 1, JobStatus.RUNNING)]
    assert_refused(submit(spec, folder=spec.parent), client, "job job-1 is running this")


def test_where_nothing_listens_the_command_ends_with_one_message(spec):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    arguments = ["submit", str(spec), "--working-dir", str(spec.parent), "--address", f"http://127.0.0.1:{port}"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 2
    assert result.stderr.count("error: ") == 1
    assert "no Ray job server answers there" in result.stderr


def test_a_public_address_without_encryption_is_warned_of(client, spec):
    arguments = ["submit", str(spec), "--working-dir", str(spec.parent), "--address", "http://8.8.8.8:8265"]
    assert "runs any code sent to it" in CliRunner().invoke(app, arguments).stderr
    assert "warning" not in submit(spec, folder=spec.parent).stderr


@pytest.mark.parametrize(
    ("status", "code", "expected", "told"),
    [
        (JobStatus.SUCCEEDED, 0, 0, ""),
        (JobStatus.FAILED, 2, 2, "FAILED, exit code 2"),
        (JobStatus.FAILED, 1, 1, "FAILED, exit code 1"),
        (JobStatus.STOPPED, None, 1, "STOPPED"),
    ],
)
def test_follow_shows_the_log_and_ends_with_the_jobs_status(client, spec, status, code, expected, told):
    client.logs = [["update 1\n", "update 2\n"]]
    client.statuses, client.exit_code = [status], code
    result = submit(spec, "--follow", folder=spec.parent)
    assert result.exit_code == expected
    assert result.stdout == "update 1\nupdate 2\n"
    assert told in result.stderr


def test_an_interrupted_follow_says_that_the_job_goes_on(client, spec, monkeypatch):
    def interrupt(name):
        raise KeyboardInterrupt

    monkeypatch.setattr(client, "get_job_info", interrupt)
    result = submit(spec, "--follow", folder=spec.parent)
    assert result.exit_code == 130
    assert "goes on. Follow: ray job logs --follow x-" in result.stderr
    assert client.stopped == []


def test_stop_stops_the_runs_own_job(client, spec):
    client.jobs = [job_details("/other/run", 7, JobStatus.RUNNING), job_details(RUN, 2, JobStatus.RUNNING)]
    client.statuses = [JobStatus.STOPPED]
    result = submit(spec, "--stop", folder=spec.parent)
    assert result.exit_code == 0, result.output
    assert result.stdout == "job-2: STOPPED\n"
    assert client.stopped == ["job-2"]
    assert client.submitted == []


def test_stop_without_a_live_job_is_refused(client, spec):
    client.jobs = [job_details(RUN, 1, JobStatus.STOPPED)]
    assert_refused(submit(spec, "--stop", folder=spec.parent), client, "nothing to stop")
    assert client.stopped == []


def test_other_commands_are_sent_with_their_arguments(client, tmp_path):
    result = CliRunner().invoke(
        app,
        ["submit", "--address", ADDRESS, "--working-dir", str(tmp_path), "prepare", "--", "audio", "--out", "data"],
    )
    assert result.exit_code == 0, result.output
    assert client.submitted[0]["entrypoint"] == "python -m w2v2_ray.cli.job_entry prepare audio --out data"


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["prepare", "--", "audio"], "--out"),
        (["prepare", "--", "audio", "--out", "data", "--nonsense"], "--nonsense"),
        (["prepare", "--set", "a=1", "--", "audio"], "has no spec"),
    ],
)
def test_mistakes_in_the_arguments_of_other_commands_end_here(client, tmp_path, arguments, text):
    where = ["submit", "--address", ADDRESS, "--working-dir", str(tmp_path)]
    assert_refused(CliRunner().invoke(app, [*where, *arguments]), client, text)


def test_a_spec_takes_no_arguments(client, spec):
    where = ["submit", "--address", ADDRESS, "--working-dir", str(spec.parent)]
    result = CliRunner().invoke(app, [*where, str(spec), "--", "seed=1"])
    assert_refused(result, client, "a job spec takes no arguments")
