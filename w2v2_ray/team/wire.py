"""How a member and the coordinator talk: JSON, one message a line, after a hello that proves the run's secret."""

from __future__ import annotations

import hmac
import json
from typing import Any

LINE_BYTES = 1 << 20
"""No message is longer; a longer one ends the connection."""
HELLO_S = 5.0
"""A connection that has not proven the secret by then is closed."""


class TeamOver(Exception):  # noqa: N818  (not an error)
    """This worker came when everything was done."""


Message = dict[str, Any]


class Expelled(Exception):  # noqa: N818  (not one of ours on purpose: no user is to be told)
    """The coordinator has given this worker up, or is gone; whatever it does from here on must not count."""


def encode(kind: str, **content: Any) -> bytes:
    """A message as it is sent."""
    return json.dumps({"kind": kind, **content}, separators=(",", ":")).encode() + b"\n"


def decode(line: bytes) -> Message:
    """A message that was received.

    Raises:
        ValueError: When it is none.
    """
    message = json.loads(line)
    if not isinstance(message, dict) or not isinstance(message.get("kind"), str):
        raise ValueError("not a message")
    return message


def is_hello(message: Message, secret: str) -> bool:
    """Whether a first message proves the secret."""
    said = message.get("secret")
    known = isinstance(said, str) and hmac.compare_digest(said.encode(), secret.encode())
    return known and message["kind"] == "hello" and isinstance(message.get("name"), str)
