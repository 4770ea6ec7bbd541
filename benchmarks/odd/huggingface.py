"""Hugging Face folders of recognisers, with vocabularies and configurations as others train and save them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ruamel.yaml import YAML
from safetensors.numpy import load_file, save_file

from odd.answer import Answer
from odd.attempt import Attempt, Recipe, pick
from odd.verdict import RIGHT, Category, Verdict, refused, told, wrong_success
from odd.workbench import LETTERS, Workbench

SOURCE = "source"
WEIGHTS = "model.safetensors"


@dataclass(frozen=True)
class Expected:
    """What is known of a folder.

    Args:
        outputs: The symbols of its outputs in their order; None when it cannot be used.
        pad: Which of them is the blank.
        delimiter: Which of them ends words.
        must: It is in order.
        normalize: Whether waveforms are normalised.
        naming: What a refusal must name.
        told_by: What must be said when it is taken.
    """

    outputs: Sequence[str] | None
    pad: str = "<pad>"
    delimiter: str = "|"
    must: bool = False
    normalize: bool = True
    naming: tuple[str, ...] = ()
    told_by: tuple[str, ...] = ()


def copied(folder: Path, bench: Workbench) -> Path:
    """A folder of one's own."""
    return Path(shutil.copytree(bench.huggingface, folder / SOURCE))


def changed_json(path: Path, **changes: Any) -> None:
    """Write other values to a JSON file."""
    content = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    path.write_text(json.dumps({**content, **changes}, ensure_ascii=False, indent=1), encoding="utf-8")


def attempt(what: str, expected: Expected, folder: Path, bench: Workbench) -> Attempt:
    """Import a folder and transcribe with what came of it."""
    commands = (
        ("import", SOURCE, "--out", "out"),
        ("transcribe", "out", str(bench.speech), "--device", "cpu"),
    )
    return Attempt(what, commands, lambda answers: _judge(answers, expected, folder))


def _judge(answers: Sequence[Answer], expected: Expected, folder: Path) -> Verdict:
    imported, heard = answers
    if imported.exit_code:
        return refused(imported, may=not expected.must, naming=expected.naming)
    if expected.outputs is None:
        was_told = bool(expected.told_by) and told(imported, expected.told_by)
        return RIGHT if was_told and heard.exit_code else wrong_success("imported what cannot be used")
    if heard.exit_code:
        return wrong_success(f"imported, but not usable: {heard.message[-200:]}")
    out = folder / "out"
    symbols = json.loads((out / "vocab.json").read_text(encoding="utf-8"))
    theirs, ours = load_file(folder / SOURCE / WEIGHTS), load_file(out / WEIGHTS)
    rows, kept = theirs["lm_head.weight"], ours["head.weight"]
    if len(symbols) != len(rows) or len(kept) != len(rows):
        return wrong_success(f"{len(symbols)} symbols, {len(kept)} outputs of {len(rows)}")
    for number, symbol in enumerate(expected.outputs):
        name = {expected.pad: symbols[0], expected.delimiter: "|"}.get(symbol, symbol)
        named = [place for place, ours_ in enumerate(symbols) if ours_ == name]
        if symbol.startswith(("<", "[")) and symbol != expected.pad:
            continue  # which of our names a special symbol gets is ours to choose
        if len(named) != 1 or not np.array_equal(kept[named[0]], rows[number]):
            return wrong_success(f"output {number} there, {symbol!r}, is not output {named} here")
    spec = YAML(typ="safe", pure=True).load((out / "spec.yaml").read_text(encoding="utf-8"))
    if spec["model"]["normalize_waveform"] is not expected.normalize:
        return wrong_success(f"normalize_waveform: {spec['model']['normalize_waveform']}")
    if expected.told_by and not told(imported, expected.told_by):
        return Verdict(Category.SILENT_LOSS, "what was assumed was not said")
    return RIGHT


