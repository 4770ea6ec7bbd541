"""espeak-ng, from the library that the wheel `espeakng-loader` carries.

The library is full of global state: the same sentence sounds a little different each time, and different again in
another order. So it lives in a child process that loads it once and forks for every utterance: each one starts from
the same state, which makes the samples a function of the request alone, and a crash of the library costs one
utterance. The package never imports the wheel (GPL, extra `demo`); only that child does.
"""

from __future__ import annotations

import ctypes
import importlib.util
import json
import os
import struct
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, BinaryIO

import numpy as np

from w2v2_ray.audio.samples import Samples
from w2v2_ray.errors import MissingExtraError, RunFailedError

_SYNCHRONOUS = 2
_CHARS_UTF8 = 1
_RATE, _PITCH, _RANGE = 1, 3, 4  # espeak_PARAMETER
_OK = 0
_HEADER = struct.Struct("<ii")  # sample rate, bytes that follow; rate 0 means it failed


@dataclass(frozen=True)
class SpokenRequest:
    """One utterance to speak.

    Args:
        text: What to say.
        voice: espeak-ng's voice, with its variant: `en-us+f2`.
        rate: Words a minute.
        pitch: 0 to 100.
        pitch_range: 0 (monotone) to 100.
    """

    text: str
    voice: str
    rate: int
    pitch: int
    pitch_range: int


class Espeak:
    """The child process; a context manager.

    Raises:
        MissingExtraError: The wheel is not installed.
    """

    def __init__(self) -> None:
        if importlib.util.find_spec("espeakng_loader") is None:
            raise MissingExtraError(
                "speech synthesis needs espeak-ng, which is not installed: pip install 'w2v2-ray[demo]'"
            )
        self._process = subprocess.Popen(
            [sys.executable, "-m", "w2v2_ray.synthesis.espeak"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    def __enter__(self) -> Espeak:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def speak(self, request: SpokenRequest) -> tuple[Samples, int]:
        """Samples of one utterance and their rate in Hz.

        Shape:
            returns [S], rate

        Raises:
            RunFailedError: The voice is unknown, or the library failed.
        """
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        try:
            stdin.write(json.dumps(asdict(request)).encode() + b"\n")
            stdin.flush()
            rate_hz, num_bytes = _HEADER.unpack(stdout.read(_HEADER.size))
        except (BrokenPipeError, struct.error) as error:
            raise RunFailedError("the espeak-ng process ended; its own message stands above") from error
        if rate_hz == 0:
            raise RunFailedError(f"espeak-ng could not speak {request.text!r} with voice {request.voice!r}")
        return np.frombuffer(stdout.read(num_bytes), dtype="<i2"), rate_hz

    def close(self) -> None:
        """End the child process."""
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()
        self._process.wait()


def _serve(requests: BinaryIO, replies: BinaryIO) -> None:
    """Answer requests, each in a fork of this process as it is after loading."""
    speak = _load()
    for line in requests:
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reader)
            with os.fdopen(writer, "wb") as pipe:
                pipe.write(speak(**json.loads(line)))
            os._exit(0)
        os.close(writer)
        with os.fdopen(reader, "rb") as pipe:
            reply = pipe.read()
        _, status = os.waitpid(child, 0)
        replies.write(reply if status == 0 and reply else _HEADER.pack(0, 0))
        replies.flush()


def _load() -> Callable[..., bytes]:
    """Load the library; returns the function that speaks a request and gives header and samples."""
    import espeakng_loader

    library: Any = ctypes.CDLL(espeakng_loader.get_library_path())
    data = espeakng_loader.get_data_path().encode()
    rate_hz = library.espeak_Initialize(_SYNCHRONOUS, 0, data, 0)
    if rate_hz <= 0:
        raise SystemExit(f"espeak-ng does not start with its data in {data.decode()}")
    library.espeak_ng_SetRandSeed(ctypes.c_long(1))  # some voices draw noise, from a clock's seed otherwise
    chunks: list[bytes] = []

    def collect(samples: int | None, count: int, _events: int | None) -> int:
        if samples and count > 0:
            chunks.append(ctypes.string_at(samples, 2 * count))
        return 0

    callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p)(collect)
    library.espeak_SetSynthCallback(callback)

    def speak(text: str, voice: str, rate: int, pitch: int, pitch_range: int) -> bytes:
        assert callback is not None  # the library keeps only its address
        encoded = text.encode()
        done = library.espeak_SetVoiceByName(voice.encode()) == _OK
        for parameter, value in ((_RATE, rate), (_PITCH, pitch), (_RANGE, pitch_range)):
            done = done and library.espeak_SetParameter(parameter, value, 0) == _OK
        size = ctypes.c_size_t(len(encoded) + 1)
        done = done and library.espeak_Synth(encoded, size, 0, 0, 0, _CHARS_UTF8, None, None) == _OK
        content = b"".join(chunks)
        return _HEADER.pack(rate_hz, len(content)) + content if done else _HEADER.pack(0, 0)

    return speak


if __name__ == "__main__":
    _serve(sys.stdin.buffer, sys.stdout.buffer)
