"""Is what `w2v2-ray unpack` writes read by the tools it is for, and what they write by `prepare`?

    python -m venv PEERS
    PEERS/bin/pip install 'torch>=2.11,<2.14' lhotse 'datasets<4' soundfile librosa kaldiio
    python benchmarks/unpack_peers.py SOURCE --peers PEERS/bin/python

SOURCE is anything that `prepare` takes, with transcripts. A dataset of it is unpacked; lhotse, kaldiio and Hugging Face
`datasets` read the lists, and their ids, texts, speakers, durations and samples are compared with the dataset's. Then
lhotse and `datasets` write that corpus in their own forms, `prepare` makes a dataset of each, and the same is compared
with what the tool itself reads of it. Samples must be equal to the bit. Prints two tables; exits with 1 where one
differs.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from w2v2_ray.api.datasets import open_dataset, prepare, unpack
from w2v2_ray.data.inspection.contents import measure_contents
from w2v2_ray.errors import W2v2RayError

_WORKER = Path(__file__).with_name("unpack_peers_worker.py")
_PACKAGES = ("lhotse", "datasets", "kaldiio", "soundfile", "librosa", "pandas", "torch")
_VERSIONS = f"""
import json
from importlib.metadata import version
print(json.dumps({{name: version(name) for name in {_PACKAGES!r}}}))
"""
_COLUMNS = ("ids", "texts", "speakers", "durations", "samples")
_SAME_DURATION_S = 0.5 / 16_000
Row = dict[str, Any]


def ask(peers: Path, *arguments: str | Path) -> dict[str, Any]:
    """What the worker answers."""
    # The variable is for this interpreter.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [str(peers), *map(str, arguments)]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def rows_of(place: Path) -> list[Row]:
    """The utterances of a dataset of ours, as the worker tells others'."""
    return [
        {
            "id": said.id,
            "text": said.transcript or None,
            "speaker": said.speaker,
            "duration_s": said.duration_s,
            "sha256": hashlib.sha256(said.samples.tobytes()).hexdigest(),
        }
        for said in open_dataset(place)
    ]


def compare(found: list[Row], wanted: list[Row]) -> dict[str, str]:
    """A word for each column: `same`, or how many are not and one of them."""
    by_id = {row["id"]: row for row in found}
    missing = [row["id"] for row in wanted if row["id"] not in by_id]
    verdicts = {"ids": "same"}
    if missing or len(found) != len(wanted):
        verdicts["ids"] = f"{len(found)} of {len(wanted)}, without {missing[:1]}; has {sorted(by_id)[:1]}"
        # By content then, so that one sees what else differs.
        by_id = {row["sha256"]: row for row in found}
    key = "sha256" if missing else "id"
    pairs = [(by_id[row[key]], row) for row in wanted if row[key] in by_id]
    differ: dict[str, list[Any]] = {"texts": [], "speakers": [], "durations": []}
    for one, other in pairs:
        for column, field in (("texts", "text"), ("speakers", "speaker")):
            if one[field] != other[field]:
                differ[column].append((one[field], other[field]))
        if abs(one["duration_s"] - other["duration_s"]) > _SAME_DURATION_S:
            differ["durations"].append((one["duration_s"], other["duration_s"]))
    for column, unlike in differ.items():
        verdicts[column] = f"{len(unlike)} differ, {unlike[0][0]!r} for {unlike[0][1]!r}" if unlike else "same"
    lacking = Counter(row["sha256"] for row in wanted) - Counter(row["sha256"] for row in found)
    verdicts["samples"] = f"{lacking.total()} differ" if lacking else "same"
    return verdicts


def print_row(name: str, result: list[Row] | str, wanted: list[Row]) -> bool:
    """A row of a table; returns whether all is the same."""
    if isinstance(result, str):
        print(f"| {name} | {result} |")
        return False
    verdicts = compare(result, wanted)
    print(f"| {name} | {len(result)} | {' | '.join(verdicts[column] for column in _COLUMNS)} |")
    return set(verdicts.values()) == {"same"}


def prepared(source: Path, place: Path) -> list[Row] | str:
    """What `prepare` makes of a source; or what it says against it."""
    try:
        prepare(source, place, max_rejects=0.0)
    except W2v2RayError as error:
        return f"{type(error).__name__}: {error}"
    return rows_of(place)


def fingerprint_of(rows: list[Row]) -> str:
    """The audio's, as `w2v2-ray inspect` computes it."""
    digests = sorted(bytes.fromhex(row["sha256"]) for row in rows)
    return hashlib.sha256(b"".join(digests)).hexdigest()[:32]


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path)
    parser.add_argument("--peers", type=Path, required=True, help="Python with lhotse, datasets and kaldiio.")
    args = parser.parse_args()
    heading = f"| {' | '.join(_COLUMNS)} |\n| --- | ---: |{' --- |' * len(_COLUMNS)}"
    with tempfile.TemporaryDirectory() as work:
        root = Path(work)
        prepare(args.source, root / "dataset")
        dataset = open_dataset(root / "dataset")
        unpack(dataset, root / "files")
        ours = rows_of(root / "dataset")
        assert fingerprint_of(ours) == measure_contents(dataset).audio_fingerprint
        versions = ask(args.peers, "-c", _VERSIONS)
        print(f"{len(dataset)} utterances, {dataset.hours:.3f} h, audio {fingerprint_of(ours)};", end=" ")
        print(", ".join(f"{name} {version}" for name, version in versions.items()))
        print(f"\n| unpacked, and read by | utterances {heading}")
        read = ask(args.peers, _WORKER, "read", root / "files")
        good = [print_row(name, result, ours) for name, result in read.items()]
        print(f"\n| written by, and prepared | utterances {heading}")
        (root / "theirs").mkdir()
        written = ask(args.peers, _WORKER, "write", root / "files", root / "theirs")
        for number, (name, wanted) in enumerate(written.items()):
            if isinstance(wanted, str):
                good.append(print_row(name, f"was not written: {wanted}", []))
                continue
            source = root / "theirs" / str(number)
            files = sorted(path for path in source.iterdir() if path.name == "cuts.jsonl.gz")
            result = prepared(files[0] if files else source, root / f"dataset-{number}")
            good.append(print_row(name, result, wanted))
    if not all(good):
        sys.exit(1)


if __name__ == "__main__":
    main()
