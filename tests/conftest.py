"""Fixtures shared by every test."""

from __future__ import annotations

import os
import sys
import uuid
from collections.abc import Callable, Iterator
from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from engine_worlds import Worlds
    from object_store import FaultyProxy

    from w2v2_ray.spec.finetune import FinetuneJob
    from w2v2_ray.spec.job import PretrainJob

# A deadline for an example is a timing assertion: it fails on a busy machine.
settings.register_profile("w2v2-ray", deadline=None)
settings.load_profile("w2v2-ray")

# Ray starts its workers at niceness 15. Beside another process that tests, they would wait for it to end.
os.environ.setdefault("RAY_worker_niceness", "0")

_SHARED = Path(__file__).resolve().parents[2] / "shared"

TINY_JOB: dict[str, Any] = {
    "kind": "pretrain",
    "name": "run",
    "model": {
        "feature_encoder": {
            "conv_layers": [[16, 10, 5], [16, 3, 2], [16, 3, 2], [16, 3, 2], [16, 3, 2], [16, 2, 2], [16, 2, 2]]
        },
        "encoder": {
            "layers": 3,
            "dim": 32,
            "ffn_dim": 48,
            "heads": 2,
            "position_kernel": 8,
            "position_groups": 4,
            "hourglass": {"pre_layers": 1, "middle_layers": 1, "post_layers": 1, "shorten_factor": 2},
            "layer_drop": 0.3,
        },
        "quantizer": {"entries": 8, "temperature_decay": 0.9},
        "masking": {"length_frames": 4},
        "final_dim": 16,
    },
    "loss": {"negatives": 5},
    "batch": {
        "max_tokens": 40_000,
        "size_multiple": 1,
        "sub_batches_per_update": 5,
        "concat": 1,
        "min_samples": 5_600,
        "max_samples": 14_000,
    },
    "optim": {"lr": 1e-3, "schedule": {"policy": "poly", "warmup_updates": 2}},
    "updates": 6,
    "engine": {"precision": "fp32", "threads": 1},
    "validation": {"every_updates": 3},
    "checkpoint": {
        "every_updates": 2,
        "keep_last": 2,
        "milestone_updates": None,
        "keep_best": False,
        "snapshot_updates": None,
    },
    "logging": {"tensorboard": False, "trace_samples": True},
}
"""A pre-training job of milliseconds an update; five micro-batches, so that neither 2 nor 3 workers divide them."""


