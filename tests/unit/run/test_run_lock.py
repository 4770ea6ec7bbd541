"""One driver per run."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from w2v2_ray.errors import StorageError
from w2v2_ray.run.lock import run_lock

_HOLD = (
    "import sys, time\n"
    "from pathlib import Path\n"
    "from w2v2_ray.run.lock import run_lock\n"
    "with run_lock(Path(sys.argv[1])):\n"
    "    print('held', flush=True)\n"
    "    time.sleep(60)\n"
)


def test_a_second_driver_is_refused_until_the_first_is_killed(tmp_path: Path):
    holder = subprocess.Popen([sys.executable, "-c", _HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        message = rf"{tmp_path}: process {holder.pid} on .* is training this run"
        with pytest.raises(StorageError, match=message), run_lock(tmp_path):
            pass
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        with run_lock(tmp_path):
            assert (tmp_path / "run.lock").read_text().startswith(f"process {os.getpid()} on ")
    finally:
        holder.kill()
        holder.wait()
        holder.stdout.close()


def test_a_run_can_be_taken_again_after_an_error(tmp_path: Path):
    with pytest.raises(ZeroDivisionError), run_lock(tmp_path):
        raise ZeroDivisionError
    with run_lock(tmp_path):
        pass
