"""The one place that starts Ray or joins it, for every command."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from w2v2_ray.errors import RunFailedError, UserError, W2v2RayError
from w2v2_ray.orchestration.address import Address, no_cluster, read_address, try_address, wrong_token
from w2v2_ray.orchestration.cluster_state import look_at_cluster
from w2v2_ray.orchestration.interrupt import one_interrupt_is_enough
from w2v2_ray.orchestration.ray_private.core import TOKEN_LOGGER, lean_head, nodes_here
from w2v2_ray.orchestration.supply import Supply
from w2v2_ray.processors import visible_gpus


@dataclass(frozen=True)
class Cluster:
    """A Ray to run in.

    Attributes:
        started_here: By this command, for itself alone: it has this machine's GPUs and gets no more.
        dashboard: URL of its dashboard, where it has one.
    """

    started_here: bool
    dashboard: str | None = None


def survey(address: str | None = None) -> Supply | None:
    """What `ray_cluster` would find, before anything is started or joined.

    Args:
        address: As for `ray_cluster`.

    Returns:
        What the cluster has; None where Ray would be started on this machine.

    Raises:
        UserError: When there is no cluster to join at the address.
    """
    import ray

    if ray.is_initialized():
        return look_at_cluster({})
    place = read_address(address, os.environ)
    if place is None:
        return None
    try_address(place)
    return look_at_cluster({}, place.text)


@contextmanager
def ray_cluster(
    address: str | None = None,
    *,
    num_cpus: float = 1,
    dashboard: bool = False,
    settings: Mapping[str, Any] | None = None,
) -> Iterator[Cluster]:
    """A Ray to run in: the one that this process uses, one that is named, or one on this machine for this block alone.

    Ctrl-C ends the block within seconds.

    Args:
        address: Cluster to join; None or empty: that of `RAY_ADDRESS`, or none.
        num_cpus: Of a Ray that is started here, as Ray counts them: workers share what cores there are, rather than
            wait for more for ever.
        dashboard: Start one beside a Ray that is started here.
        settings: System settings of a Ray that is started here.

    Raises:
        UserError: When there is no cluster to join at the address.
        RunFailedError: When Ray could not be started here.
    """
    import ray

    with one_interrupt_is_enough() as noticed:
        if ray.is_initialized():
            yield Cluster(started_here=False)
            return
        place = read_address(address, os.environ)
        try:
            context = _start(num_cpus, dashboard, settings) if place is None else _join(place)
            yield Cluster(place is None, context.dashboard_url and f"http://{context.dashboard_url}")
        except KeyboardInterrupt:
            noticed()
            raise
        finally:
            ray.shutdown()


def _start(num_cpus: float, dashboard: bool, settings: Mapping[str, Any] | None) -> Any:
    # Without "local", a Ray that happens to run on this machine would be joined.
    options: dict[str, Any] = {"address": "local", "num_cpus": int(-(-num_cpus // 1)), "include_dashboard": dashboard}
    if gpus := visible_gpus(os.environ):
        options["num_gpus"] = gpus
    if settings:
        options["_system_config"] = dict(settings)
    try:
        with lean_head():
            return _init(options)
    except W2v2RayError:
        raise
    except Exception as error:  # Ray raises bare ones, too
        raise RunFailedError(
            f"Ray could not be started on this machine: {_last_line(error)}. Is it short of memory, of room in /tmp "
            "or of time? Try again when it is less busy; Ray's own logs are in /tmp/ray/session_latest/logs"
        ) from error


def _join(place: Address) -> Any:
    from ray.exceptions import AuthenticationError

    try_address(place)
    _require_node_here(place)
    try:
        return _init({"address": place.text})
    except AuthenticationError as error:
        raise wrong_token(place.label) from error
    except Exception as error:
        raise no_cluster(place, _last_line(error)) from error


def _init(options: dict[str, Any]) -> Any:
    import ray

    logger = logging.getLogger(TOKEN_LOGGER)
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        return ray.init(logging_level=logging.WARNING, log_to_driver=False, **options)
    finally:
        logger.setLevel(before)


def _require_node_here(place: Address) -> None:
    """A driver lives on a node; Ray itself would look for one for a minute."""
    if not nodes_here():
        raise UserError(
            f"{place.label}: a Ray cluster answers there, but this machine is no node of it; add it with `ray start "
            f"--address {place.text}`, run the command on a node, or send the job there with `w2v2-ray submit`"
        )


def _last_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[-1] if lines else type(error).__name__).rstrip(".")[:500]
