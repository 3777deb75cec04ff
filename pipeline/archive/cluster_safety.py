"""Which Ray clusters may be joined: whoever reaches one runs code in it."""

import ipaddress
import os
import secrets

from pipeline.errors import InputError


def check_safety(address: str) -> None:
    """InputError for a cluster at HOST:PORT beyond loopback without token and TLS."""
    missing = [
        f"{name}={value}"
        for name, value in (("RAY_AUTH_MODE", "token"), ("RAY_USE_TLS", "1"))
        if os.environ.get(name) != value
    ]
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
