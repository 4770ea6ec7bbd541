"""Cut a recording of hours at its pauses: how fast, in how much memory, and what becomes of the speech.

    python benchmarks/segmentation.py SPEECH [--hours 1] [--detectors silero energy fixed] [--format wav]

SPEECH is a folder of short utterances. They are put one after the other into one recording with room noise all through,
pauses of 0.2 to 3 s between them and, now and then, 5 to 20 s of music; so it is known where speech is. `fixed` cuts
every 30 s and is what one does without a detector. Each runs in a process of its own; prints a table.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile

from w2v2_ray.audio.reading import load_speech
from w2v2_ray.audio.samples import SAMPLE_RATE
from w2v2_ray.data.corpora.files import list_audio
from w2v2_ray.data.corpora.notes import ListingNotes

Block = npt.NDArray[np.float64]
_NOISE, _MUSIC = 20.0, 1_500.0
_CHILD = """
import json, sys, time
from pathlib import Path
import numpy as np
from w2v2_ray.data.segmentation.detectors import make_detector
from w2v2_ray.data.piece_settings import PieceSettings
from w2v2_ray.data.segmentation.pieces import Piece, cut
from w2v2_ray.audio.speech_file import open_speech
import torch
torch.set_num_threads(1)
name, path = sys.argv[1:3]
detector = None if name == "fixed" else make_detector(name)
clock, processor = time.perf_counter(), time.process_time()
with open_speech(path) as file:
    samples = file.num_samples
    if detector is None:
        step = 30 * 16_000
        pieces = [Piece(start, min(start + step, samples)) for start in range(0, samples, step)]
    else:
        pieces = list(cut(np.concatenate([*detector.scores(file)]), samples, PieceSettings()).pieces)
print(json.dumps({
    "clock_s": time.perf_counter() - clock,
    "processor_s": time.process_time() - processor,
    # Not ru_maxrss, which begins with what the parent process had.
    "peak_mb": int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]) / 1024,
    "pieces": [[piece.start, piece.stop] for piece in pieces],
}))
"""


def write_recording(path: Path, utterances: list[npt.NDArray[np.int16]], hours: float) -> list[tuple[int, int]]:
    """Write it piece by piece; returns where each utterance is, in samples."""
    rng = np.random.default_rng(0)
    wanted, place = round(hours * 3600 * SAMPLE_RATE), 0
    spans: list[tuple[int, int]] = []
    with soundfile.SoundFile(path, "w", SAMPLE_RATE, 1, "PCM_16") as file:
        for number in _endless(len(utterances), rng):
            music = _music(rng) if rng.random() < 0.05 else np.zeros(0)
            pause = np.zeros(round(rng.uniform(0.2, 3.0) * SAMPLE_RATE))
            said = utterances[number].astype(np.float64)
            sound = np.concatenate([music, pause, said])
            sound += rng.normal(0, _NOISE, len(sound))
            file.write(np.clip(np.rint(sound), -32_768, 32_767).astype(np.int16))
            spans.append((place + len(music) + len(pause), place + len(sound)))
            place += len(sound)
            if place >= wanted:
                return spans
    raise AssertionError("the numbers do not end")


def _endless(count: int, rng: np.random.Generator) -> Iterator[int]:
    while True:
        yield from rng.permutation(count).tolist()


def _music(rng: np.random.Generator) -> Block:
    """Chords of half a second with three overtones each."""
    chords = []
    for _ in range(round(rng.uniform(10, 40))):
        times = np.arange(SAMPLE_RATE // 2) / SAMPLE_RATE
        notes = 220 * 2 ** (rng.integers(0, 24, 3) / 12)
        tones = [np.sin(2 * np.pi * note * k * times) / k for note in notes for k in (1, 2, 3)]
        chords.append(_MUSIC * np.sum(tones, axis=0) * np.exp(-2 * times))
    return np.concatenate(chords)


def judge(pieces: list[list[int]], spans: list[tuple[int, int]], samples: int) -> dict[str, float]:
    """What is kept of the utterances and of the rest, and how many pieces begin or end within an utterance."""
    inside = np.zeros(samples, bool)
    for start, stop in spans:
        inside[start:stop] = True
    kept = np.zeros(samples, bool)
    for start, stop in pieces:
        kept[start:stop] = True
    # An utterance's own first and last 0.3 s are mostly silence.
    margin = round(0.3 * SAMPLE_RATE)
    ends = np.sort(np.array([place for piece in pieces for place in piece]))
    cut = sum(
        bool(np.searchsorted(ends, stop - margin) - np.searchsorted(ends, start + margin)) for start, stop in spans
    )
    return {
        "speech_kept": float(kept[inside].mean()),
        "other_kept": float(kept[~inside].mean()),
        "utterances_cut": cut / len(spans),
        "piece_s": float(np.mean([stop - start for start, stop in pieces])) / SAMPLE_RATE,
    }


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("speech", type=Path)
    parser.add_argument("--hours", type=float, default=1.0)
    parser.add_argument("--detectors", nargs="+", default=["silero", "energy", "fixed"])
    parser.add_argument("--format", default="wav", choices=["wav", "flac"])
    args = parser.parse_args()
    utterances = [load_speech(path) for path in list_audio(args.speech, ListingNotes())]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"recording.{args.format}"
        spans = write_recording(path, utterances, args.hours)
        samples = soundfile.info(path).frames
        print(f"{samples / SAMPLE_RATE / 3600:.2f} h, {len(spans)} utterances, {path.suffix}\n")
        print(
            "| detector | clock s | processor s | x real time | peak MB | pieces | mean s | speech kept | other kept |"
        )
        print("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
        cuts = {}
        for name in args.detectors:
            command = [sys.executable, "-c", _CHILD, name, str(path)]
            output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
            found = json.loads(output.splitlines()[-1])
            judged = judge(found["pieces"], spans, samples)
            cuts[name] = judged["utterances_cut"]
            speed = samples / SAMPLE_RATE / found["processor_s"]
            print(
                f"| {name} | {found['clock_s']:.1f} | {found['processor_s']:.1f} | {speed:.0f} | "
                f"{found['peak_mb']:.0f} | {len(found['pieces'])} | {judged['piece_s']:.1f} | "
                f"{judged['speech_kept']:.1%} | {judged['other_kept']:.1%} |"
            )
        print("\nutterances cut within:", ", ".join(f"{name} {share:.1%}" for name, share in cuts.items()))


if __name__ == "__main__":
    main()
