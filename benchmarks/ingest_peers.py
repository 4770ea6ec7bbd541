"""Hours of audio a minute that `prepare` makes a dataset of, beside lhotse and Hugging Face `datasets`, in one run.

    python -m venv PEERS
    PEERS/bin/pip install 'torch>=2.11,<2.14' lhotse 'datasets<4' 'pandas<3' soundfile librosa kaldiio
    python benchmarks/ingest_peers.py SPEECH --peers PEERS/bin/python [--hours 0.5] [--rounds 5]

SPEECH is a folder of utterances, written anew as WAV and FLAC of 16 kHz and as WAV of 44.1 kHz. Each tool makes its own
training format of a folder of these, 16 kHz mono, 16 bits. Every measurement is a process of its own, on one core, on
files that are in memory; rounds go over all tools, the second one backwards. The clock runs for the work alone: what a
tool imports and compiles for a first file is start-up. What was written is read again, so that nobody is measured on
less. `datasets` from 4 on decodes with torchcodec, which needs FFmpeg's libraries; 3.6 with soundfile and librosa.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import soundfile

from w2v2_ray.audio.reading import load_speech
from w2v2_ray.audio.resampling import resample
from w2v2_ray.audio.samples import SAMPLE_RATE
from w2v2_ray.bench.audio_files import audio_paths, touch_pages
from w2v2_ray.bench.machine import describe_machine
from w2v2_ray.data.corpora.files import list_audio
from w2v2_ray.data.corpora.notes import ListingNotes
from w2v2_ray.reporting.spread import Spread

_WORKER = Path(__file__).with_name("ingest_peers_worker.py")
_PACKAGES = ("lhotse", "datasets", "torch", "numpy", "soundfile", "librosa", "soxr", "pyarrow")
_VERSIONS = f"""
import json
from importlib.metadata import version
print(json.dumps({{name: version(name) for name in {_PACKAGES!r}}}))
"""
_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"), "1")
_RIVALS = {
    "prepare pcm16": None,
    "prepare flac": None,
    "lhotse wav": "prepare pcm16",
    "lhotse flac": "prepare flac",
    "datasets int16": "prepare pcm16",
}
"""Tools, and which of ours stores the same way."""
_INPUTS = {"wav": ("wav", SAMPLE_RATE), "flac": ("flac", SAMPLE_RATE), "wav 44.1 kHz": ("wav", 44_100)}
Found = dict[str, float]


@dataclass(frozen=True)
class Input:
    """A folder of files of one kind, and one of a single file, for the start-up."""

    name: str
    files: Path
    first: Path
    count: int
    samples: int

    @property
    def hours(self) -> float:
        """Of audio."""
        return self.samples / SAMPLE_RATE / 3600


def speech_of(folder: Path, hours: float) -> Iterator[tuple[str, npt.NDArray[np.int16]]]:
    """Utterances of a folder with a name each, from the start again where they do not suffice."""
    paths, wanted, number = list_audio(folder, ListingNotes()), round(hours * 3600 * SAMPLE_RATE), 0
    while wanted > 0:
        path = paths[number % len(paths)]
        samples = load_speech(path)
        yield f"{number:06d}-{path.stem}", samples
        wanted, number = wanted - len(samples), number + 1


def write_input(name: str, root: Path, speech: Sequence[tuple[str, npt.NDArray[np.int16]]]) -> Input:
    """The same utterances as files of one kind."""
    suffix, rate = _INPUTS[name]
    files, first = root / "files", root / "first"
    files.mkdir(parents=True)
    first.mkdir()
    for stem, samples in speech:
        if rate != SAMPLE_RATE:
            wide = resample(samples.astype(np.float32), SAMPLE_RATE, rate)
            samples = np.clip(np.rint(wide), -32_768, 32_767).astype(np.int16)
        soundfile.write(files / f"{stem}.{suffix}", samples, rate, subtype="PCM_16")
    shutil.copy(audio_paths(files)[0], first)
    return Input(name, files, first, len(speech), sum(len(samples) for _, samples in speech))


def measure(tool: str, given: Input, peers: Path, core: int) -> Found:
    """Let one tool work in a process of its own.

    Raises:
        subprocess.CalledProcessError: It failed; what it said is on the terminal.
        SystemExit: It wrote less or more than there is, or something else.
    """
    ours = tool.startswith("prepare")
    environment = {**os.environ, **_ONE_THREAD}
    if not ours:
        environment.pop("PYTHONPATH", None)  # it is for this interpreter
    touch_pages(audio_paths(given.files))
    with tempfile.TemporaryDirectory(dir=given.files.parent) as out:
        asked: dict[str, Any] = {
            "tool": tool, "first": str(given.first), "files": str(given.files), "out": f"{out}/made", "core": core,
            "launched": time.monotonic(),
        }  # fmt: skip
        command = [sys.executable if ours else str(peers), str(_WORKER), json.dumps(asked)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        print(done.stderr, file=sys.stderr)
        done.check_returncode()
    os.sync()  # so that nobody waits for what another has written
    found: Found = json.loads(done.stdout.splitlines()[-1])
    # A resampler may round a length either way.
    if found["utterances"] != given.count or abs(found["samples"] - given.samples) > given.count:
        raise SystemExit(
            f"{tool} wrote {found['utterances']} utterances of {found['samples']} samples in all; "
            f"{given.name} holds {given.count} of {given.samples}"
        )
    return found


def run_rounds(inputs: Sequence[Input], rounds: int, peers: Path, core: int) -> dict[tuple[str, str], list[Found]]:
    """All tools on all inputs, again and again, to and fro."""
    cells = [(given, tool) for given in inputs for tool in _RIVALS]
    found: dict[tuple[str, str], list[Found]] = {(given.name, tool): [] for given, tool in cells}
    for number in range(rounds):
        for given, tool in cells if number % 2 == 0 else reversed(cells):
            figures = measure(tool, given, peers, core)
            found[given.name, tool].append(figures)
            print(f"[{number + 1}/{rounds}] {given.name}, {tool}: {figures['work_s']:.2f} s", file=sys.stderr)
        for given in inputs:
            powers = [found[given.name, tool][-1]["power"] for tool in _RIVALS]
            if max(powers) > 1.02 * min(powers):
                raise SystemExit(f"{given.name}: what the tools wrote is not equally loud: {powers}")
    return found


def _shown(values: Sequence[float], digits: int) -> str:
    spread = Spread.of(values)
    return f"{spread.median:.{digits}f} ({spread.low:.{digits}f} to {spread.high:.{digits}f})"


def print_table(inputs: Sequence[Input], found: dict[tuple[str, str], list[Found]]) -> None:
    """A row for each tool on each input."""
    print(
        "| files | tool | hours a minute | hours a core-minute | `prepare` with the same codec / it | start-up s | "
        "peak MB | stored MB |"
    )
    print("| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    for given in inputs:
        for tool, rival in _RIVALS.items():
            repeats = found[given.name, tool]
            ratio = ""
            if rival is not None:
                both = zip(repeats, found[given.name, rival], strict=True)
                ratio = _shown([theirs["work_s"] / ours["work_s"] for theirs, ours in both], 2)
            minutes = [given.hours * 60 / one["work_s"] for one in repeats]
            core_minutes = [given.hours * 60 / one["processor_s"] for one in repeats]
            start_up, peak, stored = (
                statistics.median(one[key] for one in repeats) for key in ("start_up_s", "peak_bytes", "stored_bytes")
            )
            print(
                f"| {given.name} | {tool} | {_shown(minutes, 1)} | {_shown(core_minutes, 1)} | {ratio} | "
                f"{start_up:.1f} | {peak / 1e6:.0f} | {stored / 1e6:.0f} |"
            )


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("speech", type=Path)
    parser.add_argument("--peers", type=Path, required=True, help="Python with lhotse and datasets.")
    parser.add_argument("--hours", type=float, default=0.5, help="Of audio in each folder.")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--inputs", nargs="+", default=list(_INPUTS), choices=list(_INPUTS))
    parser.add_argument("--core", type=int, default=max(os.sched_getaffinity(0)), help="The core to run on.")
    args = parser.parse_args()
    versions = json.loads(subprocess.run([args.peers, "-c", _VERSIONS], check=True, capture_output=True).stdout)
    machine = describe_machine()
    with tempfile.TemporaryDirectory() as folder:
        speech = list(speech_of(args.speech, args.hours))
        inputs = [write_input(name, Path(folder) / str(at), speech) for at, name in enumerate(args.inputs)]
        found = run_rounds(inputs, args.rounds, args.peers, args.core)
    print(
        f"{inputs[0].count} utterances, {inputs[0].hours:.2f} h; {args.rounds} rounds, median (least to most); one "
        f"core of {machine['cores']}, {machine['cpu']}, load {machine['load_average'][0]}; {machine['time_utc'][:10]}"
    )
    print("peers:", ", ".join(f"{name} {version}" for name, version in versions.items()))
    print("ours:", ", ".join(f"{name} {version}" for name, version in machine["versions"].items()), "\n")
    print_table(inputs, found)


if __name__ == "__main__":
    main()
