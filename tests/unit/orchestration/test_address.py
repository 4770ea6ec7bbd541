"""Addresses in every form that users write: one message, within seconds."""

from __future__ import annotations

import http.server
import socket
import threading

import pytest

from w2v2_ray.errors import UserError
from w2v2_ray.orchestration.address import Address, read_address, try_address


@pytest.mark.parametrize(
    ("given", "variable"), [(None, None), ("", None), (None, ""), ("  ", " "), ("local", None), (None, "local")]
)
def test_nothing_and_local_start_a_ray_here(given, variable):
    environment = {} if variable is None else {"RAY_ADDRESS": variable}
    assert read_address(given, environment) is None


@pytest.mark.parametrize(
    ("given", "host", "port"),
    [
        ("10.0.0.1:6379", "10.0.0.1", 6379),
        (" head.example:1234 ", "head.example", 1234),
        ("localhost", "localhost", 6379),
        ("[::1]:6379", "::1", 6379),
    ],
)
def test_a_host_and_a_port_are_read(given, host, port):
    for address in (read_address(given, {}), read_address(None, {"RAY_ADDRESS": given})):
        assert address is not None
        assert (address.host, address.port) == (host, port)


def test_the_option_comes_before_the_variable():
    address = read_address("a:1", {"RAY_ADDRESS": "b:2"})
    assert address is not None
    assert address.text == "a:1"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("http://127.0.0.1:8265", "w2v2-ray submit JOB --address http://127.0.0.1:8265"),
        ("https://cluster", "w2v2-ray submit"),
        ("ray://head:10001", "Ray's client server"),
        ("ftp://x", "not the address of a Ray cluster"),
        ("127.0.0.1:0", "is no port"),
        ("127.0.0.1:65536", "is no port"),
        ("127.0.0.1:x", "is no port"),
        ("127.0.0.1:", "is no port"),
        ("a b:6379", "not the address of a Ray cluster"),
        (":6379", "not the address of a Ray cluster"),
        ("::1:6379", "not the address of a Ray cluster"),
        ("?", "not the address of a Ray cluster"),
    ],
)
def test_what_is_no_address_is_one_message_that_says_where_it_was_given(given, said):
    with pytest.raises(UserError, match=said) as caught:
        read_address(given, {})
    assert caught.value.message.startswith(f"--address {given}")
    with pytest.raises(UserError, match=said) as caught:
        read_address(None, {"RAY_ADDRESS": given})
    assert caught.value.message.startswith(f"RAY_ADDRESS={given}")


def test_a_dead_port_and_an_unknown_host_are_named():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # nobody listens
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match="no Ray cluster answers there \\(connection refused\\)"):
            try_address(Address("x", "127.0.0.1", port))
    with pytest.raises(UserError, match=r"the host nowhere\.invalid is not known"):
        try_address(Address("x", "nowhere.invalid", 6379))


def test_a_web_server_is_no_ray_cluster():
    class Quiet(http.server.BaseHTTPRequestHandler):
        def log_message(self, *arguments):
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Quiet) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            with pytest.raises(UserError, match="does not speak as Ray's control store does"):
                try_address(Address("x", "127.0.0.1", server.server_address[1]))
        finally:
            server.shutdown()
            thread.join()


def test_a_socket_that_says_nothing_is_given_up(monkeypatch):
    monkeypatch.setattr("w2v2_ray.orchestration.address._ANSWER_S", 0.5)
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        pytest.raises(UserError, match="does not speak as Ray's control store does"),
    ):
        try_address(Address("x", "127.0.0.1", server.getsockname()[1]))
