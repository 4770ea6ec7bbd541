from __future__ import annotations

import subprocess
from types import SimpleNamespace

import pytest

from w2v2_ray.processors import cpu_multiplies_bf16, torch_has_cuda, usable_gpus, visible_gpus


@pytest.fixture
def devices(tmp_path):
    """A machine with three GPUs, and the device files that are none."""
    for name in ("nvidia0", "nvidia1", "nvidia2", "nvidiactl", "nvidia-uvm", "null"):
        (tmp_path / name).touch()
    return tmp_path


@pytest.mark.parametrize(
    ("chosen", "count"),
    [(None, 3), ("0,2", 2), ("", 0), ("-1", 0), ("1,-1,2", 1), ("0,7", 1), ("GPU-5f2a,GPU-77aa", 2), (" 1 ", 1)],
)
def test_gpus_are_counted_as_cuda_would_show_them(devices, chosen, count):
    environment = {} if chosen is None else {"CUDA_VISIBLE_DEVICES": chosen}
    assert visible_gpus(environment, devices) == count


def test_a_machine_without_device_files_has_no_gpu(tmp_path):
    assert visible_gpus({"CUDA_VISIBLE_DEVICES": "0"}, tmp_path) == 0


def test_gpus_without_device_files_are_asked_of_nvidia_smi(tmp_path, monkeypatch):
    (tmp_path / "dxg").touch()
    listed = "GPU 0: NVIDIA RTX (UUID: GPU-1)\nGPU 1: NVIDIA RTX (UUID: GPU-2)\n"
    monkeypatch.setattr(subprocess, "run", lambda *a, **o: SimpleNamespace(stdout=listed))
    assert visible_gpus({}, tmp_path) == 2

    def missing(*_, **__):
        raise FileNotFoundError("nvidia-smi")

    monkeypatch.setattr(subprocess, "run", missing)
    assert visible_gpus({}, tmp_path) == 0


@pytest.mark.parametrize(
    ("version", "has"),
    [
        ("cuda: Optional[str] = None\nhip: Optional[str] = None\n", False),
        ("cuda: Optional[str] = '12.8'\nhip: Optional[str] = None\n", True),
        ('cuda = "13.0"\n', True),
    ],
)
def test_a_torch_built_without_cuda_uses_no_gpu(devices, tmp_path, version, has):
    file = tmp_path / "version.py"
    file.write_text(f"__version__ = '2.13.0'\n{version}")
    assert torch_has_cuda(file) == has
    assert usable_gpus({}, devices, file) == (3 if has else 0)


@pytest.mark.parametrize(
    ("text", "has"),
    [
        ("processor : 0\nflags\t\t: fpu avx2 avx512f avx512bw avx512vl avx512dq\n", True),
        ("flags : fpu avx2 fma\n", False),
        ("Features\t: fp asimd bf16\n", True),
        ("something else\n", None),
    ],
)
def test_whether_a_cpu_multiplies_bf16_is_read_from_what_linux_says_of_it(tmp_path, text, has):
    (tmp_path / "cpuinfo").write_text(text)
    assert cpu_multiplies_bf16(tmp_path / "cpuinfo") is has
    assert cpu_multiplies_bf16(tmp_path / "nothing") is None


def test_that_agrees_with_torch_here():
    from w2v2_ray.model.cpu.half_products import has_fast_bf16

    assert cpu_multiplies_bf16() in (None, has_fast_bf16())
