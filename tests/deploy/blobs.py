"""azurite, which answers as Azure Blob Storage does, on loopback."""

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from azure.core.exceptions import AzureError
from azure.storage.blob import BlobServiceClient

from tests.ports import free_port

_PROGRAM = Path(__file__).parent / "azurite/node_modules/azurite/dist/src/blob/main.js"
ACCOUNT = "devstoreaccount1"
_KEY = "c2VjcmV0IG9mIG5vYm9keSBpbiBwYXJ0aWN1bGFy"
"""Of this account of the tests' own; base64, as Azure's are."""


@dataclass(frozen=True)
class Blobs:
    """A running storage account."""

    connection: str

    def make(self, container: str) -> None:
        """Make a container."""
        with BlobServiceClient.from_connection_string(self.connection) as client:
            client.create_container(container)

    def names(self, container: str) -> list[str]:
        """What lies in a container."""
        with BlobServiceClient.from_connection_string(self.connection) as client:
            return list(client.get_container_client(container).list_blob_names())


@contextmanager
def azurite(folder: Path) -> Iterator[Blobs]:
    """Run it with its data below `folder`; left out where it is not installed, which fails where CI=true."""
    node = shutil.which("node")
    if node is None or not _PROGRAM.is_file():
        if os.environ.get("CI") == "true":
            pytest.fail("azurite is not installed, and CI leaves nothing out")
        pytest.skip("left out: npm ci --ignore-scripts --prefix tests/deploy/azurite")
    port = free_port()
    log = folder / "log.txt"
    with log.open("wb") as file:
        process = subprocess.Popen(
            # Without the last word it refuses clients that are newer than it.
            [node, _PROGRAM, "--blobPort", str(port), "--location", folder, "--disableTelemetry", "--silent",
             "--skipApiVersionCheck"],
            env={"PATH": os.environ["PATH"], "HOME": str(folder), "AZURITE_ACCOUNTS": f"{ACCOUNT}:{_KEY}"},
            stdout=file, stderr=file,
        )  # fmt: skip
    found = Blobs(
        f"DefaultEndpointsProtocol=http;AccountName={ACCOUNT};AccountKey={_KEY};"
        f"BlobEndpoint=http://127.0.0.1:{port}/{ACCOUNT};"
    )
    try:
        _wait(found, process, log)
        yield found
    finally:
        process.terminate()
        process.wait(20)


def _wait(blobs: Blobs, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + 60
    while time.monotonic() < end:
        assert process.poll() is None, log.read_text()
        try:
            with BlobServiceClient.from_connection_string(blobs.connection, retry_total=0) as client:
                client.get_service_properties()
        except AzureError:
            time.sleep(0.2)
        else:
            return
    raise AssertionError(f"azurite does not answer: {log.read_text()}")
