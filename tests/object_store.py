"""A store that speaks S3, in a process of its own, and a proxy before it that does to requests what networks do."""

from __future__ import annotations

import contextlib
import http.client
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

SERVER = (
    "import logging, sys, time\n"
    "from moto.server import ThreadedMotoServer\n"
    "logging.getLogger('werkzeug').setLevel(logging.ERROR)\n"
    "server = ThreadedMotoServer(ip_address='127.0.0.1', port=int(sys.argv[1]), verbose=False)\n"
    "server.start()\n"
    "time.sleep(1e9)\n"
)
CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def object_store() -> Iterator[str]:
    """Run a store; yields its endpoint. Gone with all that was put there when the block ends."""
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-c", SERVER, str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                if time.monotonic() > deadline or process.poll() is not None:
                    raise
                time.sleep(0.1)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


def make_bucket(endpoint: str, name: str) -> None:
    """Create a bucket."""
    host = endpoint.removeprefix("http://")
    connection = http.client.HTTPConnection(host)
    connection.request("PUT", f"/{name}", headers={"Authorization": _SIGNED})
    assert connection.getresponse().status == 200
    connection.close()


_SIGNED = "AWS4-HMAC-SHA256 Credential=testing/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0"

Fault = Callable[[str, str, int], str | int | float | None]
"""Given method, path and how often this fault was asked, says what happens: None nothing, a number above 99 that status
instead of an answer, a smaller one a delay in seconds, "drop" a broken connection, "cut" half of an answer."""


class FaultyProxy:
    """Passes requests on to a store, or does what `fault` says.

    Args:
        target: The store's endpoint.
    """

    def __init__(self, target: str) -> None:
        self.fault: Fault = lambda method, path, count: None
        self.requests: Counter[str] = Counter()
        self._asked = 0
        self._lock = threading.Lock()
        proxy = self
        host = target.removeprefix("http://")

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: Any) -> None:
                pass

            def _any(self) -> None:
                body = self._body()
                with proxy._lock:
                    proxy._asked += 1
                    proxy.requests[self.command] += 1
                    what = proxy.fault(self.command, self.path, proxy._asked)
                if what == "drop":
                    self.close_connection = True
                    self.connection.shutdown(socket.SHUT_RDWR)
                    return
                if isinstance(what, int) and what > 99:
                    self.send_response(what)
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                    return
                if isinstance(what, (int, float)):
                    time.sleep(what)
                connection = http.client.HTTPConnection(host)
                connection.request(self.command, self.path, body, {**self.headers, "Host": host})
                answer = connection.getresponse()
                content = answer.read()
                self.send_response(answer.status)
                for name, value in answer.getheaders():
                    if name.lower() not in ("transfer-encoding", "connection", "content-length", "date", "server"):
                        self.send_header(name, value)
                length = answer.getheader("Content-Length") if self.command == "HEAD" else str(len(content))
                self.send_header("Content-Length", length or "0")
                self.end_headers()
                if what == "cut":
                    self.wfile.write(content[: len(content) // 2])
                    self.wfile.flush()
                    self.close_connection = True
                    self.connection.shutdown(socket.SHUT_RDWR)
                else:
                    self.wfile.write(content)
                connection.close()

            def _body(self) -> bytes:
                if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
                    parts = []
                    while size := int(self.rfile.readline().split(b";")[0], 16):
                        parts.append(self.rfile.read(size))
                        self.rfile.readline()
                    self.rfile.readline()
                    del self.headers["Transfer-Encoding"]
                    return b"".join(parts)
                return self.rfile.read(int(self.headers.get("Content-Length") or 0))

            do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = _any  # noqa: N815

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.endpoint = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        """Stop."""
        self._server.shutdown()
        self._server.server_close()
