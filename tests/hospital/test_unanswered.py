"""Destinations and servers that cannot be reached: each says why, in one line, and is tried again."""

import socket
from typing import Any, NoReturn

import pytest
from pydantic import TypeAdapter

from hospital.config import Poll, Secrets
from hospital.delivery.settings import Destination
from hospital.dicomweb.client import DicomwebClient
from hospital.errors import TryAgainError
from hospital.gateway import open_sender
from hospital.labels.search import ReportSearch
from hospital.labels.settings import ReportPoll
from tests.ports import free_port

TABLES: dict[str, dict[str, Any]] = {
    "dicom": {"kind": "dicom", "ae_title": "PACS", "host": "HOST", "port": 0, "timeout_seconds": 5},
    "hl7": {"kind": "hl7", "host": "HOST", "port": 0},
    **{kind: {"kind": kind, "url": "http://HOST:PORT/x"} for kind in ("stow", "fhir", "ups")},
    "poll": {"url": "http://HOST:PORT/x"},
    "reports": {"url": "http://HOST:PORT/x"},
}


def ask(kind: str, host: str, port: int) -> None:
    """Ask what is opened for a table, as `fracture hospital check` does."""
    table = {"name": "a", **TABLES[kind]}
    if "url" in table:
        table["url"] = table["url"].replace("HOST", host).replace("PORT", str(port))
    else:
        table |= {"host": host, "port": port}
    if kind == "poll":
        DicomwebClient(Poll.model_validate(table)).echo()
    elif kind == "reports":
        ReportSearch(ReportPoll.model_validate(table)).echo()
    else:
        destination: Destination = TypeAdapter[Destination](Destination).validate_python(table)
        open_sender(destination, "FRACTURE", Secrets(), lambda *_: None).echo()


def test_tables_here_are_all_kinds_of_destinations() -> None:
    kinds = TypeAdapter[Destination](Destination).json_schema()["discriminator"]["mapping"]
    assert set(kinds) - {"fhir_file"} == set(TABLES) - {"poll", "reports"}


@pytest.mark.parametrize("kind", TABLES)
def test_host_that_nobody_knows_is_told_in_one_line(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object, **__: object) -> NoReturn:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(TryAgainError, match=r"^[^\n]* does not answer \(.*Name or service not known\)$") as raised:
        ask(kind, "pacs.example", 104)
    assert raised.value.code == "unreachable"


@pytest.mark.parametrize("kind", TABLES)
def test_port_that_nobody_listens_on_is_told_in_one_line(kind: str) -> None:
    reason = "" if kind == "dicom" else r" \(.*Connection refused\)"  # pynetdicom keeps it to itself
    with pytest.raises(TryAgainError, match=rf"^[^\n]* does not answer{reason}$"):
        ask(kind, "127.0.0.1", free_port())
