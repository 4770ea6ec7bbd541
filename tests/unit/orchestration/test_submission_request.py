"""What is sent to a cluster, and what is refused before anything is sent."""

from __future__ import annotations

from pathlib import Path

import pytest

from w2v2_ray.errors import SpecError, StorageError, UserError
from w2v2_ray.orchestration.submission.paths import relative_paths, uploaded_files
from w2v2_ray.orchestration.submission.request import command_request, job_request, surroundings
from w2v2_ray.orchestration.submission.upload import measure
from w2v2_ray.spec.loading import load_job

SPEC = "kind: pretrain\npreset: tiny\nname: night-run\nstorage_path: {storage}\ndata: {{train: {train}}}\n"
MIB = 2**20


def checkout(folder: Path, storage: str = "runs", train: str = "datasets/a") -> Path:
    """A working directory with one job spec in it; returns the spec."""
    (folder / "jobs").mkdir(parents=True)
    spec = folder / "jobs/x.yaml"
    spec.write_text(SPEC.format(storage=storage, train=train))
    return spec


def request_of(spec: Path, *, root: str | None = "/shared", working_dir: str | None = None, overrides=()):
    place = surroundings(working_dir or str(spec.parent.parent), None, root)
    return job_request(place, spec, load_job(spec, overrides).job, overrides)


def test_only_relative_paths_need_a_shared_folder(tmp_path: Path):
    spec = checkout(tmp_path)
    job = load_job(spec, ["data.validation=s3://bucket/v", "data.cache_dir=cache"]).job
    assert relative_paths(job) == {
        "storage_path": "runs",
        "data.train[0].path": "datasets/a",
        "data.cache_dir": "cache",
    }
    whole = load_job(spec, ["storage_path=/mnt/runs", "data.train=gs://bucket/a"]).job
    assert relative_paths(whole) == {}


def test_files_of_the_upload_that_a_spec_names_become_absolute_and_nothing_else(tmp_path: Path):
    (tmp_path / "base.yaml").write_text("")
    (tmp_path / "vocabularies").mkdir()
    (tmp_path / "vocabularies/v.json").write_text("")
    document = {
        "base": {"file": "base.yaml"},
        "vocabulary": "vocabularies/v.json",
        "name": "base",
        "folder": "vocabularies",
        "elsewhere": "/etc/hostname",
        "updates": 3,
    }
    assert dict(uploaded_files(document, tmp_path)) == {
        "base.file": str(tmp_path / "base.yaml"),
        "vocabulary": str(tmp_path / "vocabularies/v.json"),
    }
    assert list(uploaded_files(["base.yaml"], tmp_path)) == []


def test_a_request_runs_the_spec_of_the_upload_with_its_overrides(tmp_path: Path):
    request = request_of(checkout(tmp_path), overrides=["updates=70"])
    assert request.entrypoint == "python -m w2v2_ray.cli.job_entry train jobs/x.yaml --set updates=70"
    assert request.runtime_env["working_dir"] == str(tmp_path)
    assert request.runtime_env["env_vars"] == {"W2V2_RAY_ROOT": "/shared"}
    assert request.upload.sizes == {"jobs/x.yaml": (tmp_path / "jobs/x.yaml").stat().st_size}


def test_a_run_is_known_by_where_it_is_kept_however_its_path_is_written(tmp_path: Path):
    relative = request_of(checkout(tmp_path / "a"))
    absolute = request_of(checkout(tmp_path / "b", storage="/shared/runs/"))
    other = request_of(checkout(tmp_path / "c", storage="/elsewhere/runs"))
    assert relative.run == absolute.run == "/shared/runs/night-run"
    assert other.run != relative.run


def test_a_submission_id_is_the_same_for_the_same_run_and_attempt_only(tmp_path: Path):
    first, again = request_of(checkout(tmp_path / "a")), request_of(checkout(tmp_path / "b"))
    other = request_of(checkout(tmp_path / "c", storage="/elsewhere/runs"))
    assert first.submission_id(1) == again.submission_id(1)
    assert len({first.submission_id(1), first.submission_id(2), other.submission_id(1)}) == 3
    assert first.submission_id(2).startswith("night-run-")
    assert first.submission_id(2).endswith("-2")


def test_relative_paths_without_a_shared_folder_are_refused_by_field(tmp_path: Path):
    with pytest.raises(SpecError, match=r"storage_path: runs, data\.train\[0\]\.path: datasets/a: relative.*--root"):
        request_of(checkout(tmp_path), root=None)


def test_a_spec_outside_the_working_directory_is_refused(tmp_path: Path):
    (tmp_path / "elsewhere").mkdir()
    with pytest.raises(SpecError, match="outside the working directory"):
        request_of(checkout(tmp_path / "here"), working_dir=str(tmp_path / "elsewhere"))


