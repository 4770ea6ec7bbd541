"""The one family of exceptions that this package raises on purpose.

Every error a user can cause derives from `UserError` and ends a command with exit code 2 and one message;
everything else that we foresee derives from `RunFailedError` and ends it with 1. A traceback therefore always
means a bug. All of them survive pickling, because Ray carries exceptions between processes.
"""

from __future__ import annotations


class W2v2RayError(Exception):
    """Root of the package's exceptions.

    Args:
        message: What is wrong, naming the thing, the limit and the remedy.
    """

    exit_code = 1

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message

    def __reduce__(self) -> tuple[type[W2v2RayError], tuple[str]]:
        """Rebuild from the message alone, so that subclasses cross process borders whole."""
        return (type(self), (self.message,))


class UserError(W2v2RayError):
    """The user's input is wrong: a spec, a path, an audio file, a shard, a checkpoint, a URI."""

    exit_code = 2


class SpecError(UserError):
    """A job spec or an override is not valid."""


class DatasetError(UserError):
    """A dataset, a shard, a manifest or an ingest source is missing, altered or unusable."""


class AudioError(UserError):
    """One audio file cannot be used. The message is the reason written to `rejects.jsonl`."""


class CheckpointError(UserError):
    """A checkpoint is missing, damaged, or belongs to something else."""


class StorageError(UserError):
    """A path or URI cannot be read or written."""


class MissingExtraError(UserError):
    """An optional dependency is needed. The message gives the install command."""


class RunFailedError(W2v2RayError):
    """The input was right and the run failed all the same."""


class StorageUnavailableError(RunFailedError, OSError):
    """Storage that does not answer, or answers with errors that may pass, was tried for as long as patience lasts.

    An `OSError` too: within a run it is treated like a disk that has gone away, and made up for later.
    """

    def __str__(self) -> str:
        return self.message