def _starts_ray(path: Path) -> bool:
    return "pytest.mark.ray" in path.read_text(encoding="utf-8")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes longest begins first, so that two processes end at about the same time."""
    starting = {path: _starts_ray(path) for path in {item.path for item in items}}
    items.sort(key=lambda item: not starting[item.path])


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """With `pytest -n 2`, one process runs every file that starts Ray, one after the other: clusters side by side would
    count the same processors twice. The other process takes the other files meanwhile.
    """
    from xdist.scheduler import LoadScopeScheduling

    class Scheduling(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.partition("::")[0]
            return "with Ray" if _starts_ray(config.rootpath / file) else file

    return Scheduling(config, log)


@pytest.fixture(autouse=True)
def leaves_no_process_group() -> Iterator[None]:
    """A process group that a test leaves behind changes what the tests after it find."""
    yield
    distributed = sys.modules.get("torch.distributed")
    if distributed is not None and distributed.is_available() and distributed.is_initialized():
        distributed.destroy_process_group()  # so that the others do not fail of it, too
        pytest.fail("this test left a torch.distributed process group behind")


def _change(document: dict[str, Any], changes: dict[str, Any]) -> None:
    """Set fields by dotted path."""
    for path, value in changes.items():
        *parents, last = path.split(".")
        place = document
        for parent in parents:
            place = place.setdefault(parent, {})
        place[last] = value


TinyJob = Callable[..., "PretrainJob"]


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """The folder of reference material beside the checkout, where there is one."""
    if not (_SHARED / "golden").is_dir():
        pytest.skip("../shared (golden files and AN4) is not beside this checkout")
    return _SHARED


def _tones(folder: Path, utterances: int, seed: int, *, labelled: bool = False) -> Path:
    """A dataset of noisy tones, 0.3 to 1.2 s long; the two shortest are below `TINY_JOB`'s min_samples."""
    import numpy as np
    import soundfile

    from w2v2_ray.data.ingestion.ingest_plan import IngestSettings
    from w2v2_ray.orchestration.ingest import prepare_dataset

    rng = np.random.default_rng(seed)
    source = folder / "source"
    source.mkdir()
    for number in range(utterances):
        num_samples = 4_800 + 400 * number
        tone = np.sin(np.arange(num_samples) * rng.uniform(0.02, 0.5))
        samples = 6_000 * tone + rng.normal(0, 1_500, num_samples)
        soundfile.write(source / f"{number:02d}.wav", samples.astype(np.int16), 16_000)
        if labelled:
            words = ["".join(rng.choice(list("abc"), 2)) for _ in range(1 + number // 12)]
            (source / f"{number:02d}.txt").write_text(" ".join(words))
    prepare_dataset(source, folder / "dataset", settings=IngestSettings(target_shard_bytes=200_000))
    return folder / "dataset"


@pytest.fixture(scope="session")
def tiny_dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """36 utterances of noise and tones in several shards, 34 of them long enough; made without Ray. Do not alter it."""
    return _tones(tmp_path_factory.mktemp("tones"), 36, 1)


@pytest.fixture(scope="session")
def tiny_validation(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """12 other utterances."""
    return _tones(tmp_path_factory.mktemp("held-out"), 12, 2)


@pytest.fixture(scope="session")
def labelled_dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """36 utterances of tones with transcripts of one to three words over A, B, C. Do not alter it."""
    return _tones(tmp_path_factory.mktemp("labelled"), 36, 3, labelled=True)


@pytest.fixture
def finetune_job(labelled_dataset: Path, tmp_path: Path) -> Callable[..., FinetuneJob]:
    """`finetune_job({"optim.lr": 1e-2}, updates=3)`: a fine-tuning job from random weights, for runs under tmp_path."""
    from w2v2_ray.spec.finetune import FinetuneJob

    def make(nested: dict[str, Any] | None = None, **changes: Any) -> FinetuneJob:
        shared = {name: TINY_JOB[name] for name in ("name", "optim", "updates", "engine", "checkpoint", "logging")}
        document = deepcopy(shared) | {"storage_path": str(tmp_path), "model": deepcopy(TINY_JOB["model"])}
        document["data"] = {"train": str(labelled_dataset), "validation": str(labelled_dataset)}
        document["batch"] = {
            "max_tokens": 60_000,
            "size_multiple": 1,
            "sub_batches_per_update": 5,
            "max_samples": 20_000,
        }
        document["validation"] = {"every_updates": 3}
        document["masking"] = {"length_frames": 4, "channel_length": 8}
        document["regularisation"] = {"layer_drop": 0.3, "dropout": 0.1}
        _change(document, {**(nested or {}), **changes})
        return FinetuneJob.model_validate(document)

    return make


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    """The endpoint of a store that speaks S3."""
    from object_store import object_store

    with object_store() as endpoint:
        yield endpoint


@pytest.fixture
def s3(s3_server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URI of an empty bucket; the environment leads to it, and working folders are below `tmp_path`."""
    from object_store import CREDENTIALS, make_bucket

    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_server)
    monkeypatch.setenv("W2V2_RAY_WORK_DIR", str(tmp_path / "work"))
    bucket = f"bucket-{uuid.uuid4().hex[:12]}"
    make_bucket(s3_server, bucket)
    return f"s3://{bucket}"


@pytest.fixture
def flaky(s3: str, s3_server: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyProxy]:
    """A proxy that the environment leads to instead; `flaky.fault` says what it does to requests."""
    from object_store import FaultyProxy

    proxy = FaultyProxy(s3_server)
    monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
    yield proxy
    proxy.close()


@pytest.fixture(scope="session")
def make_tiny_job(tiny_dataset: Path, tiny_validation: Path) -> TinyJob:
    """`make_tiny_job(storage, {"optim.lr": 1e-2}, updates=3)` makes a job of `TINY_JOB` with changes."""
    from w2v2_ray.spec.job import PretrainJob

    def make(storage: Path, nested: dict[str, Any] | None = None, **changes: Any) -> PretrainJob:
        document = deepcopy(TINY_JOB) | {"storage_path": str(storage)}
        document["data"] = {"train": str(tiny_dataset), "validation": str(tiny_validation)}
        _change(document, {**(nested or {}), **changes})
        return PretrainJob.model_validate(document)

    return make


@pytest.fixture
def tiny_job(make_tiny_job: TinyJob, tmp_path: Path) -> TinyJob:
    """`tiny_job({"optim.lr": 1e-2}, updates=3)`: the same, for runs under `tmp_path`."""
    return partial(make_tiny_job, tmp_path)


@pytest.fixture(scope="session")
def worlds(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worlds]:
    """`worlds[2].run(function, ...)` calls a function on two ranks."""
    from engine_worlds import Worlds

    worlds = Worlds(tmp_path_factory.mktemp("worlds"))
    for size in (3, 2, 1):
        worlds[size]  # Start all at once: importing DeepSpeed takes seconds.
    yield worlds
    worlds.close()
