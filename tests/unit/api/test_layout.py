"""LibriSpeech and Libri-light as their archives lay them out: found by name, counted, compared, prepared."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

from w2v2_ray.api.layout import check_parts, lay_out
from w2v2_ray.cli.app import app
from w2v2_ray.data import layout as module
from w2v2_ray.data.layout import find_parts, hours_differ
from w2v2_ray.data.published_parts import PUBLISHED_PARTS
from w2v2_ray.errors import DatasetError
from w2v2_ray.spec.published import published_specs

RATE = 16_000


def audio(path: Path, seconds: float = 0.5) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    samples = 0.1 * np.random.default_rng(len(str(path))).standard_normal(round(seconds * RATE))
    soundfile.write(path, samples, RATE)


def chapter(folder: Path, speaker: int, count: int = 2) -> None:
    lines = []
    for number in range(count):
        name = f"{speaker}-7-{number:04d}"
        audio(folder / str(speaker) / "7" / f"{name}.flac")
        lines.append(f"{name} SOME WORDS\n")
    (folder / str(speaker) / "7" / f"{speaker}-7.trans.txt").write_text("".join(lines))


@pytest.fixture
def downloads(tmp_path: Path) -> Path:
    root = tmp_path / "downloads"
    chapter(root / "LibriSpeech" / "dev-clean", 84)
    chapter(root / "LibriSpeech" / "dev-clean", 85, 3)
    for hour in ("0", "1"):
        chapter(root / "librispeech_finetuning" / "1h" / hour / "clean", 100 + int(hour))
    book = root / "small" / "11" / "a_book_64kb"
    audio(book / "chapter_01.flac", 3.0)
    described = {"speaker": "11", "voice_activity": [[0.2, 1.4], [1.6, 2.9]]}
    (book / "chapter_01.json").write_text(json.dumps(described))
    # Neither a part: a name alone is not enough, nor is what lies deep within another.
    (root / "medium" / "words").mkdir(parents=True)
    return root


def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """dev-clean as if it had been published with what the test has."""
    parts = tuple(
        replace(part, utterances=5, speakers=2, hours=2.5 / 3600) if part.name == "librispeech_dev_clean" else part
        for part in PUBLISHED_PARTS
    )
    monkeypatch.setattr(module, "PUBLISHED_PARTS", parts)


def test_parts_are_found_where_their_archives_put_them_and_counted(downloads: Path) -> None:
    found = {one.part.name: one for one in find_parts(downloads)}
    assert {name: (one.utterances, one.speakers) for name, one in found.items()} == {
        "librispeech_dev_clean": (5, 2),
        "librilight_10min": (2, 1),
        "librilight_1h": (4, 2),
        "librilight_small": (1, 1),
    }
    assert found["librilight_10min"].path == downloads / "librispeech_finetuning" / "1h" / "0"
    assert found["librispeech_dev_clean"].differences == (
        "5 utterances, published are 2,703",
        "2 speakers, published are 40",
    )
    # The folder given may be the corpus, or the part itself.
    for inner in ("LibriSpeech", "LibriSpeech/dev-clean"):
        assert [one.part.name for one in find_parts(downloads / inner)] == ["librispeech_dev_clean"]


def test_what_is_incomplete_is_refused_and_taken_when_asked(downloads: Path) -> None:
    with pytest.raises(DatasetError, match=r"dev-clean: 5 utterances, published are 2,703.*openslr.*--incomplete"):
        check_parts(downloads, ["librispeech_dev_clean"])
    assert len(check_parts(downloads, ["librispeech_dev_clean"], incomplete=True)) == 1


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["librispeech_test_other"], r"holds no test-other.*unpack openslr.org/12: test-other.tar.gz"),
        (["train-clean-100"], "no part of LibriSpeech or Libri-light; there are librispeech_train_clean_100"),
    ],
)
def test_what_is_missing_or_unknown_is_named(downloads: Path, names: list[str], words: str) -> None:
    with pytest.raises(DatasetError, match=words):
        find_parts(downloads, names)


def test_a_folder_without_parts_and_a_part_that_is_there_twice(tmp_path: Path, downloads: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DatasetError, match=r"holds no train-clean-100, .*; download and unpack"):
        find_parts(tmp_path / "empty")
    with pytest.raises(DatasetError, match="there is no such folder"):
        find_parts(tmp_path / "nowhere")
    chapter(downloads / "again" / "dev-clean", 84)
    with pytest.raises(DatasetError, match="dev-clean is there twice"):
        find_parts(downloads)


def test_datasets_get_transcripts_speakers_and_published_hours(
    downloads: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small(monkeypatch)
    wanted = ["librispeech_dev_clean", "librilight_small"]
    made = list(lay_out(check_parts(downloads, wanted, incomplete=True), str(tmp_path / "sets")))
    assert [Path(one.dataset).name for one in made] == wanted
    labelled, unlabelled = (one.summary.manifest.totals for one in made)
    assert (labelled.utterances, labelled.transcribed, labelled.speakers) == (5, 5, 2)
    assert made[0].differences == ()
    assert (unlabelled.utterances, unlabelled.transcribed) == (1, 0)
    assert unlabelled.samples == round(2.7 * RATE), "cut by the voice activity beside it: 0.2 to 2.9 s of 3"


def test_hours_are_compared_within_what_they_are_rounded_to() -> None:
    part = next(part for part in PUBLISHED_PARTS if part.name == "librispeech_train_clean_100")
    assert hours_differ(part, 100.59) is None
    assert hours_differ(part, 90.0) == "90.00 hours, published are 100.60"


def test_the_command_says_what_is_there_and_makes_it(
    downloads: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = CliRunner()
    part = ["--part", "librispeech_dev_clean"]
    checked = run.invoke(app, ["layout", str(downloads), "--check", *part])
    assert checked.exit_code == 2
    assert "dev-clean: 5 files, 2 speakers (5 utterances, published are 2,703; " in checked.output
    refused = run.invoke(app, ["layout", str(downloads), "--out", str(tmp_path / "sets"), *part])
    assert refused.exit_code == 2
    assert not (tmp_path / "sets").exists()
    small(monkeypatch)
    assert run.invoke(app, ["layout", str(downloads), "--check", *part]).exit_code == 0
    made = run.invoke(app, ["layout", str(downloads), "--out", str(tmp_path / "sets"), *part])
    assert made.exit_code == 0, made.output
    assert "librispeech_dev_clean: 5 utterances, 0.00 hours, 2 speakers (as published)" in made.output


def test_published_jobs_use_the_names_of_parts() -> None:
    names = {f"datasets/{part.name}" for part in PUBLISHED_PARTS}
    used = set()
    for path in published_specs().values():
        text = path.read_text(encoding="utf-8")
        used |= {word.strip("[],") for word in text.split() if "datasets/libri" in word}
    assert used
    assert used <= names
