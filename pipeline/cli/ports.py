"""Whether a server can listen on a port."""

import socket

from pipeline.errors import InputError


def check_port(host: str, port: int) -> None:
    """Raise InputError when nothing can listen there."""
    try:
        family, kind, protocol, _, place = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except (socket.gaierror, UnicodeError):
        raise InputError(f"--host {host}: is no address of this machine; try 127.0.0.1") from None
    with socket.socket(family, kind, protocol) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(place)
        except OSError as error:
            raise InputError(
                f"port {port} on {host} cannot be used ({error.strerror}); give another one with --port"
            ) from None
