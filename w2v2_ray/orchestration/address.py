"""Where a Ray cluster is, as users write it: read and tried here, in seconds, before Ray is asked to join it."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as NoAnswerError
from dataclasses import dataclass

from w2v2_ray.errors import UserError
from w2v2_ray.orchestration.ray_private.core import control_channel, noted_address

VARIABLE = "RAY_ADDRESS"
_DEFAULT_PORT = 6379
_RESOLVE_S = 5.0
_CONNECT_S = 3.0
_ANSWER_S = 5.0
_FORMS = "write HOST:PORT, such as 10.0.0.1:6379, or `auto` for the cluster of this machine, or leave the address out"


@dataclass(frozen=True)
class Address:
    """A cluster's control store.

    Attributes:
        label: What the user wrote, and where.
        host: Name or number.
        port: Its port.
    """

    label: str
    host: str
    port: int

    @property
    def text(self) -> str:
        """As Ray takes it."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def read_address(given: str | None, environment: Mapping[str, str]) -> Address | None:
    """The cluster to join; None to start one on this machine.

    Args:
        given: By `--address`; empty is as good as not given.
        environment: Its `RAY_ADDRESS` counts where nothing is given; empty is as good as not set.

    Raises:
        UserError: When it is none that a job can run on, with the forms that are.
    """
    variable = environment.get(VARIABLE, "").strip()
    text, label = (given or "").strip(), f"--address {(given or '').strip()}"
    if not text or (text == "auto" and variable):
        text, label = variable, f"{VARIABLE}={variable}"
    if not text or text == "local":
        return None
    if text == "auto":
        text = _running_here(label)
    if "://" in text:
        raise UserError(f"{label}: {_of_scheme(text)}")
    return Address(label, *_host_and_port(text, label))


def _running_here(label: str) -> str:
    """The cluster that `ray start` left a note of on this machine."""
    found = noted_address()
    if not found:
        raise UserError(
            f"{label}: no Ray cluster runs on this machine; start one with `ray start --head`, or leave the address out"
        )
    return found


def _of_scheme(text: str) -> str:
    scheme = text.partition("://")[0].lower()
    if scheme in ("http", "https"):
        return (
            "is the address of a job server, to which jobs are sent: `w2v2-ray submit JOB --address "
            f"{text}`. To join a cluster from one of its nodes, {_FORMS}"
        )
    if scheme == "ray":
        return (
            "is the address of Ray's client server, through which a run cannot be driven: its driver must live on a "
            "node of the cluster. Send the job there with `w2v2-ray submit JOB --address http://HEAD:8265`, or, on a "
            f"node, {_FORMS}"
        )
    return f"not the address of a Ray cluster; {_FORMS}"


def _host_and_port(text: str, label: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not colon:
        host, port = text, str(_DEFAULT_PORT)
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if not bare or any(not (c.isalnum() or c in "-._:%") for c in bare) or (":" in bare and bare == host):
        raise UserError(f"{label}: not the address of a Ray cluster; {_FORMS}")
    if not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise UserError(f"{label}: {port or 'nothing'} is no port; use one from 1 to 65535. In all, {_FORMS}")
    return bare, int(port)


def try_address(address: Address) -> None:
    """See whether a Ray cluster answers.

    Raises:
        UserError: When none does within seconds, or it wants another token.
    """
    reason = _unreachable(address) or _no_control_store(address)
    if reason is not None:
        raise no_cluster(address, reason)


def no_cluster(address: Address, reason: str) -> UserError:
    """The error for a place at which there is no cluster to join.

    Args:
        address: The place.
        reason: Why.
    """
    return UserError(
        f"{address.label}: no Ray cluster answers there ({reason}); start one with `ray start --head`, give the "
        "address of one that runs, or leave it out to start Ray on this machine"
    )


def _unreachable(address: Address) -> str | None:
    pool = ThreadPoolExecutor(1)
    try:
        # A name server that does not answer holds a lookup for longer than anyone waits.
        found = pool.submit(socket.getaddrinfo, address.host, address.port, type=socket.SOCK_STREAM).result(_RESOLVE_S)
        with socket.create_connection((str(found[0][4][0]), address.port), _CONNECT_S):
            return None
    except (socket.gaierror, UnicodeError):
        return f"the host {address.host} is not known"
    except NoAnswerError:  # of a connection too: it is the built-in TimeoutError
        return f"{address.text} does not answer within seconds"
    except OSError as error:
        return str(error.strerror or error).lower()
    finally:
        pool.shutdown(wait=False)


def _no_control_store(address: Address) -> str | None:
    """Ask as Ray's own processes do, but not for a minute."""
    import grpc
    from ray.core.generated import gcs_service_pb2, gcs_service_pb2_grpc
    from ray.exceptions import AuthenticationError

    try:
        channel = control_channel(address.text)
        try:
            stub = gcs_service_pb2_grpc.NodeInfoGcsServiceStub(channel)
            stub.CheckAlive(gcs_service_pb2.CheckAliveRequest(), timeout=_ANSWER_S)
        finally:
            channel.close()
    except AuthenticationError as error:
        raise wrong_token(address.label) from error
    except grpc.RpcError as error:
        if error.code() in (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED):
            raise wrong_token(address.label) from error
        return "what listens there does not speak as Ray's control store does"
    return None


def wrong_token(label: str) -> UserError:
    """The error for a cluster that wants another token than it got.

    Args:
        label: The cluster.
    """
    return UserError(
        f"{label}: this cluster wants a token, and got none or another; set RAY_AUTH_MODE=token and "
        "RAY_AUTH_TOKEN_PATH to the file that holds the cluster's token"
    )