def _write_vocabulary(
    rng: np.random.Generator, source: Path, outputs: Sequence[str], specials: dict[str, str], apart: str
) -> None:
    """Write a head of random rows, a vocabulary for it, and the special tokens where programs keep them."""
    weights = load_file(source / WEIGHTS)
    weights["lm_head.weight"] = rng.normal(size=(len(outputs), 24)).astype(np.float32)
    weights["lm_head.bias"] = rng.normal(size=len(outputs)).astype(np.float32)
    save_file(weights, source / WEIGHTS, metadata={"format": "pt"})
    index = {symbol: number for number, symbol in enumerate(outputs)}
    added = {} if apart == "vocab.json" else {t: index[t] for t in ("<s>", "</s>") if t in index}
    inner = {symbol: number for symbol, number in index.items() if symbol not in added}
    (source / "vocab.json").write_text(json.dumps(inner, ensure_ascii=False), encoding="utf-8")
    if apart in ("added_tokens.json", "both"):
        (source / "added_tokens.json").write_text(json.dumps(added))
    known = {f"{name}_token": token for name, token in specials.items()}
    decoder = {str(number): {"content": token, "special": True} for token, number in added.items()}
    changes: dict[str, Any] = {**known, "word_delimiter_token": specials.get("word_delimiter", "|")}
    if apart in ("added_tokens_decoder", "both"):
        changes["added_tokens_decoder"] = decoder
    (source / "tokenizer_config.json").unlink()
    changed_json(source / "tokenizer_config.json", **changes)
    (source / "special_tokens_map.json").unlink()
    if rng.uniform() < 0.5:
        form = {key: {"content": token, "special": True} for key, token in known.items()}
        changed_json(source / "special_tokens_map.json", **form)
    changed_json(source / "config.json", vocab_size=len(outputs), pad_token_id=index[specials["pad"]])


def _vocabularies(rng: np.random.Generator, folder: Path, bench: Workbench) -> Attempt:
    """The names and places that special tokens have in the wild."""
    source = copied(folder, bench)
    pad, unk = (("<pad>", "<unk>"), ("[PAD]", "[UNK]"), ("[pad]", "[unk]"), ("<PAD>", "<UNK>"))[int(rng.integers(4))]
    letters = list(LETTERS if rng.uniform() < 0.6 else LETTERS.lower())
    delimiter = "|" if rng.uniform() < 0.8 else pick(rng, ("_", "▁", "<space>"))
    ends = ["<s>", "</s>"] if rng.uniform() < 0.7 else []
    order = pick(rng, ("blank first", "recipe", "shuffled"))
    outputs = [*letters, delimiter, unk, pad, *ends]
    if order == "blank first":
        outputs = [pad, *ends, unk, delimiter, *letters]
    elif order == "shuffled":
        outputs = [outputs[int(index)] for index in rng.permutation(len(outputs))]
    apart = pick(rng, ("vocab.json", "added_tokens.json", "added_tokens_decoder", "both"))
    specials = {"pad": pad, "unk": unk, "word_delimiter": delimiter}
    specials |= {"bos": "<s>", "eos": "</s>"} if ends else {}
    _write_vocabulary(rng, source, outputs, specials, apart)
    # Programs number added tokens after all others.
    usual = delimiter == "|" and (not ends or apart == "vocab.json" or order == "recipe")
    expected = Expected(outputs, pad, delimiter, must=usual)
    what = f"{pad} {unk}, {order}, {'with' if ends else 'without'} <s> </s>, in {apart}, delimiter {delimiter}"
    return attempt(what, expected, folder, bench)


