"""Which Ray clusters may be joined: whoever reaches one runs code in it."""

import ipaddress
import os
import re
import secrets

from pipeline.errors import InputError

AUTO = "auto"
"""What Ray takes for the cluster of the node that a command runs on."""


def check_address(address: str) -> None:
    """InputError for what is neither HOST:PORT nor `auto`; an empty one asks for a cluster of this machine alone."""
    if address not in {"", AUTO} and not re.fullmatch(r"(\[[0-9a-fA-F:.]+\]|[^:/@?\s]+):\d{1,5}", address):
        shown = re.split(r"[?#]", address)[0]
        raise InputError(
            f"--address {shown}: is no address of a Ray cluster; give HOST:PORT, or auto on one of its nodes"
        )


def check_safety(address: str) -> None:
    """InputError for a cluster at HOST:PORT beyond loopback, or for the node's own, without token and TLS."""
    missing = [
        f"{name}={value}"
        for name, value in (("RAY_AUTH_MODE", "token"), ("RAY_USE_TLS", "1"))
        if os.environ.get(name) != value
    ]
    if missing and address == AUTO:
        raise InputError(
            f"--address auto: the cluster of this node may be reached by others, so set {' and '.join(missing)} here "
            "and on its nodes (docs/archive.md); or leave --address out, and Ray starts on this machine alone"
        )
    if missing and not is_loopback(address):
        raise InputError(
            f"{address}: is not on this machine; a cluster that others can reach needs {' and '.join(missing)} here "
            "and on its nodes (docs/archive.md)"
        )


def make_token() -> None:
    """Protect a cluster that this process is about to start by a token that only its own processes have.

    Ray listens on every interface, whatever its node's address is. To be called before Ray is imported, which is when
    it reads whether tokens are used.
    """
    os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex()}


def is_loopback(address: str) -> bool:
    """Whether the host of HOST:PORT is this machine alone."""
    host = address.rpartition(":")[0].strip("[]")
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
