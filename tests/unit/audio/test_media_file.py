"""Audio that libsndfile does not know: what FFmpeg encodes is decoded, in the right length, or refused by name."""

from __future__ import annotations

import fractions
import json

import numpy as np
import pytest

av = pytest.importorskip("av", reason="the extra [media] is not installed")

from w2v2_ray.audio import media_file  # noqa: E402
from w2v2_ray.audio.media_file import MediaFile  # noqa: E402
from w2v2_ray.audio.reading import Excerpt, load_speech  # noqa: E402
from w2v2_ray.audio.speech_file import open_speech  # noqa: E402
from w2v2_ray.data.corpora.notes import ListingNotes  # noqa: E402
from w2v2_ray.data.ingestion.sources import read_source  # noqa: E402
from w2v2_ray.errors import AudioError  # noqa: E402
from w2v2_ray.orchestration.ingest import prepare_dataset  # noqa: E402

RATE_HZ = 16_000
FORMS = {
    "m4a": "aac",
    "webm": "libopus",
    "mka": "flac",
    "m4b": "alac",
    "avi": "ac3",
    "wv": "wavpack",
    "mov": "pcm_s16le",
}
LOSSLESS = {"mka", "wv", "mov", "m4b"}


def speech(seconds: float) -> np.ndarray:
    """Tones that change every quarter of a second, so that a shift would be seen."""
    rng = np.random.default_rng(0)
    parts = [np.sin(np.arange(4_000) * rng.uniform(0.05, 0.6)) for _ in range(round(seconds * 4))]
    return (8_000 * np.concatenate(parts)).astype(np.int16)


