"""A server's certificate that is replaced in its files, and which one a port shows."""

import shutil
import socket
import ssl
from pathlib import Path


class Renewable:
    """Copies of a server's files in `folder`; `tables` is what a TLS table of hospital.toml says of them."""

    def __init__(self, certificates: Path, folder: Path) -> None:
        self._certificates, self._folder = certificates, folder
        self.tables = {"certificate": folder / "own.pem", "key": folder / "own.key"}
        self._put("server")

    def replace(self) -> None:
        """Put another certificate of the same authority in their place."""
        self._put("client")

    def shown(self, port: int) -> str:
        """The file whose certificate a port of loopback shows: `server` or, once replaced, `client`."""
        context = ssl.create_default_context(cafile=str(self._certificates / "ca.pem"))
        context.load_cert_chain(self._certificates / "client.pem", self._certificates / "client.key")
        with (
            socket.create_connection(("127.0.0.1", port), 10) as plain,
            context.wrap_socket(plain, server_hostname="localhost") as connection,
        ):
            found = connection.getpeercert(binary_form=True) or b""
        known = {name: (self._certificates / f"{name}.pem").read_text() for name in ("server", "client")}
        return next(name for name, text in known.items() if ssl.PEM_cert_to_DER_cert(text) == found)

    def _put(self, name: str) -> None:
        for end in ("pem", "key"):
            shutil.copyfile(self._certificates / f"{name}.{end}", self._folder / f"own.{end}")
