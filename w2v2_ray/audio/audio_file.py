"""An audio file whose length is what can be decoded, not what its header says."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import soundfile

from w2v2_ray.audio.containers.look import look, look_at_mpeg, may_be_media, what_it_is
from w2v2_ray.audio.containers.promise import Promise
from w2v2_ray.audio.containers.splice import spliced
from w2v2_ray.audio.media_file import MediaFile, reads_media
from w2v2_ray.audio.rejection import RejectReason, reject
from w2v2_ray.audio.signal import Frames
from w2v2_ray.audio.suffixes import conversion_hint

_RATES_HZ = (1_000, 384_000)
_MAX_CHANNELS = 64
_MPEG_SUFFIXES = (".mp3", ".mp2", ".mpga", ".mpeg")
_MPEG_SLACK_FRAMES = 2 * 1152  # encoders count their padding in different ways
_SLACK_S = 0.01  # between a header's figure and the audio
_BLOCK_SLACK_S = 0.1  # of audio that comes in blocks
_ONE_BY_ONE = ("PCM_", "FLOAT", "DOUBLE", "ULAW", "ALAW")
_SMALL_BLOCK_FRAMES = 1 << 12
_BLOCK_FRAMES = 1 << 18
_DECODER_ERRORS = (soundfile.SoundFileError, RuntimeError)
_OPENING_ERRORS = (*_DECODER_ERRORS, TypeError, ValueError)


class _StraightFile(soundfile.SoundFile):
    """Reads on without seeking.

    soundfile seeks after every read to where it is already. In an MP3 file that drops what the decoder carries from
    frame to frame, so the next read begins with a click; in a damaged Ogg file it hides that audio is missing; codecs
    that cannot be sought fail.
    """

    def seekable(self) -> bool:
        """False, which is all that keeps `read` from seeking; `seek` works all the same."""
        return False


class AudioFile:
    """An open file; make it with `open_audio`.

    Args:
        path: The file.
        promise: What its structure says.

    Attributes:
        rate_hz: Of the file.
        channels: Of the file.
        frames: Its length at that rate.
        subtype: libsndfile's name of the encoding.
        is_exact: Whether it is read as int16.

    Raises:
        AudioError: The header is wrong, or has no audio behind it.
    """

    def __init__(self, path: Path, promise: Promise) -> None:
        self._path = path
        self._promise = promise
        self._position = 0
        self._is_spent = False  # the decoder went on behind the end
        self._end_is_known = not promise.decode_on
        self._file = self._opened()
        self.rate_hz: int = self._file.samplerate
        self.channels: int = self._file.channels
        self.subtype: str = self._file.subtype
        self.is_exact = self.subtype == "PCM_16" and self.channels == 1
        self.frames: int = self._file.frames
        self._check_form()
        if promise.decode_on:
            self.frames = promise.frames or self._count()
        self._check_length()

    @property
    def is_mpeg(self) -> bool:
        """Whether it consists of MPEG frames."""
        return self.subtype.startswith("MPEG")

    def read(self, start: int, count: int) -> Frames:
        """Decode frames. Reading on from where the last call ended never seeks.

        Raises:
            AudioError: They are missing or damaged, or the file goes on behind the end that its header says.
        """
        count = max(0, min(count, self.frames - start))
        try:
            if self._is_spent:
                self._restart()
            if start != self._position:
                self._seek(start)
            frames: Frames = self._file.read(count, dtype="int16" if self.is_exact else "float32", always_2d=True)
        except _DECODER_ERRORS as error:
            if self._ends_early():
                raise reject(
                    RejectReason.TRUNCATED, f"the header says {self.frames} samples, the data ends before"
                ) from error
            raise reject(RejectReason.UNREADABLE, f"decoding fails ({_words(error)})") from error
        self._position = start + len(frames)
        if len(frames) + (_MPEG_SLACK_FRAMES if self.is_mpeg else 0) < count:
            raise reject(
                RejectReason.TRUNCATED,
                f"{self._seconds(start + count)} expected, {self._seconds(self._position)} decoded",
            )
        if not self._end_is_known and self._position == self.frames:
            self._check_end()
        return frames

    def begin_anew(self) -> None:
        """Forget what was decoded: what is read next does not depend on what was read before."""
        self._restart()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _opened(self) -> soundfile.SoundFile:
        parts = self._promise.parts
        return _StraightFile(self._path if parts is None else spliced(self._path, parts))

    def _restart(self) -> None:
        self._file.close()
        self._file, self._position, self._is_spent = self._opened(), 0, False

    def _seek(self, start: int) -> None:
        """Go to a frame; where the codec cannot, by decoding all that lies before it."""
        try:
            self._file.seek(start)
        except _DECODER_ERRORS:
            self._restart()
            while self._position < start:
                step = len(self._file.read(min(start - self._position, _BLOCK_FRAMES), dtype="int16"))
                if not step:
                    return
                self._position += step
        self._position = start

    def _count(self) -> int:
        """The length of a file whose header does not say it: all of it is decoded."""
        frames = 0
        try:
            while step := len(self._file.read(_SMALL_BLOCK_FRAMES, dtype="int16")):
                frames += step
        except _DECODER_ERRORS as error:
            raise reject(
                RejectReason.UNREADABLE,
                f"decoding fails after about {self._seconds(frames)}, and the header does not say how long it is "
                f"({_words(error)})",
            ) from error
        if not frames:
            raise reject(RejectReason.EMPTY, "no samples")
        self._end_is_known = True
        self._restart()
        return frames

    def _ends_early(self) -> bool:
        """Whether the last sample that the header promises cannot be read: damage in the middle leaves it readable."""
        try:
            # Opened anew: a decoder that met an error stays in it.
            with self._opened() as again:
                again.seek(self.frames - 1)
                return len(again.read(1)) == 0
        except _DECODER_ERRORS:
            return True

    def _check_form(self) -> None:
        if not _RATES_HZ[0] <= self.rate_hz <= _RATES_HZ[1] or not 1 <= self.channels <= _MAX_CHANNELS:
            raise reject(RejectReason.WRONG_HEADER, f"the header says {self.rate_hz} Hz and {self.channels} channels")
        if self.frames <= 0:
            raise reject(RejectReason.EMPTY, "the header says 0 samples")

    def _check_length(self) -> None:
        """Compare what the header says with what the file has."""
        promise = self._promise
        slack = self.rate_hz * (_SLACK_S if self.subtype.startswith(_ONE_BY_ONE) else _BLOCK_SLACK_S)
        slack = max(slack, _MPEG_SLACK_FRAMES if self.is_mpeg else 0)
        if promise.stray_bytes and promise.audio_bytes:
            stray = self.frames * promise.stray_bytes / promise.audio_bytes
            if stray > slack:
                raise reject(
                    RejectReason.WRONG_HEADER,
                    f"the header says {self._seconds(self.frames)}, the file has audio or other data for "
                    f"{self._seconds(self.frames + stray)} (joined files, or a wrong size)",
                )
        if promise.frames is not None and not promise.decode_on and abs(self.frames - promise.frames) > slack:
            raise reject(
                RejectReason.TRUNCATED if self.frames < promise.frames else RejectReason.WRONG_HEADER,
                f"the header says {self._seconds(promise.frames)}, the file has {self._seconds(self.frames)}",
            )

    def _check_end(self) -> None:
        """Raise if the decoder has more to give than the header says."""
        self._end_is_known = True
        more = 0
        try:
            while step := len(self._file.read(_SMALL_BLOCK_FRAMES, dtype="int16")):
                more += step
        except _DECODER_ERRORS:
            pass  # what follows is no audio
        if more:
            raise reject(
                RejectReason.WRONG_HEADER,
                f"the header says {self._seconds(self.frames)}, the file has {self._seconds(self.frames + more)}",
            )
        self._is_spent = True

    def _seconds(self, frames: float) -> str:
        return f"{frames / self.rate_hz:.3f} s"


@contextmanager
def open_audio(path: Path) -> Iterator[AudioFile | MediaFile]:
    """Open a file after looking at what decoders forgive; with FFmpeg where libsndfile does not know it.

    Raises:
        AudioError: The file cannot be used; the message is `reason: detail` with a `RejectReason`.
    """
    try:
        status = os.stat(path)
        key = (os.fspath(path), status.st_ino, status.st_size, status.st_mtime_ns)
        file = _LAST.take(key) or _opened(path)
    except FileNotFoundError:
        raise reject(RejectReason.MISSING, "there is no such file") from None
    except OSError as error:
        raise reject(RejectReason.UNREADABLE, error.strerror or str(error)) from error
    try:
        yield file
    except BaseException:
        file.close()
        raise
    _LAST.keep(key, file)


class _LastFile:
    """The file that was read last, left open: the pieces of a long recording follow one another.

    To open it again for each would mean to count its length, and to decode all before the piece, each time.
    """

    def __init__(self) -> None:
        self._files: dict[object, AudioFile | MediaFile] = {}

    def take(self, key: object) -> AudioFile | MediaFile | None:
        """The file, if it is that one and nobody else has it."""
        file = self._files.pop(key, None)
        if file is not None:
            file.begin_anew()
        return file

    def keep(self, key: object, file: AudioFile | MediaFile) -> None:
        """Leave a file open, in place of any other."""
        for other in list(self._files):
            former = self._files.pop(other, None)
            if former is not None:
                former.close()
        self._files[key] = file


_LAST = _LastFile()


def _opened(path: Path) -> AudioFile | MediaFile:
    promise = look(path)
    if promise is None and path.suffix.lower() in _MPEG_SUFFIXES:
        promise = look_at_mpeg(path)
    try:
        file = AudioFile(path, promise or Promise())
        if promise is None and file.is_mpeg and (promise := look_at_mpeg(path)) is not None:
            file.close()
            file = AudioFile(path, promise)
    except _OPENING_ERRORS as error:
        if reads_media() and may_be_media(path):
            return MediaFile(path)
        raise reject(
            RejectReason.WRONG_HEADER,
            f"not audio that libsndfile knows ({what_it_is(path) or _words(error)}){conversion_hint(path)}",
        ) from error
    return file


def _words(error: Exception) -> str:
    return str(getattr(error, "error_string", error))
