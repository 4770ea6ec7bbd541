"""A dataset's page, from the dataset to the file."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

from w2v2_ray.cli.app import app
from w2v2_ray.data.dataset import SpeechDataset
from w2v2_ray.data.inspection.report import DatasetReport, dataset_report
from w2v2_ray.data.schema import INGEST_NAME, REJECTS_NAME
from w2v2_ray.orchestration.ingest import prepare_dataset
from w2v2_ray.reporting.dataset_page import render_dataset_page

HOSTILE = "<script>alert(1)<"
TEXTS = {"a": "ten letters", "b": "other words", "c": "десять букв", HOSTILE: f"{HOSTILE}/script> " * 6, "short": "a"}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five utterances of two speakers, one a copy of another with another text, and a file that is no audio."""
    folder = tmp_path_factory.mktemp("corpus")
    lines = []
    for number, (name, text) in enumerate(TEXTS.items()):
        seed = 0 if name == "b" else number  # b is a
        samples = np.random.default_rng(seed).normal(0, 0.1, 16_000)
        soundfile.write(folder / f"{name}.wav", samples, 16_000)
        lines.append({"audio": f"{name}.wav", "text": text, "speaker": "<b>one" if number < 3 else "two"})
    (folder / "bad<i>.wav").write_bytes(b"RIFF<i>")
    lines.append({"audio": "bad<i>.wav", "text": "x", "speaker": "two"})
    (folder / "list.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    prepare_dataset(folder / "list.jsonl", folder / "dataset", max_rejects=0.5)
    return folder / "dataset"


@pytest.fixture(scope="module")
def report(dataset: Path) -> DatasetReport:
    return dataset_report(SpeechDataset.open(dataset), checksums_verified=True, levels=True)


class Seen(HTMLParser):
    """The elements of a page, and the text of each of its tables' rows by the section's id."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.rows: dict[str, list[list[str]]] = {}
        self._section = ""
        self._open = False
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        if tag == "section":
            self._section = dict(attributes).get("id") or ""
        elif tag == "tr":
            self.rows.setdefault(self._section, []).append([])
        elif tag in ("td", "th"):
            self.rows[self._section][-1].append("")
        self._open = (self._open and tag != "tr") or tag in ("td", "th")

    def handle_endtag(self, tag):
        self._open = self._open and tag not in ("td", "th", "table")

    def handle_data(self, data):
        if self._open:
            self.rows[self._section][-1][-1] += data


@pytest.fixture(scope="module")
def seen(report: DatasetReport) -> Seen:
    return Seen(render_dataset_page(report, now=1_800_000_000.0))


def test_the_page_needs_nothing_else_and_runs_nothing(report: DatasetReport, seen: Seen):
    page = render_dataset_page(report)
    assert page.count("<svg") == 4
    assert "src=" not in page
    assert not seen.tags & {"script", "link", "img", "iframe", "i"}
    assert "<b>one" not in page
    referred = set(re.findall(r'(?:href="|url\()#([^")]+)', page))
    assert len(referred) >= 4
    assert {page.count(f'id="{name}"') for name in referred} == {1}


def test_ids_and_texts_are_shown_as_they_are(seen: Seen):
    (row,) = [row for row in seen.rows["suspicious"] if row[0] == HOSTILE]
    assert row[1:] == ["1.00", "150.0", TEXTS[HOSTILE]]
    assert [row[0] for row in seen.rows["suspicious"]] == ["utterance", HOSTILE, "utterance", "short"]


def test_the_page_shows_who_speaks_what_and_what_is_there_twice(seen: Seen):
    assert seen.rows["speakers"][1:] == [["<b>one", "0.001", "3"], ["two", "0.001", "2"]]
    assert ["CYRILLIC", "10"] in [row[:2] for row in seen.rows["scripts"]]
    assert ["д", "U+0434", "1"] in seen.rows["symbols"]
    assert seen.rows["words"][1] == [f"{HOSTILE}/script>", "6"]
    assert seen.rows["copies"][1:] == [["b", "a", "1.00", "other words", "ten letters"]]


def test_the_page_shows_what_was_left_out_and_how_it_was_made(seen: Seen):
    (_, (name, path, detail)) = seen.rows["rejects"]
    assert (name, path) == ("bad<i>", "bad<i>.wav")
    assert detail
    made = dict(seen.rows["made"])
    assert (made["settings.codec"], made["source.format"], made["source.found"]) == ("pcm16", "jsonl", "6")


def test_what_the_terminal_shows_is_on_the_page(dataset: Path, tmp_path: Path):
    page = tmp_path / "new" / "page.html"
    shown = CliRunner().invoke(app, ["inspect", str(dataset), "--html", str(page)], env={"COLUMNS": "300"})
    assert shown.exit_code == 0, shown.output
    assert shown.output.splitlines()[-1] == str(page)
    assert [path.name for path in page.parent.iterdir()] == ["page.html"]
    rows = Seen(page.read_text("utf-8")).rows[""]
    lines = {row[0]: row[1] for row in rows if len(row) == 2}
    assert {"dataset", "speakers", "level", "silence", "copies", "symbols", "scripts", "fingerprint"} <= lines.keys()
    for name, value in lines.items():
        assert re.search(rf"^{re.escape(name)} +{re.escape(value)} *$", shown.output, re.MULTILINE), name
    assert ["1 - 2", "5", "0.00"] in rows


def test_fast_makes_a_page_of_what_needs_no_audio(dataset: Path, tmp_path: Path):
    page = tmp_path / "page.html"
    shown = CliRunner().invoke(app, ["inspect", str(dataset), "--fast", "--json", "--html", str(page)])
    assert shown.exit_code == 0, shown.output
    assert json.loads(shown.output)["contents"] is None
    seen = Seen(page.read_text("utf-8"))
    assert "No audio was read (--fast)" in page.read_text("utf-8")
    assert page.read_text("utf-8").count("<svg") == 2
    assert seen.rows.keys() == {"", "rejects", "made"}


def test_json_has_the_new_figures_beside_the_old(dataset: Path):
    report = json.loads(CliRunner().invoke(app, ["inspect", str(dataset), "--json"]).output)
    contents = report["contents"]
    assert report["speakers"] == 2
    assert contents["speakers"]["most"][0] == {"speaker": "<b>one", "utterances": 3, "hours": 3 / 3600}
    assert contents["scripts"]["CYRILLIC"] == 10
    assert contents["scripts"]["spaces"] == 3 + 6
    assert sum(report["levels"]["level_histogram"]["counts"]) == 5
    assert report["rejects"][0]["count"] == 1


def test_a_page_that_cannot_be_written_is_refused_and_leaves_nothing(dataset: Path, tmp_path: Path):
    refused = CliRunner().invoke(app, ["inspect", str(dataset), "--html", str(tmp_path)])
    assert refused.exit_code == 2
    assert "is a folder" in refused.output
    kept = tmp_path / "page.html"
    kept.write_text("before")
    missing = CliRunner().invoke(app, ["inspect", str(tmp_path / "none"), "--html", str(kept)])
    assert missing.exit_code == 2
    assert "holds no dataset" in missing.output
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("page.html", "before")]


def test_a_checkpoint_has_no_page(tmp_path: Path):
    (tmp_path / "checkpoint.json").write_text("{}")
    refused = CliRunner().invoke(app, ["inspect", str(tmp_path), "--html", str(tmp_path / "page.html")])
    assert refused.exit_code == 2
    assert "--html writes pages of datasets" in refused.output


def test_a_dataset_without_texts_and_notes_has_a_page(tmp_path: Path):
    (tmp_path / "audio").mkdir()
    soundfile.write(tmp_path / "audio" / "a.wav", np.random.default_rng(0).normal(0, 0.1, 16_000), 16_000)
    prepare_dataset(tmp_path / "audio", tmp_path / "dataset")
    (tmp_path / "dataset" / REJECTS_NAME).unlink()
    (tmp_path / "dataset" / INGEST_NAME).write_text("[")
    report = dataset_report(SpeechDataset.open(tmp_path / "dataset"), checksums_verified=True, levels=True)
    page = render_dataset_page(report)
    assert page.count("<svg") == 3
    assert "words" not in Seen(page).rows
    assert "ingest.json is missing or says nothing" in page
