"""How a process joins a Ray cluster: to score an archive, to search, to train."""

import os
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import ray
from ray.exceptions import AuthenticationError, RayError

from pipeline.archive.cluster_safety import check_safety, is_loopback
from pipeline.archive.watchdog import Watchdog
from pipeline.errors import InputError
from serving.errors import one_line


@contextmanager
def joined(address: str, processes: int) -> Iterator[None]:
    """Be part of the cluster at HOST:PORT, or of one that is started here (`cluster_safety.make_token`).

    InputError where there is none, it does not accept the token, or it lies beyond loopback without token and TLS. If
    its head goes, the process ends with one line (`watchdog`).
    """
    named = re.fullmatch(r"[^/\s]+:\d+", address) is not None
    with ExitStack() as stack:
        # Stopped last, as leaving may wait for the head as well.
        if named:
            stack.callback(Watchdog(address).stop)
        _connect(address, processes)
        if not named:
            stack.callback(Watchdog(ray.get_runtime_context().gcs_address).stop)
        stack.callback(ray.shutdown)
        yield


def _connect(address: str, processes: int) -> None:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    if address:
        check_safety(address)
        options["address"] = address
        if is_loopback(address):
            options["_node_ip_address"] = address.rpartition(":")[0]
    else:
        cores = processes or len(os.sched_getaffinity(0))
        # "local": without an address Ray would join the cluster of RAY_ADDRESS, or the last one started here.
        options |= {
            "address": "local", "num_cpus": cores, "include_dashboard": False, "_node_ip_address": "127.0.0.1",
        }  # fmt: skip
    try:
        ray.init(**options)
    except (RayError, ConnectionError, RuntimeError, ValueError, OSError) as error:
        raise InputError(f"{address or 'ray'}: {_why_not_joined(error)}") from None


def _why_not_joined(error: BaseException) -> str:
    """Ray tells of a wrong token by an error of its own, among the causes of another error, or in its log alone."""
    causes: list[BaseException] = []
    found: BaseException | None = error
    while found is not None:
        causes.append(found)
        found = found.__cause__ or found.__context__
    if any(isinstance(one, AuthenticationError) or "uthentic" in str(one) for one in causes):
        return "the cluster does not accept this token; see RAY_AUTH_TOKEN"
    token = os.environ.get("RAY_AUTH_MODE") == "token"
    return f"cannot be joined ({one_line(error, 150)}){'; is RAY_AUTH_TOKEN that of the cluster?' if token else ''}"
