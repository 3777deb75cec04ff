"""Run by the Python of .venv-ray: a Ray cluster of two nodes with a CPU each, on 127.0.0.2 and 127.0.0.3.

Prints the address and the process numbers of the raylets as a line of JSON. Each line of its input adds a node on the
next address, and prints the line anew; it ends when its input does.
"""

import json
import socket
import sys
import tempfile
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any, TypeVar

from ray.cluster_utils import Cluster

PORTS = ("metrics_agent_port", "metrics_export_port", "dashboard_agent_listen_port", "runtime_env_agent_port")
"""Of what Ray starts beside a node: chosen here, where nobody else's cluster has its own."""
ATTEMPTS = 8
"""A node ends when its agent takes more than 15 seconds to start, whatever is configured (ray-project/ray 65983)."""

T = TypeVar("T")


def _patiently(start: Callable[[], T]) -> T:
    """Start something, several times on a machine that is too busy."""
    for _ in range(ATTEMPTS - 1):
        try:
            return start()
        except Exception as error:  # noqa: BLE001  Ray raises what it likes
            print(f"again, as the node did not start: {error}", file=sys.stderr, flush=True)
    return start()


def _options(host: str) -> dict[str, Any]:
    held = [socket.create_server((host, 0)) for _ in PORTS]
    ports = {name: one.getsockname()[1] for name, one in zip(PORTS, held, strict=True)}
    for one in held:
        one.close()
    return {
        "num_cpus": 1, "include_dashboard": False, "include_log_monitor": False, "no_monitor": True,
        "object_store_memory": 80 << 20, "node_ip_address": host, **ports,
    }  # fmt: skip


def main() -> None:
    """Start it, and end it."""
    Path("/tmp/ray").mkdir(exist_ok=True)  # noqa: S108  where Ray notes its last cluster, whatever its folder is
    hosts = (f"127.0.0.{number}" for number in count(2))
    # A short path: sockets lie in it.
    with tempfile.TemporaryDirectory(prefix="ray", dir="/tmp", ignore_cleanup_errors=True) as folder:
        head = next(hosts)
        cluster = _patiently(
            lambda: Cluster(initialize_head=True, head_node_args={**_options(head), "temp_dir": folder})
        )
        nodes = [cluster.head_node]
        try:
            while True:
                nodes.append(_patiently(lambda: cluster.add_node(**_options(next(hosts)))))
                raylets = [node.all_processes["raylet"][0].process.pid for node in nodes]
                print(json.dumps({"address": cluster.address, "raylets": raylets}), flush=True)
                if not sys.stdin.readline():
                    return
        finally:
            cluster.shutdown()


if __name__ == "__main__":
    main()
