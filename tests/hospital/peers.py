"""The other side of the wire: a gateway in a process of its own, senders, and a PACS that a test can make misbehave."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import pydicom
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import AE, evt
from pynetdicom.association import Association
from pynetdicom.presentation import StoragePresentationContexts, build_context, build_role
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    StorageCommitmentPushModel,
    StorageCommitmentPushModelInstance,
    Verification,
)

from hospital.associating import associate
from hospital.mllp import END, START
from tests.hospital.objects import BUNDLE
from tests.ports import free_port

ROOT = Path(__file__).parents[2]
T = TypeVar("T")


def dcmtk(program: str) -> str:
    """Where DCMTK's program lies: pynetdicom installs some of the same names."""
    found = shutil.which(program, path="/usr/local/bin:/usr/bin:/opt/homebrew/bin")
    assert found, f"{program} is not installed (tests/system-packages.txt)"
    return found


def eventually(look: Callable[[], T], seconds: float = 240) -> T:
    """What `look` gives once it is true; fails after `seconds`."""
    deadline = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.1)
    return found


@dataclass
class Pacs:
    """A storage SCP with commitment in a thread, which answers as its fields say; `stored` is by SOP Instance UID."""

    ae_title: str = "PACS"
    port: int = field(default_factory=free_port)
    status: int = 0x0000
    classes: Sequence[Any] = tuple(StoragePresentationContexts)
    calling: Sequence[str] = ()
    commitment: str = "same"  # same association, another one, never, or failure
    report_to: int = 0
    stored: dict[str, pydicom.Dataset] = field(default_factory=dict)
    received: list[str] = field(default_factory=list)

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def open(self) -> None:
        """Listen."""
        entity = AE(self.ae_title)
        entity.require_calling_aet = list(self.calling)
        for context in self.classes:
            entity.add_supported_context(context.abstract_syntax)
        entity.add_supported_context(Verification)
        if self.commitment != "unknown":
            entity.add_supported_context(StorageCommitmentPushModel)
        handlers: list[Any] = [(evt.EVT_C_STORE, self._store), (evt.EVT_N_ACTION, self._commit)]
        self._server: Any = entity.make_server(("127.0.0.1", self.port), evt_handlers=handlers)
        entity._servers.append(self._server)  # as `start_server` does, which looks for its end twice a second only
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def close(self) -> None:
        """Go away."""
        self._server.shutdown()

    def of(self, modality: str) -> list[pydicom.Dataset]:
        """What was stored of a modality."""
        return [one for one in self.stored.values() if one.Modality == modality]

    def _store(self, event: evt.Event) -> int:
        dataset = event.dataset
        dataset.file_meta = event.file_meta
        self.received.append(str(dataset.SOPInstanceUID))
        if self.status == 0x0000:
            self.stored[str(dataset.SOPInstanceUID)] = dataset
        return self.status

    def _commit(self, event: evt.Event) -> tuple[int, None]:
        asked = event.action_information
        if self.commitment != "never":
            threading.Thread(target=self._report, args=(event.assoc, asked), daemon=True).start()
        return 0x0000, None

    def _report(self, association: Association, asked: pydicom.Dataset) -> None:
        time.sleep(0.2)
        told = pydicom.Dataset()
        told.TransactionUID = asked.TransactionUID
        if self.commitment == "failure":
            told.FailedSOPSequence = asked.ReferencedSOPSequence
        else:
            told.ReferencedSOPSequence = asked.ReferencedSOPSequence
        kind = 2 if self.commitment == "failure" else 1
        named = (StorageCommitmentPushModel, StorageCommitmentPushModelInstance)
        if self.commitment == "same":
            with suppress(RuntimeError):  # the gateway has ended the association, or was killed
                association.send_n_event_report(told, kind, *named)
            return
        entity = AE(self.ae_title)
        role = build_role(StorageCommitmentPushModel, scp_role=True)
        contexts = [build_context(StorageCommitmentPushModel, ExplicitVRLittleEndian)]
        options = {"contexts": contexts, "ae_title": "FRACTURE", "ext_neg": [role]}
        other = associate(entity, "127.0.0.1", self.report_to, **options)
        if other.is_established:
            other.send_n_event_report(told, kind, *named)
            other.release()


