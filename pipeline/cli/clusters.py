"""What a command line says of a Ray cluster."""

import re

from pipeline.errors import InputError

_AUTO = "auto"
"""What Ray takes for the cluster of the node that the command runs on."""


def check_address(address: str) -> None:
    """InputError for what is neither HOST:PORT nor `auto`; an empty one asks for a cluster of this machine alone."""
    if address not in {"", _AUTO} and not re.fullmatch(r"(\[[0-9a-fA-F:.]+\]|[^:/@?\s]+):\d{1,5}", address):
        shown = re.split(r"[?#]", address)[0]
        raise InputError(
            f"--address {shown}: is no address of a Ray cluster; give HOST:PORT, or auto on one of its nodes"
        )
