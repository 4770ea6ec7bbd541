"""One tool turns a folder of audio files into its own training format; started by `ingest_peers.py`.

    PYTHON benchmarks/ingest_peers_worker.py JSON

JSON holds `tool` (a key of `_TOOLS`), `first` (a folder of one file), `files` (a folder), `out` (a folder to make),
`core` (the one to run on) and `launched` (the monotonic clock when this process was started). It runs under the tool's
own interpreter, so nothing of ours and no tool is imported before it is needed.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import tarfile
import time
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

RATE_HZ = 16_000


class Tool(NamedTuple):
    """How a tool is used.

    Attributes:
        write: Turns a folder of audio into the folder of its own.
        read: All samples of what was written, utterance by utterance, as integers of 16 bits.
    """

    write: Callable[[Path, Path], None]
    read: Callable[[Path], list[Any]]


def _audio(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _ours(codec: Any) -> Tool:
    """`w2v2-ray prepare --codec CODEC`."""

    def write(files: Path, out: Path) -> None:
        from w2v2_ray.api.datasets import prepare
        from w2v2_ray.data.ingestion.ingest_plan import IngestSettings

        prepare(files, out, settings=IngestSettings(codec=codec), max_rejects=0.0)

    def read(out: Path) -> list[Any]:
        from w2v2_ray.api.datasets import open_dataset

        return [utterance.samples for utterance in open_dataset(out)]

    return Tool(write, read)


def _lhotse(audio_format: Any) -> Tool:
    """Recordings of a folder, as cuts of 16 kHz, to lhotse's Shar: archives of audio with lists beside them."""

    def write(files: Path, out: Path) -> None:
        import lhotse

        pattern = f"*{_audio(files)[0].suffix}"
        recordings = lhotse.RecordingSet.from_dir(files, pattern)
        cuts = lhotse.CutSet.from_manifests(recordings=recordings).resample(RATE_HZ)
        out.mkdir()
        cuts.to_shar(out, fields={"recording": audio_format})

    def read(out: Path) -> list[Any]:
        import soundfile

        found = []
        for path in sorted(out.glob("recording.*.tar")):
            with tarfile.open(path) as archive:
                for member in archive:
                    content = archive.extractfile(member)
                    if content is not None and member.name.endswith(f".{audio_format}"):
                        samples, rate = soundfile.read(BytesIO(content.read()), dtype="int16")
                        assert rate == RATE_HZ, f"{member.name} has {rate} Hz"
                        found.append(samples)
        return found

    return Tool(write, read)


def _datasets() -> Tool:
    """A column of audio files, decoded by `map` to integers of 16 bits, to Hugging Face's Arrow files."""

    def write(files: Path, out: Path) -> None:
        import datasets
        import numpy as np

        datasets.disable_progress_bars()
        listed = datasets.Dataset.from_dict({"audio": [str(path) for path in _audio(files)]})
        listed = listed.cast_column("audio", datasets.Audio(sampling_rate=RATE_HZ))

        def decoded(row: dict[str, Any]) -> dict[str, Any]:
            wide = np.rint(np.asarray(row["audio"]["array"]) * 32_768.0)
            return {"samples": np.clip(wide, -32_768, 32_767).astype(np.int16)}

        features = datasets.Features({"samples": datasets.Sequence(datasets.Value("int16"))})
        cache = out.with_name(f"{out.name}-map.arrow")
        stored = listed.map(decoded, features=features, remove_columns=["audio"], cache_file_name=str(cache))
        stored.save_to_disk(str(out))
        cache.unlink()

    def read(out: Path) -> list[Any]:
        import datasets

        return [row["samples"] for row in datasets.load_from_disk(str(out)).with_format("numpy")]

    return Tool(write, read)


_TOOLS: dict[str, Tool] = {
    "prepare pcm16": _ours("pcm16"),
    "prepare flac": _ours("flac"),
    "lhotse wav": _lhotse("wav"),
    "lhotse flac": _lhotse("flac"),
    "datasets int16": _datasets(),
}


def _processor_s() -> float:
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def _peak_bytes() -> int:
    """Resident memory at its most. Not getrusage's, which starts at what the process had that started this one."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


def main() -> None:
    """Do the job on one file, so that all is imported and compiled, then on all; print figures as one line of JSON."""
    asked = json.loads(sys.argv[1])
    os.sched_setaffinity(0, {asked["core"]})
    tool, files, out = _TOOLS[asked["tool"]], Path(asked["files"]), Path(asked["out"])
    tool.write(Path(asked["first"]), out.with_name(f"{out.name}-first"))
    start_up_s = time.monotonic() - asked["launched"]

    started, processor = time.perf_counter(), _processor_s()
    tool.write(files, out)
    work_s, work_processor_s = time.perf_counter() - started, _processor_s() - processor
    # Before all is read again to see whether it is there.
    peak_bytes = _peak_bytes()

    read = tool.read(out)
    found = {
        "start_up_s": start_up_s,
        "work_s": work_s,
        "processor_s": work_processor_s,
        "peak_bytes": peak_bytes,
        "stored_bytes": sum(path.stat().st_size for path in _audio(out)),
        "utterances": len(read),
        "samples": sum(map(len, read)),
        "power": sum(float((part.astype("float64") ** 2).sum()) for part in read),
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