def test_a_spec_that_is_left_out_of_the_upload_is_refused(tmp_path: Path):
    spec = checkout(tmp_path)
    (tmp_path / ".rayignore").write_text("jobs/\n")
    with pytest.raises(SpecError, match=r"left out of the upload by `excludes`, \.gitignore or \.rayignore"):
        request_of(spec)


def test_the_runtime_environment_of_the_working_directory_counts_and_a_given_root_goes_before_it(tmp_path: Path):
    spec = checkout(tmp_path)
    (tmp_path / "jobs/runtime_env.yaml").write_text(
        "excludes: [/big]\nenv_vars: {W2V2_RAY_ROOT: /from-file, HF_HOME: /h}\n"
    )
    (tmp_path / "big").mkdir()
    (tmp_path / "big/file").write_bytes(b"0" * 1000)
    assert request_of(spec, root=None).run == "/from-file/runs/night-run"
    request = request_of(spec, root="/given")
    assert request.runtime_env["env_vars"] == {"W2V2_RAY_ROOT": "/given", "HF_HOME": "/h"}
    assert set(request.upload.sizes) == {"jobs/x.yaml", "jobs/runtime_env.yaml"}


@pytest.mark.parametrize("content", ["[a, b]", "env_vars: 3", "pip: {packages: 4}", "a: [", "env_vars: {A: 1}"])
def test_a_file_that_is_no_runtime_environment_is_refused(tmp_path: Path, content: str):
    file = tmp_path / "env.yaml"
    file.write_text(content)
    with pytest.raises(UserError, match=r"env\.yaml: not a Ray runtime environment"):
        surroundings(str(tmp_path), file, None)


def test_a_working_directory_in_place_is_not_uploaded_and_must_be_absolute(tmp_path: Path):
    spec = checkout(tmp_path)
    (tmp_path / "big").write_bytes(b"0" * MIB)
    place = surroundings(f"local://{tmp_path}", None, "/shared", max_upload_mib=0.5)
    request = job_request(place, spec, load_job(spec).job, ())
    assert request.runtime_env["working_dir"] == f"local://{tmp_path}"
    assert request.upload.num_bytes == 0
    with pytest.raises(UserError, match="an absolute path is wanted"):
        surroundings("local://here", None, None)


def test_arguments_of_a_command_reach_the_cluster_whole(tmp_path: Path):
    request = command_request(surroundings(str(tmp_path), None, "/shared"), "prepare", ["my files", "--out", "a;b"])
    assert request.entrypoint == "python -m w2v2_ray.cli.job_entry prepare 'my files' --out 'a;b'"
    elsewhere = command_request(surroundings(str(tmp_path), None, "/s2"), "prepare", ["my files", "--out", "a;b"])
    assert elsewhere.run != request.run


def test_too_large_an_upload_is_refused_and_its_biggest_entries_are_named(tmp_path: Path):
    spec = checkout(tmp_path)
    for name, size in {"models/old/w.bin": 3 * MIB, "notes.txt": MIB, "small.txt": 10}.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"0" * size)
    place = surroundings(str(tmp_path), None, "/shared", max_upload_mib=2)
    with pytest.raises(UserError) as refused:
        job_request(place, spec, load_job(spec).job, ())
    message = refused.value.message
    assert "has 4.0 MiB, above the limit of 2 MiB; the biggest: models/old/w.bin 3.0 MiB, notes.txt 1.0 MiB." in message
    assert "small.txt" not in message
    assert "excludes" in message
    assert job_request(surroundings(str(tmp_path), None, "/shared", 5), spec, load_job(spec).job, ()).upload.sizes


def test_a_folder_of_many_files_is_named_as_one(tmp_path: Path):
    for number in range(20):
        (tmp_path / "data").mkdir(exist_ok=True)
        (tmp_path / f"data/{number}").write_bytes(b"0" * 1000)
    (tmp_path / "a").write_bytes(b"0" * 500)
    assert measure(tmp_path, ()).biggest()[0] == ("data/", 20_000)


def test_what_is_excluded_or_ignored_is_not_measured_and_neither_is_sent_by_ray(tmp_path: Path):
    for name in ("keep.py", "runs/a", "sub/runs/b", "x.egg-info/y", ".git/c", "ignored.txt", "scrap/d"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("text")
    (tmp_path / ".gitignore").write_text("ignored.txt\n")
    (tmp_path / ".rayignore").write_text("scrap\n")
    upload = measure(tmp_path, ["/runs", "*.egg-info"])
    assert set(upload.sizes) == {"keep.py", "sub/runs/b", ".gitignore", ".rayignore"}


def test_a_working_directory_that_is_not_there_is_one_error(tmp_path: Path):
    with pytest.raises(StorageError, match="no such folder"):
        measure(tmp_path / "absent", ())
