"""Lists that are tables: fairseq's .tsv with .ltr or .wrd, Common Voice, Hugging Face's metadata, LJSpeech."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from odd.attempt import Attempt, Recipe, pick
from odd.listing import QUOTED, Listing, Utterance, attempt, corpus, recording, whole, without_text
from odd.workbench import Workbench

_PLAIN = ("{}", "{} again", "the {}")


def _letters(text: str) -> str:
    """A text as fairseq writes it."""
    return " ".join(text.replace(" ", "|")) + " |"


def _frames(utterance: Utterance) -> int:
    return round(utterance.seconds * 16_000)


def _national(text: str) -> bytes:
    """Text in the encoding of a country that has all its letters."""
    for encoding in ("latin-1", "cp1251", "shift_jis"):
        try:
            return text.encode(encoding)
        except UnicodeEncodeError:
            continue
    return text.encode("utf-16")


def encoded(rng: np.random.Generator, text: str) -> tuple[str, bytes, bool]:
    """Text as editors of all systems save it: what was done, the bytes, and whether it must be read."""
    forms = {
        "as it should be": (text.encode(), True),
        "with a byte-order mark": (b"\xef\xbb\xbf" + text.encode(), True),
        "with CRLF": (text.replace("\n", "\r\n").encode(), True),
        "with both": (b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode(), True),
        "without a last newline": (text.rstrip("\n").encode(), True),
        "with blank lines at its end": ((text + "\n\n").encode(), True),
        "in UTF-16": (text.encode("utf-16"), False),
        "in UTF-16 without a mark": (text.encode("utf-16-be"), False),
        "of another country": (_national(text.replace("a", "à")), False),
        "with zeros": (text.encode() + bytes(60), False),
    }
    what = pick(rng, list(forms))
    return what, *forms[what]


def _fairseq(rng: np.random.Generator, folder: Path, bench: Workbench) -> Attempt:
    """A .tsv and the transcripts beside it."""
    utterances = corpus(rng, folder / "audio", texts=_PLAIN)
    rows = [f"{u.file}\t{_frames(u)}" for u in utterances]
    root = pick(rng, ["audio", "./audio/", str(folder / "audio")])
    what, content, must = encoded(rng, "\n".join([root, *rows]) + "\n")
    (folder / "list.tsv").write_bytes(content)
    beside = pick(rng, [".ltr", ".wrd", "both", "none"])
    told_by: tuple[str, ...] = ()
    if beside in (".ltr", "both"):
        (folder / "list.ltr").write_text("".join(_letters(u.text or "") + "\n" for u in utterances))
    if beside in (".wrd", "both"):
        (folder / "list.wrd").write_text("".join(f"{u.text}\n" for u in utterances))
        told_by = (r"\.wrd",)
    listing = Listing(without_text(utterances) if beside == "none" else utterances, must=must, told_by=told_by)
    return attempt(f"fairseq .tsv {what}, {beside} beside it", "list.tsv", listing, folder)


def _fairseq_frames(rng: np.random.Generator, folder: Path, bench: Workbench) -> Attempt:
    """Frames that are not those of the file."""
    parts = recording(rng, folder / "long.wav", 2)
    first, everything, frames = parts[0], whole(parts), 19_200
    cases: dict[str, tuple[str, Utterance]] = {
        "half of it": (str(frames // 2), first),
        "twice as many": (str(frames * 2), everything),
        "none": ("0", everything),
        "fewer than none": ("-5", everything),
        "a fraction": (f"{frames}.0", everything),
        "seconds": ("1.2", everything),
        "Arabic digits": ("١٩٢٠٠", everything),
        "a superscript": ("19200²", everything),
        "10**30": (str(10**30), everything),
        "5000 digits": ("9" * 5_000, everything),
        "nothing": ("", everything),
        "spaces around it": (f" {frames} ", everything),
        "a column more": (f"{frames}\tx", everything),
    }
    what = pick(rng, ["half of it", *cases])
    value, meant = cases[what]
    others = corpus(rng, folder, 2)
    rows = [f"long.wav\t{value}", *(f"{u.file}\t{_frames(u)}" for u in others)]
    (folder / "list.tsv").write_text("\n".join([".", *rows]) + "\n")
    (folder / "list.ltr").write_text("".join(_letters(u.text or "") + "\n" for u in (meant, *others)))
    return attempt(f"fairseq .tsv with frames: {what}", "list.tsv", Listing((meant, *others)), folder)


def _fairseq_texts(rng: np.random.Generator, folder: Path, bench: Workbench) -> Attempt:
    """Transcripts that are not what fairseq writes."""
    utterances = corpus(rng, folder, texts=_PLAIN)
    (folder / "list.tsv").write_text("\n".join([".", *(f"{u.file}\t{_frames(u)}" for u in utterances)]) + "\n")
    lines = [_letters(u.text or "") for u in utterances]
    what = pick(
        rng, ["a line fewer", "a line more", "an empty line", "phones", "words", "UTF-16", "CRLF", "a mark", "tabs"]
    )
    given: Sequence[Utterance] = utterances
    content = ("\n".join(lines) + "\n").encode()
    if what == "a line fewer":
        content = ("\n".join(lines[1:]) + "\n").encode()
    elif what == "a line more":
        content = ("\n".join([*lines, lines[0]]) + "\n").encode()
    elif what == "an empty line":
        given = (*without_text(utterances[:1]), *utterances[1:])
        content = ("\n".join(["", *lines[1:]]) + "\n").encode()
    elif what == "phones":
        # Glued together they would be a word that nobody said.
        given = tuple(Utterance(u.words, u.seconds, f"{u.words[0]} sh iy h#", u.file) for u in utterances)
        content = "".join(f"{u.text}\n" for u in given).encode()
    elif what == "words":
        given = tuple(Utterance(u.words, u.seconds, f"{u.words[0]} WAS HERE", u.file) for u in utterances)
        content = "".join(f"{u.text}\n" for u in given).encode()
    elif what == "UTF-16":
        content = content.decode().encode("utf-16")
    elif what == "CRLF":
        content = content.replace(b"\n", b"\r\n")
    elif what == "a mark":
        content = b"\xef\xbb\xbf" + content
    elif what == "tabs":
        content = content.replace(b" ", b"\t")
    (folder / "list.ltr").write_bytes(content)
    listing = Listing(tuple(given), must=what in ("CRLF", "a mark", "an empty line"))
    return attempt(f"fairseq .ltr with {what}", "list.tsv", listing, folder)


def _common_voice(rng: np.random.Generator, folder: Path, bench: Workbench) -> Attempt:
    """A table of Common Voice, whose quotation marks mean themselves."""
    texts = QUOTED if rng.uniform() < 0.5 else _PLAIN
    place = "clips" if rng.uniform() < 0.8 else "."
    utterances = corpus(rng, folder / place, suffix=pick(rng, [".mp3", ".wav"]), texts=texts)
    columns = ["client_id", "path", "sentence", "up_votes", "down_votes", "age", "gender", "accents", "locale"]
    if rng.uniform() < 0.4:
        columns = [columns[int(index)] for index in rng.permutation(len(columns))]
    missing = rng.uniform() < 0.15
    if missing:
        columns.remove("sentence")
    rows = ["\t".join(columns)]
    for number, u in enumerate(utterances):
        values = {"client_id": f"speaker{number}", "path": u.file, "sentence": u.text or "", "locale": "en"}
        rows.append("\t".join(values.get(column, "") for column in columns))
    what, content, must = encoded(rng, "\n".join(rows) + "\n")
    name = pick(rng, ["train.tsv", "validated.tsv", "x.tsv"])
    (folder / name).write_bytes(content)
    listing = Listing(utterances, must=must and not missing, told_by=(r"sentence",) if missing else ())
    return attempt(f"Common Voice {what}{', no sentence' * missing}", name, listing, folder)


def _huggingface(rng: np.random.Generator, folder: Path, bench: Workbench) -> Attempt:
    """metadata.csv or .jsonl beside audio, named by itself or by its folder."""
    utterances = corpus(rng, folder / "data", texts=(*QUOTED, *_PLAIN, "{}, and so on", "{}\nnext line"))
    key = pick(rng, ["transcription", "text", "sentence", "transcript"])
    kind = pick(rng, ["csv", "csv", "csv", "jsonl", "semicolons", "tabs"])
    out = io.StringIO()
    if kind == "jsonl":
        out.write("".join(json.dumps({"file_name": u.file, key: u.text}) + "\n" for u in utterances))
    else:
        separator = {"csv": ",", "semicolons": ";", "tabs": "\t"}[kind]
        table = csv.writer(out, delimiter=separator, lineterminator="\n")
        swapped = rng.uniform() < 0.3
        for row in [("file_name", key), *((u.file, u.text or "") for u in utterances)]:
            table.writerow(row[::-1] if swapped else row)
    what, content, must = encoded(rng, out.getvalue())
    name = "metadata.jsonl" if kind == "jsonl" else "metadata.csv"
    (folder / "data" / name).write_bytes(content)
    by_folder = rng.uniform() < 0.5
    # A line break in a text is CRLF in a file that has CRLF: one word space either way.
    listing = Listing(
        utterances, must=must and kind in ("csv", "jsonl") and not by_folder, told_by=(r"metadata",) * by_folder
    )
    source = "data" if by_folder else f"data/{name}"
    return attempt(f"Hugging Face {kind} {what}, {source}", source, listing, folder)


def _ljspeech(rng: np.random.Generator, folder: Path, bench: Workbench) -> Attempt:
    """id|text|normalised text, whose quotation marks mean themselves."""
    texts = QUOTED if rng.uniform() < 0.5 else _PLAIN
    utterances = corpus(rng, folder / "wavs", texts=texts)
    form = pick(rng, ["three columns", "two columns", "third empty", "names with suffix", "names with folder"])
    rows = []
    for u in utterances:
        name = {"names with suffix": u.file, "names with folder": f"wavs/{u.file}"}.get(form, u.file.partition(".")[0])
        rows.append(f"{name}|{u.text}" + {"two columns": "", "third empty": "|"}.get(form, f"|{u.text}"))
    what, content, must = encoded(rng, "\n".join(rows) + "\n")
    (folder / "metadata.csv").write_bytes(content)
    source = pick(rng, ["metadata.csv", "metadata.csv", "."])
    listing = Listing(
        utterances, must=must and form == "three columns" and source != ".", told_by=(r"metadata",) * (source == ".")
    )
    return attempt(f"LJSpeech {form} {what}, {source}", source, listing, folder, ("--max-s", "50"))


def _lost_rows(rng: np.random.Generator, folder: Path, bench: Workbench) -> Attempt:
    """A table that names a file that is not there, or a row that is too short: nothing is passed over."""
    utterances = corpus(rng, folder, texts=_PLAIN)
    head, form = {0: ("path\tsentence", "{}\t{}"), 1: ("file_name,transcription", "{},{}")}[int(rng.integers(2))]
    rows = [form.format(u.file, u.text) for u in utterances]
    what = pick(rng, ["a file that is not there", "a row too short", "a row too long", "an empty row", "no file name"])
    odd = {
        "a file that is not there": form.format("nothing.wav", "NOTHING"),
        "a row too short": "nothing.wav",
        "a row too long": form.format("nothing.wav", form.format("NOTHING", "x")),
        "an empty row": "",
        "no file name": form.format("", "NOTHING"),
    }[what]
    rows.insert(int(rng.integers(len(rows))), odd)
    name = "list.tsv" if "\t" in head else "list.csv"
    (folder / name).write_text("\n".join([head, *rows]) + "\n")
    extra = () if what == "an empty row" else (Utterance(("NOTHING",), 1.0, None, "nothing.wav"),)
    return attempt(f"{name} with {what}", name, Listing((*utterances, *extra), told_by=(r":\d+:",)), folder)


RECIPES: tuple[Recipe, ...] = (
    _fairseq,
    _common_voice,
    _huggingface,
    _fairseq_frames,
    _ljspeech,
    _fairseq_texts,
    _lost_rows,
)
