"""What each folder of the cases must be answered: the commands that it is about, and checks of what they gave."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import soundfile
from ruamel.yaml import YAML

from odd.answer import Answer
from odd.spec_files import flow
from odd.stored import Row, rows_of
from odd.workbench import MODEL, Workbench

Check = Callable[[Sequence[Answer], Path], str]
"""Says what is wrong with the answers of a case, given the folder they were made in; empty when nothing is."""


@dataclass(frozen=True)
class Case:
    """A case and what it is asked.

    Args:
        commands: What is run, in this order, in a copy of the case's folder; all but the first may build on others.
        check: Judges the answers.
        wanted: What must come of it, for people.
        environment: Variables for the commands.
        limit_s: Time for each command.
    """

    commands: tuple[tuple[str, ...], ...]
    check: Check
    wanted: str
    environment: dict[str, str] = field(default_factory=dict)
    limit_s: float = 120.0


def _ends(answers: Sequence[Answer], codes: Sequence[int]) -> str:
    for answer, code in zip(answers, codes, strict=True):
        if answer.exit_code != code:
            return f"`{answer.arguments[0]}` ended with {answer.exit_code}, not {code}"
    return ""


def _stored(count: int, right: Callable[[list[Row]], str] = lambda rows: "", *, others: int = 0) -> Check:
    """All commands succeed, and `out` holds so many utterances, which are right."""

    def check(answers: Sequence[Answer], folder: Path) -> str:
        rows = rows_of(folder / "out")
        wrong = _ends(answers, [0] * (1 + others))
        if not wrong and len(rows) != count:
            return f"{len(rows)} utterances stored, not {count}"
        return wrong or right(rows)

    return check


def _lasts(seconds: float) -> Callable[[list[Row]], str]:
    return lambda rows: "" if abs(rows[0].seconds - seconds) < 0.1 else f"{rows[0].seconds:.3f} s, not {seconds} s"


def _hears(seconds: float) -> Check:
    """`prepare` stores so many seconds, and `transcribe` hears as many."""

    def check(answers: Sequence[Answer], folder: Path) -> str:
        wrong = _stored(1, _lasts(seconds), others=1)(answers, folder)
        heard_s = json.loads(answers[1].out.splitlines()[0])["duration_s"] if not wrong else seconds
        return wrong or ("" if abs(heard_s - seconds) < 0.1 else f"transcribe hears {heard_s} s")

    return check


def _refused(*patterns: str) -> Check:
    """Exit code 2 and one message that names what is wrong."""

    def check(answers: Sequence[Answer], _: Path) -> str:
        missing = [p for p in patterns if not re.search(p, answers[0].message, re.IGNORECASE)]
        return _ends(answers[:1], [2]) or (f"the message does not name {missing}" if missing else "")

    return check


def _imported(symbols: int) -> Check:
    """The recogniser is imported with all its symbols, and transcribes."""

    def check(answers: Sequence[Answer], folder: Path) -> str:
        wrong = _ends(answers, [0, 0])
        found = json.loads((folder / "out" / "vocab.json").read_text("utf-8")) if not wrong else []
        return wrong or ("" if len(found) == symbols and found[0] == "<s>" else f"symbols {found}")

    return check


def _not_normalised(answers: Sequence[Answer], folder: Path) -> str:
    wrong = _ends(answers, [0])
    spec = YAML(typ="safe", pure=True).load((folder / "out" / "spec.yaml").read_text("utf-8")) if not wrong else {}
    return wrong or ("normalize_waveform: true" if spec["model"]["normalize_waveform"] else "")


def _as_transformers(answers: Sequence[Answer], folder: Path) -> str:
    """Log-probabilities of the imported model are those that transformers gave."""
    if wrong := _ends(answers, [0]):
        return wrong
    from w2v2_ray.recognition.recogniser import load_recogniser

    recogniser = load_recogniser(folder / "out", device="cpu")
    for name in ("loud", "quiet"):
        samples, _ = soundfile.read(folder / f"{name}.flac", dtype="int16")
        ours, theirs = recogniser.log_probs([samples])[0], np.load(folder / f"{name}_transformers.npy").squeeze()
        # Which of two symbols comes first does not matter: the blank may have moved.
        difference = float(np.abs(np.sort(ours, axis=-1) - np.sort(theirs, axis=-1)).max())
        if difference > 0.01:
            return f"{name}: log-probabilities differ from those of transformers by {difference:.2g}"
    return ""


def _counts_words(answers: Sequence[Answer], _: Path) -> str:
    """THE, NURSE and SAW are in upper case, and so is A, whose title is one letter."""
    return _ends(answers, [0]) or (
        "" if re.search(r"\b4 of (its |the )?21 words", answers[0].said) else "no `4 of 21 words`"
    )


def _same_transcripts(answers: Sequence[Answer], _: Path) -> str:
    return _ends(answers, [0, 0]) or (
        "" if answers[0].out == answers[1].out else "another transcript than of plain ARPA"
    )


def _read_or_named(answers: Sequence[Answer], folder: Path) -> str:
    """Each of the tables gives its text, or is named with the way to convert it; so is what a folder passes over."""
    texts = {"cv": {"Hello there."}, "hf": {"hello"}, "lj": {"Hello 1.", "hello one"}}
    for answer, (name, known) in zip(answers, texts.items(), strict=False):
        found = {row.transcript for row in rows_of(folder / name)}
        if answer.exit_code == 0 and not (found and found <= known):
            return f"{name}: transcripts {found}"
        if answer.exit_code not in (0, 2) or (answer.exit_code and "convert" not in answer.message):
            return f"{name}: exit code {answer.exit_code}, {answer.message[-120:]!r}"
    by_folder = answers[-1]
    stored = {row.transcript for row in rows_of(folder / "by_folder")}
    return (
        "" if stored != {None} or "metadata.csv" in by_folder.said else "the folder's tables are passed over silently"
    )


def _halves(rows: list[Row]) -> str:
    lengths = {row.transcript: row.seconds for row in rows}
    fine = all(abs(lengths.get(text, 0.0) - 0.5) < 0.02 for text in ("first half", "second half"))
    return "" if fine else f"lengths {lengths}"


def _empty_address(answers: Sequence[Answer], _: Path) -> str:
    empty, dead = answers
    wrong = [f"exit code {empty.exit_code} for an empty RAY_ADDRESS"] if empty.exit_code not in (0, 2) else []
    wrong += ["a traceback for an empty RAY_ADDRESS"] if "Traceback" in empty.said else []
    wrong += [f"exit code {dead.exit_code} for a dead address"] if dead.exit_code != 2 else []
    wrong += [] if "127.0.0.1:6399" in dead.message else ["the dead address is not named"]
    return "; ".join(wrong)


def _no_format_characters(answers: Sequence[Answer], _: Path) -> str:
    if wrong := _ends(answers[1:], [0, 0]):
        return wrong
    symbols = json.loads(answers[1].out)["symbols"]
    odd = sorted({c for s in symbols for c in s if unicodedata.category(c) == "Cf"})
    printed = sorted({c for c in answers[2].out if unicodedata.category(c) == "Cf"})
    return f"symbols {odd}, printed {printed}" if odd or printed else ""


def _texts_kept(answers: Sequence[Answer], folder: Path) -> str:
    wrong = _stored(1, lambda rows: "" if rows[0].transcript == "hello world" else f"{rows[0].transcript!r}")(
        answers, folder
    )
    return wrong or ("" if re.search(r"transcript", answers[0].said) else "nothing is said of transcripts")


def _transcripts(count: int) -> Check:
    def check(answers: Sequence[Answer], folder: Path) -> str:
        heard = len(answers[1].out.strip().splitlines())
        return _stored(count, others=1)(answers, folder) or ("" if heard == count else f"{heard} transcripts")

    return check


def cases(bench: Workbench) -> dict[str, Case]:
    """The cases by the names of their folders."""
    model, speech, cpu = str(bench.recogniser), str(bench.speech), ("--device", "cpu")
    prepare, imported = ("prepare", "--out", "out"), ("import", ".", "--out", "out")
    heard = ("transcribe", "out", speech, *cpu)
    train = ("train", "p.yaml", "--set", f"data.train={bench.dataset}", "--set", "storage_path=runs")

    def transcribe(source: str) -> tuple[str, ...]:
        return ("transcribe", model, source, "--format", "jsonl", *cpu)

    def with_lm(name: str) -> tuple[str, ...]:
        return ("transcribe", model, speech, "--lm", name, *cpu)

    job = {"kind": "finetune", "preset": "tiny", "name": "x", "data": {"train": "out"}, "model": MODEL}
    (bench.root / "finetune.yaml").write_text(flow(job))
    plan = ("plan", str(bench.root / "finetune.yaml"))
    return {
        "folder-unlisted-suffixes": Case(((*prepare, "."), transcribe(".")), _transcripts(3), "3 of 3 files taken"),
        "gpu-asked-none-there": Case((train,), _refused("gpu"), "refused, naming GPUs", {"CUDA_VISIBLE_DEVICES": ""}),
        "hf-added-tokens": Case((imported, heard), _imported(32), "32 symbols, transcribes"),
        "hf-pad-brackets": Case((imported, heard), _imported(30), "30 symbols, the blank first, transcribes"),
        "hf-processor-config": Case((imported,), _not_normalised, "normalize_waveform: false"),
        "hf-quiet-audio": Case((("import", "model", "--out", "out"),), _as_transformers, "log-probs of transformers"),
        "lfs-pointer": Case((("import", "model.pt", "--out", "out"),), _refused("lfs"), "refused, naming Git LFS"),
        "lm-arpa-gz": Case((with_lm("ok.arpa.gz"), with_lm("ok.arpa")), _same_transcripts, "as with plain ARPA"),
        "lm-case-partly-wrong": Case((with_lm("mixed.arpa"),), _counts_words, "`4 of 21 words`: A is upper case, too"),
        "manifest-unknown-formats": Case(
            (
                ("prepare", "train.tsv", "--out", "cv"),
                ("prepare", "metadata.csv", "--out", "hf"),
                ("prepare", "lj.csv", "--out", "lj"),
                ("prepare", ".", "--out", "by_folder"),
            ),
            _read_or_named,
            "read, or named",
        ),
        "mp3-vbr-no-xing": Case(((*prepare, "."), transcribe("vbr_noxing.mp3")), _hears(2.0), "2.0 s kept and heard"),
        "nemo-duration-without-offset": Case(
            ((*prepare, "train.jsonl"),), _stored(2, _halves), "0.5 s under each text"
        ),
        "ray-address-malformed": Case(
            (train, (*train, "--address", "127.0.0.1:6399")),
            _empty_address,
            "empty: trains; dead: refused",
            {"RAY_ADDRESS": ""},
            240.0,
        ),
        "text-invisible-characters": Case(
            ((*prepare, "t.jsonl"), (*plan, "--json"), plan), _no_format_characters, "no format characters as symbols"
        ),
        "transcribe-hidden-files": Case(
            ((*prepare, "."), transcribe(".")), _transcripts(1), "1 file, by both commands"
        ),
        "transcripts-passed-over": Case(((*prepare, "t.jsonl"),), _texts_kept, "the transcript kept, and counted"),
        "vocab-bom": Case(
            (("import", str(bench.nvidia), "--vocabulary", "vocab.json", "--out", "out"), heard),
            _imported(32),
            "32 symbols read",
        ),
        "wav-float-int16-scale": Case(
            ((*prepare, "."),), _refused("out_of_range|saturat|clip"), "refused: out of range"
        ),
        "wav-gsm610": Case(((*prepare, "."), transcribe("gsm.wav")), _hears(2.0), "2.0 s kept and heard"),
    }