def _spoilt_vocabulary(rng: np.random.Generator, folder: Path, bench: Workbench) -> Attempt:
    """A vocabulary that does not fit, or is none."""
    source = copied(folder, bench)
    path = source / "vocab.json"
    index: dict[str, Any] = json.loads(path.read_text())
    outputs = sorted(index, key=index.__getitem__)
    text = json.dumps(index)
    forms: dict[str, tuple[bytes, Expected]] = {
        "a byte-order mark": (b"\xef\xbb\xbf" + text.encode(), Expected(outputs, must=True)),
        "a symbol fewer": (json.dumps({s: n for s, n in index.items() if s != "Q"}).encode(), Expected(None)),
        "a symbol more": (json.dumps({**index, "Ä": len(index)}).encode(), Expected(None)),
        "a number twice": (json.dumps({**index, "Q": index["Z"]}).encode(), Expected(None)),
        "a gap": (json.dumps({**index, "'": 40}).encode(), Expected(None)),
        "numbers below 0": (json.dumps({s: n - 1 for s, n in index.items()}).encode(), Expected(None)),
        "numbers as text": (json.dumps({s: str(n) for s, n in index.items()}).encode(), Expected(None)),
        "fractions": (json.dumps({s: n + 0.5 for s, n in index.items()}).encode(), Expected(None)),
        "a list": (json.dumps(outputs).encode(), Expected(outputs)),
        "languages": (json.dumps({"eng": index, "deu": index}).encode(), Expected(None)),
        "UTF-16": (text.encode("utf-16"), Expected(outputs)),
        "nothing": (b"", Expected(None)),
        "half of it": (text.encode()[: len(text) // 2], Expected(None)),
        "a Git LFS pointer": (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n",
            Expected(None, naming=("lfs",)),
        ),
        "an HTML page": (b"<!DOCTYPE html><html>404</html>", Expected(None, naming=("html|web page",))),
        "a number of 5000 digits": (text.replace(": 31", ": " + "9" * 5_000).encode(), Expected(None)),
        "brackets nested deeply": (b"[" * 100_000, Expected(None)),
        "half a surrogate pair": (text.replace('"Q"', '"\\ud800"').encode(), Expected(None)),
        "a symbol twice": (text.replace('"Q"', '"Z"').encode(), Expected(None)),
        "no word delimiter": (text.replace('"|"', '"Ä"').encode(), Expected(None)),
    }
    what = pick(rng, list(forms))
    content, expected = forms[what]
    path.write_bytes(content)
    return attempt(f"vocab.json: {what}", expected, folder, bench)


def _configurations(rng: np.random.Generator, folder: Path, bench: Workbench) -> Attempt:
    """Another network, or one that contradicts its weights."""
    source = copied(folder, bench)
    outputs = _outputs(source)
    other, fine = Expected(None), Expected(outputs)
    forms: dict[str, tuple[dict[str, Any], Expected]] = {
        **{
            f"model_type {name}": ({"model_type": name}, Expected(None, naming=(name,)))
            for name in (
                "hubert",
                "wavlm",
                "data2vec-audio",
                "wav2vec2-bert",
                "wav2vec2-conformer",
                "unispeech-sat",
                "bert",
            )
        },
        "adapters": ({"add_adapter": True}, other),
        "language adapters": ({"adapter_attn_dim": 16}, other),
        "relu": ({"hidden_act": "relu"}, other),
        "gelu_new": ({"hidden_act": "gelu_new"}, other),
        "relu in the convolutions": ({"feat_extract_activation": "relu"}, other),
        "another epsilon": ({"layer_norm_eps": 1e-3}, other),
        "group norm": ({"feat_extract_norm": "group"}, other),
        "post-norm": ({"do_stable_layer_norm": False}, fine),
        "5 heads": ({"num_attention_heads": 5}, other),
        "no heads": ({"num_attention_heads": 0}, other),
        "3 layers": ({"num_hidden_layers": 3}, other),
        "a wider network": ({"hidden_size": 48}, other),
        "a stride fewer": ({"conv_stride": [5, 2, 2, 2, 2, 2]}, other),
        "text for a number": ({"num_attention_heads": "four"}, other),
        "pad beyond the outputs": ({"pad_token_id": 99}, other),
        "pad below 0": ({"pad_token_id": -1}, other),
        "pad null": ({"pad_token_id": None}, fine),
        "vocab_size of another head": ({"vocab_size": 77}, fine),
        "unknown keys": ({"_name_or_path": "x", "x" * 50: [1, {"a": None}]}, Expected(outputs, must=True)),
        "a network of null": ({"conv_dim": None}, fine),
        "dropouts above 1": ({"hidden_dropout": 1.5}, fine),
        "NaN": ({"layerdrop": float("nan")}, fine),
    }
    what = pick(rng, list(forms))
    changes, expected = forms[what]
    changed_json(source / "config.json", **changes)
    return attempt(f"config.json: {what}", expected, folder, bench)


def _preprocessors(rng: np.random.Generator, folder: Path, bench: Workbench) -> Attempt:
    """Where it stands whether waveforms are normalised, and at which rate they are heard."""
    source = copied(folder, bench)
    outputs = _outputs(source)
    extractor = json.loads((source / "preprocessor_config.json").read_text())
    (source / "preprocessor_config.json").unlink()
    normalize = bool(rng.integers(2))
    where = pick(
        rng, ("preprocessor_config.json", "processor_config.json", "both", "neither", "8 kHz", "22 kHz inside")
    )
    content = {**extractor, "do_normalize": normalize}
    if where == "8 kHz":
        changed_json(source / "preprocessor_config.json", **{**content, "sampling_rate": 8_000})
        return attempt("8 kHz", Expected(None, naming=("8000|8 kHz",)), folder, bench)
    if where == "22 kHz inside":
        inner = {**content, "sampling_rate": 22_050}
        changed_json(source / "processor_config.json", processor_class="Wav2Vec2Processor", feature_extractor=inner)
        return attempt("22 kHz in processor_config.json", Expected(None, naming=("22050|22.05",)), folder, bench)
    if where in ("preprocessor_config.json", "both"):
        changed_json(source / "preprocessor_config.json", **content)
    if where in ("processor_config.json", "both"):
        changed_json(source / "processor_config.json", processor_class="Wav2Vec2Processor", feature_extractor=content)
    if where == "neither":
        told_by = ("normali",)
        return attempt("no preprocessor", Expected(outputs, told_by=told_by, must=True), folder, bench)
    return attempt(
        f"do_normalize {normalize} in {where}", Expected(outputs, normalize=normalize, must=True), folder, bench
    )


def _missing(rng: np.random.Generator, folder: Path, bench: Workbench) -> Attempt:
    """A folder from which something is missing, or in which something is broken."""
    source = copied(folder, bench)
    outputs = _outputs(source)
    name = pick(
        rng, ("config.json", "model.safetensors", "tokenizer_config.json", "special_tokens_map.json", "vocab.json")
    )
    what = pick(rng, ("missing", "empty", "cut off", "a list", "a pointer", "a folder", "a dangling link"))
    path = source / name
    content = path.read_bytes()
    path.unlink()
    if what == "empty":
        path.write_bytes(b"")
    elif what == "cut off":
        path.write_bytes(content[: len(content) // 2])
    elif what == "a list":
        path.write_bytes(b"[1, 2]")
    elif what == "a pointer":
        path.write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n")
    elif what == "a folder":
        path.mkdir()
    elif what == "a dangling link":
        path.symlink_to("nowhere")
    spare = name in ("tokenizer_config.json", "special_tokens_map.json")
    naming = ("lfs",) if what == "a pointer" and not spare else ()
    # A recogniser without its symbols can be imported, when that is said; it cannot transcribe.
    told_by = ("no vocabulary",) if name == "vocab.json" else ()
    expected = Expected(outputs, naming=naming) if spare else Expected(None, naming=naming, told_by=told_by)
    return attempt(f"{name}: {what}", expected, folder, bench)


def _outputs(source: Path) -> list[str]:
    index: dict[str, int] = json.loads((source / "vocab.json").read_text(encoding="utf-8"))
    return sorted(index, key=index.__getitem__)


RECIPES: tuple[Recipe, ...] = (_vocabularies, _configurations, _spoilt_vocabulary, _preprocessors, _missing)
