"""A sweep's folder: what it was asked, its points, its measurements, its report."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from w2v2_ray.errors import StorageError
from w2v2_ray.places.durable import write_text
from w2v2_ray.spec.job import TrainJob
from w2v2_ray.spec.loading import dump_job
from w2v2_ray.spec.sweep_loading import LoadedSweep
from w2v2_ray.tune.measurement import Measurements
from w2v2_ray.tune.points import Point, Rejected


@dataclass(frozen=True)
class KeptPoint:
    """A point as its file tells it: what a trial measures and a report names.

    Attributes:
        key: Identity of what is measured.
        label: What tables call it.
        values: Dotted path to value, of what varies.
        trial_job: The job as it is measured, local paths absolute.
        job: The job as it would be trained.
        place: In the order of the space.
    """

    key: str
    label: str
    values: dict[str, Any]
    trial_job: dict[str, Any]
    job: dict[str, Any]
    place: int


class SweepFolder:
    """Paths and small files of one sweep.

    Args:
        path: `<storage_path>/<name>`, on a file system that every node sees.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    @property
    def spec(self) -> Path:
        """The resolved sweep."""
        return self.path / "sweep.yaml"

    @property
    def tune(self) -> Path:
        """Ray Tune's experiment, with TensorBoard files of every trial."""
        return self.path / "tune"

    @property
    def rejected(self) -> Path:
        """Points that no trial was spent on, one JSON object a line."""
        return self.path / "rejected.jsonl"

    @property
    def runs(self) -> Path:
        """Training runs of the mode `quality`."""
        return self.path / "runs"

    @property
    def logs(self) -> Path:
        """What the trials printed."""
        return self.path / "logs"

    @property
    def measurements(self) -> Measurements:
        """What the trials gave."""
        return Measurements(self.path / "measurements")

    def create(self) -> None:
        """Make the folder.

        Raises:
            StorageError: When it cannot be made.
        """
        try:
            for folder in (self.path, self.path / "points", self.logs):
                folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(
                f"{self.path}: cannot create the sweep's folder ({error.strerror}); set storage_path to a folder that "
                "you may write"
            ) from error

    def claim(self, loaded: LoadedSweep) -> bool:
        """Keep what is asked, or see that it is what was asked before.

        Returns:
            Whether the sweep was begun before.

        Raises:
            StorageError: The folder holds another sweep.
        """
        wanted = _question(loaded)
        path = self.path / "question.json"
        if path.exists():
            before = json.loads(path.read_text(encoding="utf-8"))
            changed = [name for name in wanted if before.get(name) != wanted[name]]
            if changed:
                raise StorageError(
                    f"{self.path}: this sweep was begun with another {' and '.join(changed)}; give it another name "
                    "(--set name=...), or delete the folder to start over"
                )
            return True
        write_text(self.spec, dump_job(loaded.sweep))
        write_text(path, json.dumps(wanted, indent=1) + "\n")
        return False

    def keep_point(self, point: Point, trial_job: TrainJob, place: int) -> None:
        """Write a point where its trials find it; one that is there stays."""
        if (self.path / "points" / f"{point.key}.json").exists():
            return
        document = KeptPoint(point.key, point.label, point.values, _plain(trial_job), _plain(point.job), place)
        write_text(self.path / "points" / f"{point.key}.json", json.dumps(asdict(document), indent=1) + "\n")

    def point(self, key: str) -> KeptPoint:
        """A point that was kept."""
        return KeptPoint(**json.loads((self.path / "points" / f"{key}.json").read_text(encoding="utf-8")))

    def points(self) -> dict[str, KeptPoint]:
        """All points that were kept, by key, in the order of the space."""
        found = [self.point(path.stem) for path in (self.path / "points").glob("*.json")]
        return {point.key: point for point in sorted(found, key=lambda point: point.place)}

    def keep_baseline(self, key: str) -> None:
        """Write which point everything is compared with."""
        write_text(self.path / "baseline", key + "\n")

    def baseline(self) -> str:
        """Key of the point that everything is compared with."""
        return (self.path / "baseline").read_text(encoding="utf-8").strip()

    def keep_rejected(self, rejected: Iterable[Rejected]) -> None:
        """Write what was left out and why."""
        lines = [json.dumps({"label": e.label, "values": e.values, "reason": e.reason}) for e in rejected]
        write_text(self.rejected, "".join(line + "\n" for line in lines))

    def read_rejected(self) -> list[Rejected]:
        """What was left out and why."""
        if not self.rejected.exists():
            return []
        return [Rejected(**json.loads(line)) for line in self.rejected.read_text(encoding="utf-8").splitlines()]


def _plain(job: TrainJob) -> dict[str, Any]:
    return {"kind": job.kind, **job.model_dump(mode="json")}


def _question(loaded: LoadedSweep) -> dict[str, Any]:
    """What the measurements depend on, by the name of the sweep's field."""
    sweep = loaded.sweep.model_dump(mode="json", exclude={"name", "storage_path", "concurrency", "repeats", "base"})
    sweep["space"] = {path: parameter.model_dump(mode="json") for path, parameter in loaded.parameters.items()}
    document: dict[str, Any] = json.loads(json.dumps({**sweep, "base": _plain(loaded.base.job)}))
    return document
