"""Pieces of one long recording: it is opened, counted and unpacked once, and each piece is what it is alone."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
import soundfile

from w2v2_ray.audio import audio_file
from w2v2_ray.audio.reading import Excerpt, judge_speech
from w2v2_ray.data import fetching
from w2v2_ray.data.corpora.item import SourceItem
from w2v2_ray.data.fetching import local_files
from w2v2_ray.data.members import Member
from w2v2_ray.errors import AudioError

RATE_HZ = 22_050


@pytest.fixture(autouse=True)
def _nothing_open():
    audio_file._LAST._files.clear()


def recording(path: Path, seconds: int = 20) -> Path:
    samples = np.random.default_rng(3).normal(0, 0.1, seconds * RATE_HZ)
    if path.suffix == ".m4a":
        av = pytest.importorskip("av")
        with av.open(str(path), "w") as container:
            stream = container.add_stream("aac", rate=RATE_HZ, layout="mono")
            for start in range(0, len(samples), 1024):
                block = samples[None, start : start + 1024].astype(np.float32)
                frame = av.AudioFrame.from_ndarray(block, format="fltp", layout="mono")
                frame.rate = RATE_HZ
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
    else:
        soundfile.write(path, samples, RATE_HZ)
    return path


def piece(path: Path, start_s: float) -> np.ndarray:
    return judge_speech(path, excerpt=Excerpt(start_s, 2.0)).samples


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".mp3", ".ogg", ".opus", ".m4a"])
@pytest.mark.parametrize("order", [(2, 4, 8, 13), (13, 2, 8, 2), (4, 5, 4, 8)])
def test_a_piece_does_not_depend_on_what_was_read_before(tmp_path, suffix, order):
    if suffix == ".opus":
        path = tmp_path / "a.opus"
        soundfile.write(
            path, np.random.default_rng(3).normal(0, 0.1, 20 * 24_000), 24_000, format="OGG", subtype="OPUS"
        )
    else:
        path = recording(tmp_path / f"a{suffix}")
    one_after_the_other = [piece(path, start) for start in order]
    for start, found in zip(order, one_after_the_other, strict=True):
        audio_file._LAST._files.clear()
        assert (piece(path, start) == found).all()


def test_pieces_in_order_open_and_decode_a_container_once(tmp_path, monkeypatch):
    av = pytest.importorskip("av")
    path = recording(tmp_path / "a.m4a")
    opened = []
    monkeypatch.setattr(
        av, "open", lambda name, *args, _open=av.open, **more: opened.append(name) or _open(name, **more)
    )
    for start in range(0, 18, 2):
        piece(path, start)
    assert len(opened) == 2  # to count its length, and to decode


def test_a_file_that_changed_is_opened_again(tmp_path):
    path = recording(tmp_path / "a.wav")
    first = piece(path, 0)
    soundfile.write(path, np.random.default_rng(4).normal(0, 0.1, 10 * RATE_HZ), RATE_HZ)
    assert (piece(path, 0) != first).any()
    path.unlink()
    with pytest.raises(AudioError, match="missing"):
        piece(path, 0)


def test_a_member_of_an_archive_is_copied_once_for_all_its_pieces(tmp_path, monkeypatch):
    content = recording(tmp_path / "a.flac").read_bytes()
    archive = tmp_path / "a.tar"
    with tarfile.open(archive, "w") as file:
        entry = tarfile.TarInfo("a.flac")
        entry.size = len(content)
        file.addfile(entry, io.BytesIO(content))
        place = entry.offset_data
    with tarfile.open(archive) as file:
        place = file.getmembers()[0].offset_data
    member = Member("tar", "a.flac", place, len(content))
    read = []
    monkeypatch.setattr(
        fetching, "content_of", lambda *args, _content=fetching.content_of: read.append(args) or _content(*args)
    )
    item = SourceItem("a", str(archive), "a.tar/a.flac", member=member)
    names = set()
    with local_files([item] * 3) as found:
        for start in (0.0, 2.0, 4.0):
            with found.path(item) as path:
                names.add(path)
                assert (piece(Path(path), start) == piece(tmp_path / "a.flac", start)).all()
    assert len(read) == len(names) == 1
    assert not Path(names.pop()).exists()
