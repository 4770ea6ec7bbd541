"""The command from end to end, with a recogniser of random weights: nonsense, but always the same."""

from __future__ import annotations

import json

import numpy as np
import pytest
import soundfile
import torch
from typer.testing import CliRunner

from w2v2_ray.audio.signal import SignalLimits
from w2v2_ray.cli.app import app
from w2v2_ray.data.ingestion.ingest_plan import IngestSettings
from w2v2_ray.model.factory import build_ctc_model, build_pretrain_model
from w2v2_ray.model.interop.model_folder import save_model
from w2v2_ray.orchestration.ingest import prepare_dataset
from w2v2_ray.recognition.scoring import Scored, score

VOCABULARY = ("<s>", "<pad>", "</s>", "<unk>", "|", *"ABCDE")
WITH_TRANSCRIPT = 9


def run(*arguments):
    return CliRunner().invoke(app, ["evaluate", *map(str, arguments)])


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """Twelve noises: nine transcripts that can be spelt, one that cannot, two utterances without."""
    folder = tmp_path_factory.mktemp("spoken")
    rng = np.random.default_rng(5)
    lines = []
    for number in range(12):
        tone = 6_000 * np.sin(np.arange(6_000 + 500 * number) * rng.uniform(0.02, 0.5))
        soundfile.write(folder / f"{number:02d}.wav", (tone + rng.normal(0, 2_000, len(tone))).astype(np.int16), 16_000)
        line = {"audio_filepath": f"{number:02d}.wav", "duration": len(tone) / 16_000, "speaker": f"s{number % 3}"}
        lines.append(line | ({"text": "abe, bad cad" if number == 4 else "Abe bad cad"} if number < 10 else {}))
    (folder / "all.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    prepare_dataset(folder / "all.jsonl", folder / "dataset", settings=IngestSettings(target_shard_bytes=60_000))
    return folder / "dataset"


@pytest.fixture(scope="module")
def model(make_tiny_job, tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    torch.manual_seed(1)
    spec = make_tiny_job(folder).model
    network = build_ctc_model(spec, len(VOCABULARY))
    network.head.weight.data *= 20  # so that symbols change from frame to frame
    save_model(folder / "m", spec, "ctc", network.state_dict(), VOCABULARY)
    return folder / "m"


def without_times(report):
    return {key: value for key, value in report.items() if key not in ("latency", "workers")}


def test_the_report_counts_scores_and_times(model, dataset, tmp_path):
    result = run(model, dataset, "--batch-size", "4,1", "--out", tmp_path / "out", "--json")
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert report == json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert report["utterances"] == WITH_TRANSCRIPT + 1  # a model from elsewhere drops the comma
    assert (report["without_transcript"], report["unspellable"]) == (2, 0)
    assert [(entry["batch_size"], entry["batches"]) for entry in report["latency"]] == [(4, 3), (1, 10)]
    assert all(entry["changed_transcripts"] == 0 for entry in report["latency"])
    assert 0 < report["latency"][0]["mean_ms"] <= report["latency"][0]["p99_ms"] * 3
    assert set(report["by_speaker"]) == {"s0", "s1", "s2"}
    lines = [json.loads(line) for line in (tmp_path / "out" / "utterances.jsonl").read_text().splitlines()]
    assert sorted(line["id"] for line in lines) == sorted(f"{number:02d}" for number in range(10))
    assert {line["reference"] for line in lines} == {"ABE BAD CAD"}
    assert len({line["hypothesis"] for line in lines}) > 5
    again = score(Scored(line["id"], line["speaker"], line["reference"], line["hypothesis"]) for line in lines)
    assert again.words.rate == pytest.approx(report["wer"])
    assert again.characters.rate == pytest.approx(report["cer"])


def test_the_readable_report_has_every_part(model, dataset, tmp_path):
    result = run(model, dataset, "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("WER ")
    assert "2 left out" in result.stdout
    text = (tmp_path / "out" / "report.md").read_text()
    for part in ("## Time", "real time factor", "99 % ms", "## By speaker", "| s1 |", "## Most often", "said:"):
        assert part in text
    assert run(model, dataset).stdout.startswith("# Evaluation of ")


def test_the_limit_and_several_datasets_are_heeded(model, dataset):
    report = json.loads(run(model, dataset, dataset, "--limit", 12, "--json").stdout)
    assert report["utterances"] == 12
    assert report["datasets"] == [str(dataset), str(dataset)]


@pytest.mark.ray
def test_several_workers_find_what_one_process_finds(model, dataset, tmp_path):
    outputs = []
    for workers in (1, 3):
        result = run(model, dataset, "--batch-size", "2,1", "--workers", workers, "--out", tmp_path / str(workers))
        assert result.exit_code == 0, result.output
        outputs.append((tmp_path / str(workers) / "utterances.jsonl").read_text())
    assert outputs[0] == outputs[1]
    alone, shared = (json.loads((tmp_path / name / "evaluation.json").read_text()) for name in ("1", "3"))
    assert without_times(alone) == without_times(shared)
    assert (alone["workers"], shared["workers"]) == (1, 3)
    assert shared["latency"][1]["batches"] == 10


def test_a_language_model_is_used_where_one_is_named(model, dataset, tmp_path):
    pytest.importorskip("flashlight.lib.text.decoder", reason="needs the extra: pip install 'w2v2-ray[lm]'")
    unigrams = "-1\t<unk>\n-99\t<s>\t0\n-1\t</s>\n-0.3\tABE\t0\n-0.5\tBAD\t0\n"
    arpa = f"\\data\\\nngram 1=5\nngram 2=1\n\n\\1-grams:\n{unigrams}\n\\2-grams:\n-0.1\tABE BAD\n\n\\end\\\n"
    (tmp_path / "two.arpa").write_text(arpa)
    result = run(model, dataset, "--lm", tmp_path / "two.arpa", "--beam", 20, "--out", tmp_path / "out", "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["decoder"].startswith(f"beam search ({tmp_path / 'two.arpa'}, beam 20")
    lines = (tmp_path / "out" / "utterances.jsonl").read_text().splitlines()
    words = {word for line in lines for word in json.loads(line)["hypothesis"].split()}
    assert words <= {"ABE", "BAD"}
    assert words


def test_bad_inputs_are_one_message_and_exit_code_2(model, dataset, tiny_dataset, make_tiny_job, tmp_path):
    spec = make_tiny_job(tmp_path).model
    save_model(tmp_path / "pretrained", spec, "pretrain", build_pretrain_model(spec).state_dict())
    (tmp_path / "other.json").write_text(json.dumps([*VOCABULARY, "F"]))
    (tmp_path / "lower.json").write_text(json.dumps([symbol.lower() for symbol in VOCABULARY[:-1]]))
    cases = [
        ((model, tmp_path / "none"), "none"),
        ((tmp_path / "none", dataset), "none"),
        ((model, tiny_dataset), "36 have no transcript"),
        ((tmp_path / "pretrained", dataset), "fine-tune it first"),
        ((model, dataset, "--vocabulary", tmp_path / "other.json"), "11 symbols for 10 outputs"),
        ((model, dataset, "--vocabulary", tmp_path / "lower.json"), "9 symbols for 10 outputs"),
        ((model, dataset, "--batch-size", "4,0"), "--batch-size 4,0"),
        ((model, dataset, "--batch-size", "many"), "--batch-size many"),
        ((model, dataset, "--lexicon", tmp_path / "other.json"), "--lm"),
        ((model, dataset, "--address", "ray://nowhere:1"), "--workers"),
    ]
    for arguments, message in cases:
        result = run(*arguments, "--out", tmp_path / "out")
        assert result.exit_code == 2, (arguments, result.output)
        assert message in result.stderr, arguments
        assert "Traceback" not in result.output
    assert not (tmp_path / "out").exists()


def test_utterances_that_nobody_could_understand_are_named(model, tmp_path):
    rng = np.random.default_rng(0)
    for number, level in enumerate((3_000, 0, 3_000)):
        soundfile.write(tmp_path / f"{number}.wav", (level * rng.normal(0, 1, 16_000)).astype(np.int16), 16_000)
        (tmp_path / f"{number}.txt").write_text("ABE")
    settings = IngestSettings(signal=SignalLimits(min_level_dbfs=-200))  # as older versions did
    prepare_dataset(tmp_path, tmp_path / "out", source_format="folder", settings=settings)
    result = run(model, tmp_path / "out", "--json")
    assert result.exit_code == 0, result.output
    (note,) = json.loads(result.stdout)["notes"]
    assert note == "1 of 3 utterances cannot be understood: 1 (silent: nothing is louder than -200.0 dBFS)"


def make_lm(*arguments):
    return CliRunner().invoke(app, ["lm", *map(str, arguments)])


def test_a_language_model_of_the_transcripts_is_made_and_used(model, dataset, tmp_path):
    texts = tmp_path / "more.txt"
    texts.write_text("a bad cab\nxyz\n\ndead\n", encoding="utf-8")
    made = make_lm(model, dataset, texts, "--out", tmp_path / "lm.arpa", "--json")
    assert made.exit_code == 0, made.output
    report = json.loads(made.stdout)
    assert (report["sentences"], report["words"], report["left_out"]) == (WITH_TRANSCRIPT + 1 + 2, 6, 0)
    judged = run(model, dataset, "--lm", tmp_path / "lm.arpa", "--out", tmp_path / "out")
    assert judged.exit_code == 0, judged.output
    said = [json.loads(line)["hypothesis"] for line in (tmp_path / "out" / "utterances.jsonl").read_text().splitlines()]
    assert {word for line in said for word in line.split()} <= {"ABE", "BAD", "CAD", "A", "CAB", "DEAD"}


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "cannot be read"), (b"\xff\xfea\x00", "not UTF-8 text"), (b"xyz\n", "no sentence to make")],
)
def test_texts_that_cannot_be_used_are_named(model, tmp_path, content, message):
    if content is not None:
        (tmp_path / "texts.txt").write_bytes(content)
    made = make_lm(model, tmp_path / "texts.txt", "--out", tmp_path / "lm.arpa")
    assert made.exit_code == 2
    assert message in made.output
    assert not (tmp_path / "lm.arpa").exists()


def test_of_several_weights_each_pair_is_tried_and_the_best_judged(model, dataset, tmp_path):
    assert make_lm(model, dataset, "--out", tmp_path / "lm.arpa").exit_code == 0
    lm = ["--lm", tmp_path / "lm.arpa"]
    result = run(model, dataset, *lm, "--lm-weight", "0,3", "--word-score", "-2,0,40", "--json")
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    tried = [(pair["lm_weight"], pair["word_score"]) for pair in report["tried"]]
    assert sorted(tried) == [(weight, score) for weight in (0.0, 3.0) for score in (-2.0, 0.0, 40.0)]
    rates = [pair["wer"] for pair in report["tried"]]
    assert rates == sorted(rates)
    assert len(set(rates)) > 1
    assert report["wer"] == rates[0]
    assert f"weight {tried[0][0]}, word {tried[0][1]}" in report["decoder"]
    alone = run(model, dataset, *lm, "--lm-weight", tried[-1][0], "--word-score", tried[-1][1], "--json")
    assert json.loads(alone.stdout)["wer"] == rates[-1]
    assert "chosen on this very data" in run(model, dataset, *lm, "--lm-weight", "1,2").stdout


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--lm-weight", "1,2"], "no language model to weigh"),
        (["--word-score", "1,x"], "--word-score 1,x: a number is wanted"),
        (["--lm-weight", "nan"], "--lm-weight nan: a number is wanted"),
    ],
)
def test_weights_that_mean_nothing_are_refused(model, dataset, options, message):
    result = run(model, dataset, *options)
    assert result.exit_code == 2
    assert message in " ".join(result.output.split())