def encode(path, samples: np.ndarray, codec: str, *, video: bool = False) -> None:
    with av.open(str(path), "w") as container:
        if video:
            picture = container.add_stream("mpeg4", rate=10)
            picture.width = picture.height = 64
        rate_hz = 48_000 if codec in ("libopus", "ac3") else RATE_HZ
        stream = container.add_stream(codec, rate=rate_hz)
        stream.layout = "mono"
        known = [form.name for form in av.Codec(codec, "w").audio_formats]
        stream.format = next((form for form in known if form.startswith("s16")), known[0])
        if codec not in ("flac", "wavpack", "pcm_s16le", "alac"):
            stream.bit_rate = 64_000
        frame = av.AudioFrame.from_ndarray(samples[None], format="s16", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = RATE_HZ, 0, fractions.Fraction(1, RATE_HZ)
        frame_samples = {"libopus": 960, "alac": 4096, "ac3": 1536}.get(codec, 1024)
        resampler = av.AudioResampler(stream.format, "mono", rate_hz, frame_samples)
        if video:
            for number in range(5):
                shown = av.VideoFrame.from_ndarray(np.full((64, 64, 3), 40 * number, np.uint8), format="rgb24")
                container.mux(picture.encode(shown))
            container.mux(picture.encode(None))
        for block in [*resampler.resample(frame), *resampler.resample(None)]:
            container.mux(stream.encode(block))
        container.mux(stream.encode(None))


@pytest.mark.parametrize("suffix", FORMS)
def test_what_ffmpeg_encoded_is_heard_in_its_place(tmp_path, suffix):
    samples = speech(3)
    path = tmp_path / f"a.{suffix}"
    encode(path, samples, FORMS[suffix])
    heard = load_speech(path)
    if suffix in LOSSLESS:
        assert (heard == samples).all()
        return
    assert abs(len(heard) - len(samples)) < 0.15 * RATE_HZ
    count = min(len(heard), len(samples)) - 4_000
    shifts = range(0, 3_000, 1)
    ours, theirs = heard.astype(np.float64), samples.astype(np.float64)
    best = max(shifts, key=lambda shift: ours[shift : shift + 20_000] @ theirs[:20_000])
    assert np.corrcoef(ours[best : best + count], theirs[: len(ours[best : best + count])])[0, 1] > 0.95


def test_the_sound_of_a_video_is_taken(tmp_path):
    samples = speech(1)
    encode(tmp_path / "a.mp4", samples, "aac", video=True)
    assert abs(len(load_speech(tmp_path / "a.mp4")) - len(samples)) < 0.15 * RATE_HZ


def test_the_content_counts_and_not_the_suffix(tmp_path):
    encode(tmp_path / "a.mka", speech(1), "flac")
    path = (tmp_path / "a.mka").rename(tmp_path / "a.wav")
    assert (load_speech(path) == speech(1)).all()


@pytest.mark.parametrize(("start", "count"), [(0, 10), (5_000, 3_000), (1_000, 47_000), (47_990, 100)])
def test_any_part_is_that_part_of_the_whole(tmp_path, start, count):
    samples = speech(3)
    encode(tmp_path / "a.mka", samples, "flac")
    file = MediaFile(tmp_path / "a.mka")
    whole = file.read(0, file.frames)
    for place in (start, 0, start):  # forwards, backwards, forwards
        assert (file.read(place, count) == whole[place : place + count]).all()
    file.close()


def test_a_long_one_is_read_piece_by_piece(tmp_path):
    samples = speech(4)
    encode(tmp_path / "a.mka", samples, "flac")
    with open_speech(tmp_path / "a.mka") as file:
        pieces = [file.read(start, 7_000) for start in range(0, file.num_samples, 7_000)]
    assert (np.concatenate(pieces) == samples).all()


def test_parts_that_a_list_names_are_read(tmp_path):
    samples = speech(3)
    encode(tmp_path / "a.mka", samples, "flac")
    assert (load_speech(tmp_path / "a.mka", excerpt=Excerpt(1.0, 0.5)) == samples[16_000:24_000]).all()


def test_a_file_that_is_cut_is_refused_by_name(tmp_path):
    path = tmp_path / "a.mov"
    encode(path, speech(3), "pcm_s16le")
    content = path.read_bytes()
    place = content.index(b"mdat")
    path.write_bytes(content[: place + 20_000] + bytes(100))
    encode(tmp_path / "b.mka", speech(3), "flac")
    whole = (tmp_path / "b.mka").read_bytes()
    (tmp_path / "b.mka").write_bytes(whole[: len(whole) // 2])
    for name in ("a.mov", "b.mka"):
        with pytest.raises(AudioError, match=r"^(truncated|wrong_header|unreadable): "):
            load_speech(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "content"), [("a.m4a", b"\0\0\0\x20ftypM4A nothing more"), ("b.amr", b"no audio"), ("c.webm", b"\0" * 500)]
)
def test_what_is_no_audio_is_refused_by_name(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(AudioError, match=r"^wrong_header: neither libsndfile nor FFmpeg can open it"):
        load_speech(tmp_path / name)


def test_a_folder_of_them_becomes_a_dataset_with_their_texts(tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    for number, (suffix, codec) in enumerate(FORMS.items()):
        encode(source / f"{number}.{suffix}", speech(1), codec)
        (source / f"{number}.txt").write_text(f"number {number}")
    (source / "bad.m4a").write_bytes(b"nothing")
    summary = prepare_dataset(source, tmp_path / "dataset", max_rejects=0.5)
    assert summary.manifest.totals.transcribed == len(FORMS)
    assert summary.rejected == {"wrong_header": 1}
    assert json.loads((tmp_path / "dataset" / "rejects.jsonl").read_text())["path"] == "bad.m4a"


def test_without_the_extra_they_are_counted_and_the_way_out_is_said(tmp_path, monkeypatch):
    encode(tmp_path / "a.m4a", speech(1), "aac")
    (tmp_path / "b.wav").write_bytes((tmp_path / "a.m4a").read_bytes())
    for module in ("w2v2_ray.audio.audio_file", "w2v2_ray.data.corpora.files"):
        monkeypatch.setattr(f"{module}.reads_media", lambda: False)
    listing = read_source(tmp_path)
    assert [item.source for item in listing.items] == ["b.wav"]
    assert any(media_file.INSTALL in line for line in listing.notes.passed_lines())
    with pytest.raises(AudioError, match=r"MP4/M4A: pip install 'w2v2-ray\[media\]'"):
        load_speech(tmp_path / "b.wav")
    assert isinstance(listing.notes, ListingNotes)