def send(port: int, *datasets: pydicom.Dataset, calling: str = "MODALITY", called: str = "FRACTURE") -> list[int]:
    """C-STORE objects on one association; the statuses, empty where it was not established."""
    entity = AE(calling)
    kinds = {(one.SOPClassUID, one.file_meta.TransferSyntaxUID) for one in datasets}
    for sop_class, syntax in kinds:
        entity.add_requested_context(sop_class, syntax)
    association = associate(entity, "127.0.0.1", port, ae_title=called)
    if not association.is_established:
        return []
    statuses = [association.send_c_store(one).get("Status", -1) for one in datasets]
    association.release()
    return statuses


def send_hl7(port: int, message: str) -> str:
    """An HL7 v2 message over MLLP; its answer, empty where there is none."""
    with socket.create_connection(("127.0.0.1", port), 10) as connection:
        connection.sendall(START + message.encode() + END)
        found = b""
        while not found.endswith(END) and (block := connection.recv(4096)):
            found += block
    return found.removeprefix(START).removesuffix(END).decode()


class RunningGateway:
    """`python -m hospital` on a spool of its own; `destinations` are tables of hospital.toml."""

    def __init__(self, folder: Path, settings: dict[str, dict[str, Any]] | None = None, *destinations: str) -> None:
        self.folder = folder
        self.port, self.operation_port, self.adt_port = free_port(), free_port(), free_port()
        given = settings or {}
        tables: dict[str, dict[str, Any]] = {
            "receiver": {"port": self.port, "disk_reserve_mb": 1, **given.get("receiver", {})},
            "model": {"bundle": str(BUNDLE), "processes": 1, **given.get("model", {})},
            "study": {"stable_seconds": 0.5, **given.get("study", {})},
            "results": {**given.get("results", {})},
            "delivery": {"first_wait_seconds": 0.5, "longest_wait_seconds": 1, **given.get("delivery", {})},
            "operation": {"port": self.operation_port, **given.get("operation", {})},
            "adt": {"port": self.adt_port},
        }
        lines = [f"[{name}]\n" + "\n".join(f"{key} = {json.dumps(value)}" for key, value in table.items())
                 for name, table in tables.items()]  # fmt: skip
        self.config = folder / "hospital.toml"
        self.config.write_text("\n\n".join([*lines, *destinations]) + "\n", encoding="utf-8")
        self.log = folder / "gateway.log"
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start, and wait until it is ready."""
        marker = self.lines().count('"event": "ready"')
        self.begin()
        eventually(lambda: self._alive() and self.lines().count('"event": "ready"') > marker, 400)

    def begin(self) -> None:
        """Start, and wait for nothing."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self._command("run"), cwd=ROOT, stderr=log, stdout=log, env=os.environ | {"OPENBLAS_NUM_THREADS": "1"}
            )

    def stop(self) -> None:
        """End it in order."""
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(60)

    def kill(self) -> None:
        """End it as a loss of power would."""
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(30)

    def command(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a command beside it."""
        return subprocess.run(self._command(*words), cwd=ROOT, capture_output=True, text=True, check=False, timeout=300)

    def get(self, path: str) -> bytes:
        """What the operation's port answers."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.operation_port}{path}", timeout=10) as answer:
            return bytes(answer.read())

    def worklist(self) -> list[dict[str, Any]]:
        """The studies as JSON."""
        studies: list[dict[str, Any]] = json.loads(self.get("/worklist.json"))["studies"]
        return studies

    def study(self, uid: str, version: int = 1, seconds: float = 240) -> dict[str, Any]:
        """A study's entry, once it has reached a version."""

        def found() -> dict[str, Any] | None:
            chosen = [one for one in self.worklist() if one["study_uid"] == uid and one["version"] >= version]
            return chosen[0] if chosen else None

        entry = eventually(found, seconds)
        assert entry is not None
        return entry

    def lines(self) -> str:
        """Everything that it has logged."""
        with suppress(FileNotFoundError):
            return self.log.read_text(encoding="utf-8")
        return ""

    def _alive(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.lines()[-2000:]
        return True

    def _command(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "hospital", "--config", str(self.config), *words]


def dicom_destination(pacs: Pacs, **settings: Any) -> str:
    """The table of a destination.

    On a busy machine a report of commitment may come after the association that it belongs on has gone: it is asked for
    again within the patience of a test.
    """
    facts: dict[str, Any] = {
        "kind": "dicom", "name": pacs.ae_title.lower(), "ae_title": pacs.ae_title, "host": "127.0.0.1",
        "port": pacs.port, "timeout_seconds": 5, "commitment_seconds": 30, **settings,
    }  # fmt: skip
    lines = (f"{key} = {json.dumps(value)}" for key, value in facts.items())
    return "[[destinations]]\n" + "\n".join(lines)
