"""Transcribe 30 minutes in bounded memory: synthesised utterances in one file, against the same utterances alone.

    python benchmarks/long_transcription.py RUN CORPUS [--minutes 30]

RUN is a fine-tuned model, CORPUS what `w2v2-ray synth` made. Prints peak memory for files of several lengths, the
real-time factor, and the word error rate of the long file beside that of its utterances one by one.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import jiwer
import numpy as np
import soundfile

_CHILD = """
import json, resource, sys, time
from pathlib import Path
from w2v2_ray.recognition.greedy import GreedyDecoder
from w2v2_ray.data.listening.inputs import find_sources
from w2v2_ray.recognition.recogniser import load_recogniser
from w2v2_ray.recognition.transcription import transcribe
recogniser = load_recogniser(Path(sys.argv[1]), best=True)
started = time.perf_counter()
sources = find_sources([Path(p) for p in sys.argv[2:]]).sources
results = list(transcribe(sources, recogniser, GreedyDecoder(recogniser.vocabulary)))
print(json.dumps({
    "seconds": time.perf_counter() - started,
    "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    "texts": [r.hypothesis.text for r in results],
}))
"""


def transcribe_in_child(run: Path, files: list[Path]) -> dict[str, object]:
    """Transcribe in a process of its own, so that its peak memory is its own."""
    output = subprocess.run(
        [sys.executable, "-c", _CHILD, str(run), *map(str, files)], check=True, capture_output=True, text=True
    ).stdout
    result: dict[str, object] = json.loads(output.splitlines()[-1])
    return result


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--minutes", type=float, default=30.0)
    args = parser.parse_args()
    entries = [json.loads(line) for name in ("valid", "train") for line in (args.corpus / f"{name}.jsonl").open()]
    with tempfile.TemporaryDirectory() as folder:
        print(
            "| minutes | peak MB | real-time factor | WER in one file | WER one by one |\n"
            "| --- | --- | --- | --- | --- |"
        )
        for minutes in (args.minutes / 30, args.minutes / 6, args.minutes):
            chosen, audio, seconds = [], [], 0.0
            for entry in entries:
                if seconds >= minutes * 60:
                    break
                samples, rate = soundfile.read(args.corpus / entry["audio_filepath"], dtype="int16")
                audio += [samples, np.zeros(rate // 2, dtype=np.int16)]
                seconds += len(samples) / rate + 0.5
                chosen.append(entry)
            long = Path(folder) / "long.wav"
            soundfile.write(long, np.concatenate(audio), 16_000)
            whole = transcribe_in_child(args.run, [long])
            alone = transcribe_in_child(args.run, [args.corpus / entry["audio_filepath"] for entry in chosen])
            said = " ".join(entry["text"] for entry in chosen)
            rates = [jiwer.wer(said, " ".join(result["texts"])) for result in (whole, alone)]  # type: ignore[arg-type]
            speed = float(whole["seconds"]) / seconds  # type: ignore[arg-type]
            print(f"| {seconds / 60:.1f} | {whole['peak_mb']:.0f} | {speed:.4f} | {rates[0]:.2%} | {rates[1]:.2%} |")


if __name__ == "__main__":
    main()
