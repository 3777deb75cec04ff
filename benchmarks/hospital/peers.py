"""The other side of the wire: destinations that write down what they are sent, and senders."""

import hashlib
import socketserver
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import pydicom
from pydicom.dataset import FileDataset
from pynetdicom import AE, evt
from pynetdicom.association import Association
from pynetdicom.presentation import StoragePresentationContexts
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    Comprehensive3DSRStorage,
    StorageCommitmentPushModel,
    StorageCommitmentPushModelInstance,
)

from benchmarks.hospital.journal import Journal
from hospital.associating import associate

_SECONDS = 30.0
_REPORT_SECONDS = 0.05
"""From a request for commitment to its report."""


@dataclass(frozen=True)
class Report:
    """A structured report as it came in: what it speaks of, and which earlier report it replaces."""

    study_uid: str
    sources: tuple[str, ...]
    predecessors: tuple[str, ...]


@dataclass
class Ledger:
    """What a destination holds, by identity (SOP Instance UID or MSH-10): the bytes' digest, and how often it came."""

    name: str
    journal: Journal
    digests: dict[str, str] = field(default_factory=dict)
    times: Counter[str] = field(default_factory=Counter)
    changed: set[str] = field(default_factory=set)
    reports: dict[str, Report] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for line in self.journal.of("received"):
            if line["at"] == self.name:
                self._note(line["identity"], line["digest"], line["report"])

    def add(self, identity: str, content: bytes, report: Report | None = None) -> None:
        """Write down what came, before it is acknowledged."""
        told = [report.study_uid, list(report.sources), list(report.predecessors)] if report else None
        digest = hashlib.sha256(content).hexdigest()
        self.journal.add("received", at=self.name, identity=identity, digest=digest, report=told)
        self._note(identity, digest, told)

    @property
    def repeats(self) -> int:
        """What came more than once, counted without its first time."""
        return sum(self.times.values()) - len(self.times)

    def _note(self, identity: str, digest: str, told: list[Any] | None) -> None:
        if self.digests.setdefault(identity, digest) != digest:
            self.changed.add(identity)
        self.times[identity] += 1
        if told is not None:
            self.reports[identity] = Report(told[0], tuple(told[1]), tuple(told[2]))


class Archive:
    """A storage SCP that commits to what it keeps; it forgets nothing while it is away."""

    def __init__(self, ledger: Ledger, port: int) -> None:
        self.ledger = ledger
        self.port = port
        self._server: Any = None

    def open(self) -> None:
        """Listen."""
        entity = AE(self.ledger.name)
        entity.maximum_associations = 50
        for context in StoragePresentationContexts:
            entity.add_supported_context(context.abstract_syntax or "")
        entity.add_supported_context(StorageCommitmentPushModel)
        handlers: list[Any] = [(evt.EVT_C_STORE, self._store), (evt.EVT_N_ACTION, self._commit)]
        self._server = entity.start_server(("127.0.0.1", self.port), block=False, evt_handlers=handlers)

    def close(self) -> None:
        """Go away, in the middle of whatever is sent."""
        self._server.shutdown()
        for association in self._server.active_associations:
            with suppress(RuntimeError, OSError):  # it ends by itself in this moment
                association.abort()

    def _store(self, event: evt.Event) -> int:
        identity = str(event.request.AffectedSOPInstanceUID)  # type: ignore[union-attr]
        content = event.encoded_dataset(include_meta=False)
        is_report = event.request.AffectedSOPClassUID == Comprehensive3DSRStorage
        self.ledger.add(identity, content, _report(event.dataset) if is_report else None)
        return 0x0000

    def _commit(self, event: evt.Event) -> tuple[int, None]:
        threading.Thread(target=self._tell, args=(event.assoc, event.action_information), daemon=True).start()
        return 0x0000, None

    def _tell(self, association: Association, asked: pydicom.Dataset) -> None:
        time.sleep(_REPORT_SECONDS)
        told = pydicom.Dataset()
        told.TransactionUID, told.ReferencedSOPSequence = asked.TransactionUID, asked.ReferencedSOPSequence
        try:
            association.send_n_event_report(told, 1, StorageCommitmentPushModel, StorageCommitmentPushModelInstance)
        except (RuntimeError, ValueError):
            return  # the gateway has gone; it asks again


def _report(dataset: pydicom.Dataset) -> Report:
    evidence = dataset.get("CurrentRequestedProcedureEvidenceSequence", [])
    before = dataset.get("PredecessorDocumentsSequence", [])
    return Report(str(dataset.StudyInstanceUID), tuple(_named(evidence)), tuple(_named(before)))


def _named(sequence: Any) -> Iterator[str]:
    """SOP Instance UIDs in a Hierarchical SOP Instance Reference Macro (PS3.3, C.17.2.1)."""
    for study in sequence:
        for series in study.ReferencedSeriesSequence:
            for item in series.ReferencedSOPSequence:
                yield str(item.ReferencedSOPInstanceUID)


class Listener:
    """An information system that answers each HL7 v2 message AA."""

    def __init__(self, ledger: Ledger, port: int) -> None:
        self.ledger = ledger
        self.port = port
        self._server: socketserver.ThreadingTCPServer | None = None

    def open(self) -> None:
        """Listen."""
        ledger = self.ledger

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                content = b""
                while not content.endswith(b"\x1c\r"):
                    block = self.connection.recv(65536)
                    if not block:
                        return
                    content += block
                control = content.split(b"\r", 1)[0].split(b"|")[9].decode()
                ledger.add(control, content)
                self.connection.sendall(f"\x0bMSH|^~\\&|RIS\rMSA|AA|{control}\r\x1c\r".encode())

        class Server(socketserver.ThreadingTCPServer):
            allow_reuse_address = True
            daemon_threads = True

        self._server = Server(("127.0.0.1", self.port), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        """Go away."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()


def send(port: int, images: Iterator[FileDataset], answered: Callable[[FileDataset, int | None], bool]) -> None:
    """C-STORE images on one association; `answered` hears each status (None: no answer), and whether to go on."""
    entity = AE("SENDER")
    entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = entity.connection_timeout = _SECONDS
    association: Association | None = None
    try:
        for image in images:
            if association is None:
                entity.add_requested_context(image.SOPClassUID, image.file_meta.TransferSyntaxUID)
                association = associate(entity, "127.0.0.1", port, ae_title="FRACTURE")
            if not answered(image, _stored(association, image)):
                return
    finally:
        if association is not None and association.is_established:
            association.release()


def _stored(association: Association, image: FileDataset) -> int | None:
    """The status of a C-STORE; None where the association ended without one."""
    if not association.is_established:
        return None
    try:
        status: int | None = association.send_c_store(image).get("Status")
    except (RuntimeError, ValueError):
        return None
    return status
