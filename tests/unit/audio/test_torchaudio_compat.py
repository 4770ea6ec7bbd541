from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from w2v2_ray.audio.resampling import resample
from w2v2_ray.audio.torchaudio_compat import import_torchaudio


def run_python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=240)


def test_torchaudio_is_imported_whatever_torch_is_installed():
    torchaudio = import_torchaudio()
    assert callable(torchaudio.functional.resample)
    assert callable(torchaudio.models.wav2vec2_base)


def test_a_second_import_gives_the_same_module():
    assert import_torchaudio() is import_torchaudio()
    import torchaudio

    assert torchaudio is import_torchaudio()


def test_a_torchaudio_whose_library_does_not_load_is_imported_without_it():
    # Also where the installed library works: here it fails on purpose.
    result = run_python(
        "import torch\n"
        "def fail(path): raise OSError('libcudart.so.13: cannot open shared object file')\n"
        "torch.ops.load_library = fail\n"
        "from w2v2_ray.audio.torchaudio_compat import import_torchaudio\n"
        "module = import_torchaudio()\n"
        "print(module.functional.resample(torch.zeros(800), 8000, 16000).shape[0])\n"
    )
    assert result.stdout.strip() == "1600", result.stderr


def test_a_torchaudio_that_works_keeps_its_library():
    result = run_python(
        "import sys, types\n"
        "sys.modules['torchaudio'] = working = types.ModuleType('torchaudio')\n"
        "from w2v2_ray.audio.torchaudio_compat import import_torchaudio\n"
        "print(import_torchaudio() is working)\n"
    )
    assert result.stdout.strip() == "True", result.stderr


@pytest.mark.slow
def test_transformers_wav2vec2_is_importable_afterwards():
    pytest.importorskip("transformers", reason="transformers is not installed")
    result = run_python(
        "from w2v2_ray.audio.torchaudio_compat import import_torchaudio\n"
        "import_torchaudio()\n"
        "from transformers import Wav2Vec2ForPreTraining, Wav2Vec2FeatureExtractor\n"
        "print(Wav2Vec2ForPreTraining.__name__)\n"
    )
    assert result.stdout.strip().endswith("Wav2Vec2ForPreTraining"), result.stderr


@pytest.mark.parametrize("rate", [8000, 22050, 44100])
def test_resampling_keeps_a_tone_at_its_frequency(rate):
    seconds = np.arange(rate) / rate
    resampled = resample(np.sin(2 * np.pi * 440 * seconds).astype(np.float32), rate, 16000)
    assert resampled.shape == (16000,)
    assert int(np.abs(np.fft.rfft(resampled)).argmax()) == 440
    expected = np.sin(2 * np.pi * 440 * np.arange(16000) / 16000)
    np.testing.assert_allclose(resampled[200:-200], expected[200:-200], atol=5e-3)


def test_audio_at_the_right_rate_is_not_touched():
    waveform = np.ones(10, np.float32)
    assert resample(waveform, 16000, 16000) is waveform
