"""The blocks of docs/python.md, run one after the other as a reader would."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import soundfile

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(600)]

PAGE = Path(__file__).resolve().parents[2] / "docs" / "python.md"


def speech(folder):
    """Tones of 1.5 s and more, each letter another."""
    rng = np.random.default_rng(0)
    folder.mkdir()
    for number in range(16):
        letters = "".join(rng.choice(list("abc"), 3))
        tones = [np.sin(np.arange(8_000 + 200 * number) * (0.05 + 0.1 * "abc".index(letter))) for letter in letters]
        wave = 6_000 * np.concatenate(tones) + rng.normal(0, 300, sum(map(len, tones)))
        soundfile.write(folder / f"{number}.wav", wave.astype(np.int16), 16_000)
        (folder / f"{number}.txt").write_text(" ".join(letters))


@pytest.fixture
def one_cluster():
    """What a reader's calls would start and stop one after the other."""
    import ray

    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


@pytest.mark.long
@pytest.mark.usefixtures("one_cluster")
def test_what_the_page_shows_can_be_done(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    speech(tmp_path / "speech")
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    assert len(blocks) == 5
    names = {}
    for block in blocks:
        exec(compile(block, str(PAGE), "exec"), names)
    assert names["pretrained"].updates == names["finetuned"].updates == 30
    assert names["vector"].shape == (names["encoder"].spec.encoder.dim,)
    assert names["codes"].entries.shape[1] == names["encoder"].spec.quantizer.codebooks
    assert names["evaluation"].utterances == 16
    printed = capsys.readouterr().out
    assert "did you mean `updates`?" in printed
    assert "optim.lr" in printed
