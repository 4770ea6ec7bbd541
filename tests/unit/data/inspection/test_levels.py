"""What `inspect` says about the signal of a dataset."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import soundfile

from w2v2_ray.audio.signal import SignalLimits
from w2v2_ray.data.dataset import SpeechDataset
from w2v2_ray.data.ingestion.ingest_plan import IngestSettings
from w2v2_ray.data.inspection.levels import measure_levels
from w2v2_ray.data.inspection.report import dataset_report
from w2v2_ray.data.schema import MANIFEST_NAME, DatasetManifest
from w2v2_ray.errors import DatasetError
from w2v2_ray.orchestration.ingest import prepare_dataset

RATE_HZ = 16_000
KEEP_ALL = IngestSettings(signal=SignalLimits(max_clipped=1.0, min_level_dbfs=-200.0))


def tone(peak, seconds=1.0):
    return peak * np.sin(2 * np.pi * 300 * np.arange(round(seconds * RATE_HZ)) / RATE_HZ)


def prepared(tmp_path, waves, settings=KEEP_ALL, **options):
    (tmp_path / "source").mkdir(exist_ok=True)
    for number, wave in enumerate(waves):
        soundfile.write(tmp_path / "source" / f"{number}.wav", wave, RATE_HZ, **options)
    return prepare_dataset(tmp_path / "source", tmp_path / "out", settings=settings)


@pytest.mark.parametrize("codec", ["pcm16", "flac"])
def test_levels_are_those_of_the_signal(tmp_path, codec):
    waves = [
        tone(0.5),
        tone(0.05) + 0.1,
        np.clip(tone(10.0), -1, 1),
        np.concatenate([tone(0.5), np.zeros(RATE_HZ)]),
        np.zeros(RATE_HZ),
    ]
    prepared(tmp_path, waves, replace(KEEP_ALL, codec=codec))
    levels = measure_levels(SpeechDataset.open(tmp_path / "out"))
    assert levels.level_dbfs.lowest == -200
    assert levels.level_dbfs.median == pytest.approx(20 * math.log10(0.5 / math.sqrt(2)) - 3.01, abs=0.1)
    assert levels.level_dbfs.highest == pytest.approx(-0.2, abs=0.3)  # a square wave
    assert levels.peak_dbfs.highest == pytest.approx(0, abs=0.01)
    assert levels.peak_dbfs.median == pytest.approx(20 * math.log10(0.5), abs=0.1)
    assert levels.clipped_utterances == 1
    assert levels.clipped_fraction == pytest.approx((1 - 2 / math.pi * math.asin(0.1)) / 6, abs=0.005)
    assert levels.silent_utterances == 1
    assert levels.silence_fraction == pytest.approx(2 / 6)


def test_what_is_rejected_and_what_is_odd_is_counted(tmp_path):
    beyond = tone(0.5)
    beyond[100] = 1.5
    waves = [tone(0.5), beyond, 0.2 + tone(0.5), 7_000 * tone(1.0), np.zeros(RATE_HZ), np.sign(tone(1.0, 2.0) + 1e-9)]
    (tmp_path / "source").mkdir()
    soundfile.write(tmp_path / "source" / "stereo.wav", np.stack([tone(0.5), -tone(0.5)], axis=1), RATE_HZ)
    with pytest.raises(DatasetError, match=r"3 of 7 files were rejected \(out_of_range 1, saturated 1, silent 1\)"):
        prepared(tmp_path, waves, IngestSettings(), subtype="FLOAT")
    summary = prepare_dataset(tmp_path / "source", tmp_path / "out", max_rejects=0.5)
    assert summary.rejected == {"out_of_range": 1, "saturated": 1, "silent": 1}
    assert summary.odd == {"clipped": 1, "dc_offset": 1, "one_channel": 1}
    report = dataset_report(SpeechDataset.open(tmp_path / "out"), checksums_verified=True, levels=True)
    assert report.odd == summary.odd
    assert report.levels is not None
    assert report.levels.silent_utterances == 0


def test_a_dataset_without_anything_odd_is_written_as_ever(make_dataset, tmp_path):
    make_dataset()
    document = json.loads((tmp_path / "dataset" / MANIFEST_NAME).read_text())
    assert "odd" not in document["totals"]
    manifest = DatasetManifest.model_validate(document)
    assert manifest.totals.odd == {}
    assert manifest.to_json() == (tmp_path / "dataset" / MANIFEST_NAME).read_bytes()


def test_other_limits_make_another_dataset(tmp_path):
    prepared(tmp_path, [tone(0.5)], IngestSettings())
    with pytest.raises(DatasetError, match="made from another source, files or settings"):
        prepare_dataset(
            tmp_path / "source", tmp_path / "out", settings=IngestSettings(signal=SignalLimits(max_clipped=0.5))
        )
