"""A recogniser of phones, end to end: the demo's synthesised speech with the phones that its synthesiser spoke.

    make demo                       # the corpus, and the pre-trained model to begin from
    python benchmarks/phones.py --demo demo --out WORK [--updates 700]

The transcripts are espeak-ng's own phones (IPA, stress marks left out), blanks between them: those of the held-out
sentences and voices are never trained on. What `w2v2-ray evaluate` prints is the phone error rate.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

_COMMAND = [sys.executable, "-c", "from w2v2_ray.cli.app import main; main()"]
_UTF8, _IPA = 1, 0x02
_SEPARATOR = ord("_") << 8
_MARKS = re.compile(r"[ˈˌ‍‖|]|\([a-z-]+\)")
"""Stress, joiners, and where the language changes: no phones."""


def w2v2_ray(*arguments: str | Path) -> None:
    """Run the command as a user does."""
    print("$ w2v2-ray", *arguments, flush=True)
    subprocess.run([*_COMMAND, *map(str, arguments)], check=True)


def phonemiser() -> Callable[[str, str], list[str]]:
    """A function of a voice and a text: the phones that espeak-ng speaks."""
    import espeakng_loader

    library: Any = ctypes.CDLL(espeakng_loader.get_library_path())
    library.espeak_TextToPhonemes.restype = ctypes.c_char_p
    if library.espeak_Initialize(2, 0, espeakng_loader.get_data_path().encode(), 0) <= 0:
        raise SystemExit("espeak-ng does not start")

    def phones(voice: str, text: str) -> list[str]:
        if library.espeak_SetVoiceByName(voice.encode()) != 0:
            raise SystemExit(f"espeak-ng has no voice {voice}")
        buffer = ctypes.create_string_buffer(text.lower().encode())
        rest = ctypes.c_void_p(ctypes.addressof(buffer))
        said: list[str] = []
        while rest.value:
            clause = library.espeak_TextToPhonemes(ctypes.byref(rest), _UTF8, _IPA | _SEPARATOR)
            said += re.split(r"[_\s]+", (clause or b"").decode())
        return [phone for part in said if (phone := _MARKS.sub("", part))]

    return phones


def label(corpus: Path, split: str, out: Path, phones: Callable[[str, str], list[str]]) -> Path:
    """The split's list with phones for words."""
    lines = []
    for line in (corpus / f"{split}.jsonl").read_text(encoding="utf-8").splitlines():
        entry = json.loads(line)
        # v002-en-gb-f4 was spoken by the voice en-gb with the variant f4, whose phones are those of en-gb.
        voice = entry["speaker"].split("-", 1)[1].rpartition("-")[0]
        entry["audio_filepath"] = str((corpus / entry["audio_filepath"]).resolve())
        entry["text"] = " ".join(phones(voice, entry["text"]))
        lines.append(json.dumps(entry, ensure_ascii=False))
    path = out / f"{split}.jsonl"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def main() -> None:
    """Label, prepare, fine-tune, evaluate, transcribe."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--demo", type=Path, default=Path("demo"), help="folder of `w2v2-ray demo`")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--updates", type=int, default=700)
    args = parser.parse_args()
    out: Path = args.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    corpus, phones = (args.demo / "corpus").resolve(), phonemiser()
    for split in ("train", "valid"):
        w2v2_ray("prepare", label(corpus, split, out, phones), "--out", out / split)
    job = out / "phones.yaml"
    job.write_text(
        "kind: finetune\npreset: tiny\nname: phones\n"
        f"pretrained: {(args.demo / 'runs' / 'demo_pretrain').resolve()}\n"
        f"storage_path: {out / 'runs'}\ndata: {{train: {out / 'train'}, validation: {out / 'valid'}}}\n"
        "text: {units: tokens, case: keep}\n"
        f"updates: {args.updates}\nelastic: {{min_workers: 1, max_workers: 2}}\nworker: {{gpus: 0}}\n",
        encoding="utf-8",
    )
    w2v2_ray("train", job)
    w2v2_ray("evaluate", out / "runs" / "phones", out / "valid", "--best")
    audio = max((corpus / "audio").rglob("*.flac"))
    w2v2_ray("transcribe", out / "runs" / "phones", audio, "--best")


if __name__ == "__main__":
    main()
