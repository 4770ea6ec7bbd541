"""Prints a Markdown table of bad audio, datasets and paths, with what each command says and its exit code.

Every row is a real run of the `w2v2-ray` command in a temporary folder.

Usage: python benchmarks/bad_data.py
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import soundfile as sf

RATE = 16_000
JOB = "kind: pretrain\npreset: tiny\nname: bad\ndata: {train: good}\nworker: {cpus: 1}\n"


def run(folder: Path, *arguments: str) -> tuple[int, str]:
    """Exit code and messages of a command."""
    command = [sys.executable, "-c", "from w2v2_ray.cli.app import main; main()", *arguments]
    environment = {**os.environ, "COLUMNS": "400", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, env=environment, check=False)
    # Progress bars share stderr with messages; what was wrong comes last.
    lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
    return done.returncode, lines[-1] if lines else ""


def speech(path: Path, seconds: float = 3.0, rate: int = RATE) -> Path:
    noise = np.random.default_rng(len(path.name)).normal(0, 0.1, int(seconds * rate)).astype(np.float32)
    sf.write(path, noise, rate)
    return path


def bad_files(folder: Path) -> None:
    """One file for every reason to reject."""
    speech(folder / "good.wav")
    whole = speech(folder / "truncated.flac").read_bytes()
    (folder / "truncated.flac").write_bytes(whole[: len(whole) // 2])
    (folder / "empty.wav").write_bytes(b"")
    (folder / "text.wav").write_text("this is not audio")
    sf.write(folder / "nan.wav", np.full(RATE, np.nan, np.float32), RATE, subtype="FLOAT")
    speech(folder / "short.wav", 0.01)
    speech(folder / "long.wav", 61.0)


def reject_reasons(folder: Path) -> None:
    """Print what `rejects.jsonl` says of each file."""
    (folder / "audio").mkdir()
    bad_files(folder / "audio")
    code, _ = run(folder, "prepare", "audio", "--out", "mixed", "--max-rejects", "1")
    for line in (folder / "mixed" / "rejects.jsonl").read_text().splitlines():
        record = json.loads(line)
        reason = record.get("message") or record.get("detail") or record.get("reason")
        print(f"| `prepare` of {Path(record.get('source') or record.get('path')).name} | {code} | {reason} |")


def cases(folder: Path) -> list[tuple[str, list[str], Callable[[], object]]]:
    """What is wrong, the command, and how to make it so. They build on one another."""
    shard = folder / "good" / "shard-00000.arrow"
    job = ["--set", "data.validation=[]"]

    def flip() -> None:
        content = bytearray(shard.read_bytes())
        content[len(content) // 2] ^= 0xFF
        shard.write_bytes(bytes(content))

    def job_file() -> None:
        (folder / "job.yaml").write_text(JOB)

    return [
        ("source that is not there", ["prepare", "nowhere", "--out", "x"], lambda: None),
        ("more rejects than allowed", ["prepare", "audio", "--out", "strict"], lambda: None),
        (
            "malformed manifest line",
            ["prepare", "bad.tsv", "--out", "x"],
            lambda: (folder / "bad.tsv").write_text("audio\ngood.wav\n"),
        ),
        (
            "output folder with other files",
            ["prepare", "audio", "--out", "audio", "--max-rejects", "1"],
            lambda: None,
        ),
        ("dataset that is not there", ["train", "job.yaml", *job], job_file),
        ("folder that is no dataset", ["inspect", "audio"], lambda: None),
        ("utterances all too short", ["train", "short.yaml", *job], lambda: short_job(folder)),
        ("altered shard", ["train", "job.yaml", *job], flip),
        ("truncated shard", ["train", "job.yaml", *job], lambda: os.truncate(shard, 100)),
        ("missing shard", ["inspect", "good"], shard.unlink),
        (
            "run on a URI of no known kind",
            ["train", "job.yaml", *job, "--set", "storage_path=tape://bucket/runs"],
            lambda: None,
        ),
        ("bucket that cannot be read", ["inspect", "s3://bucket/dataset"], lambda: None),
        ("job file that is not there", ["validate", "none.yaml"], lambda: None),
    ]


def short_job(folder: Path) -> None:
    """A job whose shortest crop is longer than all its audio, and the dataset it names."""
    for number in range(4):
        (folder / "wavs").mkdir(exist_ok=True)
        speech(folder / "wavs" / f"{number}.wav", 2.5)
    run(folder, "prepare", "wavs", "--out", "good")
    (folder / "short.yaml").write_text(JOB + "batch: {min_samples: 45000}\n")


def main() -> None:
    os.environ.setdefault("AWS_EC2_METADATA_DISABLED", "true")
    print("| what is wrong | exit code | message |\n| --- | --- | --- |")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        reject_reasons(folder)
        for what, arguments, spoil in cases(folder):
            spoil()
            code, message = run(folder, *arguments)
            print(f"| {what} | {code} | {message.replace(str(folder), '.').replace('|', '/')} |")


if __name__ == "__main__":
    main()
