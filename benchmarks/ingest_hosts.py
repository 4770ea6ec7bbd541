"""Ingest from a store to a store over hosts that share no disk: one host, two, and two of which one is lost midway.

    python benchmarks/ingest_hosts.py SOURCE --minutes 60        (as root: network namespaces; needs moto[server])

The hosts are network namespaces of one processor each, Ray's nodes run in them, and the store that speaks S3 runs
beside them. SOURCE's audio is put there as MP3 at 44.1 kHz: few bytes, and work for the hosts. The fingerprint must be
the same each time; exits with 1 where it is not.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
import soundfile
from network_hosts import COORDINATOR, Hosts

from w2v2_ray.audio.reading import load_speech
from w2v2_ray.audio.resampling import resample
from w2v2_ray.audio.samples import SAMPLE_RATE
from w2v2_ray.data.corpora.files import list_audio
from w2v2_ray.data.corpora.notes import ListingNotes
from w2v2_ray.places.storage import locate

_STORE_PORT, _RAY_PORT = 6398, 6399
_RATE_HZ = 44_100
_STORE = (
    "import logging, sys, time\n"
    "from moto.server import ThreadedMotoServer\n"
    "logging.getLogger('werkzeug').setLevel(logging.ERROR)\n"
    f"ThreadedMotoServer(ip_address='{COORDINATOR}', port={_STORE_PORT}, verbose=False).start()\n"
    "time.sleep(1e9)\n"
)
_ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_ENDPOINT_URL": f"http://{COORDINATOR}:{_STORE_PORT}",
    "RAY_AUTH_MODE": "disabled",
    "RAY_worker_niceness": "0",
    "OMP_NUM_THREADS": "1",
}
_RAY = ("-m", "ray.scripts.scripts", "start", "--disable-usage-stats")


@dataclass(frozen=True)
class Outcome:
    """What an ingest gave."""

    label: str
    hours: float
    wall_s: float
    fingerprint: str


def fill_store(source: Path, minutes: float) -> None:
    """Put audio into the store."""
    import urllib.request

    urllib.request.urlopen(
        urllib.request.Request(f"{_ENVIRONMENT['AWS_ENDPOINT_URL']}/speech", method="PUT"), timeout=60
    ).close()
    place = locate("s3://speech/source")
    left = minutes * 60
    with tempfile.TemporaryDirectory() as folder:
        for number, path in enumerate(list_audio(source, ListingNotes())):
            speech = np.divide(load_speech(path), 32_768, dtype=np.float32)
            soundfile.write(f"{folder}/a.mp3", resample(speech, SAMPLE_RATE, _RATE_HZ), _RATE_HZ)
            (place / f"{number:05d}.mp3").write_bytes(Path(f"{folder}/a.mp3").read_bytes())
            left -= len(speech) / SAMPLE_RATE
            if left < 0:
                return


@contextlib.contextmanager
def ray_over(hosts: Hosts, count: int, folder: Path) -> Iterator[None]:
    """Ray with a head beside the hosts, which has no processor to give, and a node of one on the first of them."""
    head = ["--head", f"--node-ip-address={COORDINATOR}", f"--port={_RAY_PORT}", "--num-cpus=0"]
    command = [sys.executable, *_RAY, *head, "--include-dashboard=false", f"--temp-dir={folder}/ray"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    for number in range(count):
        address = f"--node-ip-address=10.77.0.{11 + number}"
        options = [address, f"--address={COORDINATOR}:{_RAY_PORT}", "--num-cpus=1"]
        if hosts.start(number, *_RAY, *options, log=folder / f"host-{number}.log").wait():
            raise SystemExit((folder / f"host-{number}.log").read_text())
    try:
        yield
    finally:
        for number in range(count):
            lose(number)
        # `ray stop` would end every Ray of this machine.
        for process in psutil.process_iter(["cmdline"]):
            if f"{folder}/ray" in " ".join(process.info["cmdline"] or ()):
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
        time.sleep(2)


def lose(host: int) -> None:
    """SIGKILL for all that runs on a host."""
    names = subprocess.run(["ip", "netns", "pids", f"w2v2-{host + 1}"], check=True, capture_output=True, text=True)
    for number in names.stdout.split():
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(number), signal.SIGKILL)


def prepare(label: str, jobs: int, shard_mb: float, lost: int | None = None) -> Outcome:
    """Run the command; lose a host once a quarter of the shards is there."""
    out = f"s3://speech/{label.replace(' ', '-')}"
    words = ["prepare", "s3://speech/source", "--out", out, "--jobs", str(jobs), "--shard-mb", str(shard_mb)]
    program = "from w2v2_ray.cli.app import main; main()"
    environment = {**os.environ, "RAY_ADDRESS": f"{COORDINATOR}:{_RAY_PORT}"}
    began = time.monotonic()
    with subprocess.Popen([sys.executable, "-c", program, *words], env=environment, stderr=subprocess.DEVNULL) as run:
        while run.poll() is None:
            shards = sum(name.startswith("shard-") for name in locate(out).names())
            if lost is not None and shards >= 3:
                lose(lost)
                lost = None
            time.sleep(0.2)
    if run.returncode:
        raise SystemExit(f"{label}: exit {run.returncode}")
    wall_s = time.monotonic() - began
    manifest = json.loads((locate(out) / "dataset.json").read_bytes())
    return Outcome(label, manifest["totals"]["samples"] / SAMPLE_RATE / 3600, wall_s, manifest["fingerprint"])


def measure(hosts: Hosts, shard_mb: float, folder: Path) -> list[Outcome]:
    """One host, two, and two of which one is lost; each with a new Ray."""
    outcomes = []
    for label, count, lost in (("one host", 1, None), ("two hosts", 2, None), ("one of two lost", 2, 1)):
        with ray_over(hosts, count, folder):
            outcomes.append(prepare(label, count, shard_mb, lost))
    return outcomes


def main() -> None:
    """Measure and compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="a folder of audio")
    parser.add_argument("--minutes", type=float, default=60, help="of audio")
    parser.add_argument("--shard-mb", type=float, default=4, help="as of prepare")
    args = parser.parse_args()
    os.environ.update(_ENVIRONMENT)
    hosts = Hosts(2)
    with tempfile.TemporaryDirectory() as folder:
        store = subprocess.Popen([sys.executable, "-c", _STORE])
        try:
            _wait_for_store()
            fill_store(args.source, args.minutes)
            outcomes = measure(hosts, args.shard_mb, Path(folder))
        finally:
            store.kill()
            hosts.close()
    print(f"\n{psutil.cpu_count()} processors; {outcomes[0].hours:.2f} h of MP3 at 44.1 kHz\n")
    print("| hosts | seconds | hours a minute | fingerprint |\n| --- | ---: | ---: | --- |")
    for found in outcomes:
        print(f"| {found.label} | {found.wall_s:.1f} | {found.hours / found.wall_s * 60:.1f} | {found.fingerprint} |")
    if len({found.fingerprint for found in outcomes}) > 1:
        raise SystemExit("the fingerprints differ")


def _wait_for_store() -> None:
    import socket

    for _ in range(300):
        with contextlib.suppress(OSError):
            socket.create_connection((COORDINATOR, _STORE_PORT), 1).close()
            return
        time.sleep(0.2)
    raise SystemExit("the store does not answer")


if __name__ == "__main__":
    main()
