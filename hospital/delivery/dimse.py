"""C-STORE to a destination, and storage commitment (PS3.4, annexes B and J)."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pydicom
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian, generate_uid
from pynetdicom import AE, evt
from pynetdicom.association import Association
from pynetdicom.presentation import build_context
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    StorageCommitmentPushModel,
    StorageCommitmentPushModelInstance,
    Verification,
)

from hospital.associating import associate
from hospital.delivery import Announce, Outgoing, Package, Promise
from hospital.delivery.settings import Dicom
from hospital.errors import DeadLetterError, TryAgainError
from hospital.receiver import CommitmentReport, reported
from hospital.unanswered import unreachable

_SYNTAXES: list[str | UID] = [ExplicitVRLittleEndian, ImplicitVRLittleEndian]
_WARNINGS = (0xB000, 0xB006, 0xB007)
"""Stored, though not byte for byte (PS3.4, B.2.3)."""
_HOPELESS = (0x0122, 0x0124)
"""SOP class not supported, not authorised."""
_SAME_ASSOCIATION_SECONDS = 2.0
"""That the report on a commitment is waited for where it was asked; most destinations open an association for it."""
_REQUEST = 1  # action type of a commitment request (J.3.2)
_REJECTED_PERMANENT = 1


class DicomSender:
    """Sends to one application entity."""

    def __init__(self, destination: Dicom, calling_ae_title: str, committed: CommitmentReport) -> None:
        self._destination = destination
        self._calling_ae_title = destination.calling_ae_title or calling_ae_title
        self._committed = committed

    def echo(self) -> None:
        """C-ECHO."""
        with self._associated([Verification]) as association:
            status = association.send_c_echo()
            if status.get("Status") != 0x0000:
                raise TryAgainError("echo", f"C-ECHO was answered {_hex(status)}")

    def send(self, package: Package, announce: Announce) -> Promise:
        """Store each object, each class on a presentation context of its own, then ask for commitment."""
        asks, objects = self._destination.commitment, package.objects
        classes = sorted({one.sop_class_uid for one in objects})
        with self._associated(classes, commitment=asks) as association:
            for one in objects:
                self._store(association, one)
            return self._commit(association, objects, announce) if asks else Promise(kept=True)

    def _store(self, association: Association, one: Outgoing) -> None:
        try:
            status = association.send_c_store(pydicom.dcmread(one.path))
        except ValueError:
            name = self._destination.ae_title
            raise DeadLetterError(
                "no_context", f"{name} accepts no {pydicom.uid.UID(one.sop_class_uid).name}"
            ) from None
        except RuntimeError:
            raise TryAgainError("aborted", f"{self._destination.ae_title} ended the association") from None
        found = status.get("Status")
        if found is None:
            raise TryAgainError("no_answer", f"{self._destination.ae_title} did not answer a C-STORE")
        if found == 0x0000 or found in _WARNINGS:
            return
        problem = f"{self._destination.ae_title} answered a C-STORE with {_hex(status)}"
        if found in _HOPELESS or 0xA900 <= found <= 0xA9FF or 0xC000 <= found <= 0xCFFF:
            raise DeadLetterError(f"status_{found:04x}", problem)
        raise TryAgainError(f"status_{found:04x}", problem)

    def _commit(self, association: Association, objects: Sequence[Outgoing], announce: Announce) -> Promise:
        transaction = generate_uid()
        announce(transaction)
        request = pydicom.Dataset()
        request.TransactionUID = transaction
        request.ReferencedSOPSequence = [_reference(one) for one in objects]
        report = _Report(self._committed)
        association.bind(evt.EVT_N_EVENT_REPORT, report.on_report)
        association.bind(evt.EVT_PDU_SENT, report.on_sent)
        try:
            status, _ = association.send_n_action(
                request, _REQUEST, StorageCommitmentPushModel, StorageCommitmentPushModelInstance
            )
        except ValueError:
            name = self._destination.ae_title
            reason = f"{name} accepts no storage commitment; set `commitment = false` if it keeps what it takes"
            raise DeadLetterError("no_commitment", reason) from None
        except RuntimeError:
            raise TryAgainError("aborted", f"{self._destination.ae_title} ended the association") from None
        if status.get("Status") != 0x0000:
            raise TryAgainError("commitment", f"{self._destination.ae_title} answered an N-ACTION with {_hex(status)}")
        report.wait(_SAME_ASSOCIATION_SECONDS)
        return Promise(kept=False, transaction_uid=transaction)

    @contextmanager
    def _associated(self, classes: Sequence[str], commitment: bool = False) -> Iterator[Association]:
        to = self._destination
        entity = AE(self._calling_ae_title)
        entity.connection_timeout = entity.acse_timeout = to.timeout_seconds
        entity.dimse_timeout = entity.network_timeout = to.timeout_seconds
        contexts = [build_context(name, _SYNTAXES) for name in classes]
        if commitment:
            contexts.append(build_context(StorageCommitmentPushModel, _SYNTAXES))
        try:
            tls = (to.tls.client(), to.host) if to.tls else None
            association = associate(entity, to.host, to.port, contexts=contexts, ae_title=to.ae_title, tls_args=tls)
        except OSError as error:  # a name that cannot be resolved, a certificate that has gone
            raise unreachable(f"{to.host}:{to.port}", error) from None
        try:
            if not association.is_established:
                raise _refusal(association, to)
            yield association
            association.release()
        finally:
            if association.is_established:
                association.abort()


def _refusal(association: Association, to: Dicom) -> TryAgainError | DeadLetterError:
    """Why there is no association: a permanent rejection, or an answer without a context, will not mend itself."""
    primitive = association.acceptor.primitive
    if association.is_rejected and primitive is not None and primitive.result == _REJECTED_PERMANENT:
        return DeadLetterError("rejected", f"{to.ae_title} rejects this AE: {primitive.reason_str.lower()}")
    if association.is_rejected:
        return TryAgainError("rejected", f"{to.ae_title} rejects associations for now")
    accepted = primitive is not None and primitive.result == 0x00
    if accepted and association.accepted_contexts:
        return TryAgainError("aborted", f"{to.ae_title} ended the association")
    if accepted:
        return DeadLetterError("no_context", f"{to.ae_title} accepts none of the objects' classes")
    return TryAgainError("unreachable", f"{to.host}:{to.port} does not answer")


class _Report:
    """A report on the association where commitment was asked for.

    It is waited for until its answer has left: a release in between would cross the answer.
    """

    def __init__(self, committed: CommitmentReport) -> None:
        self._committed = committed
        self._taken = False
        self._answered = threading.Event()

    def on_report(self, event: evt.Event) -> tuple[int, None]:
        self._committed(*reported(event))
        self._taken = True
        return 0x0000, None

    def on_sent(self, _event: evt.Event) -> None:
        if self._taken:
            self._answered.set()

    def wait(self, seconds: float) -> None:
        self._answered.wait(seconds)


def _reference(one: Outgoing) -> pydicom.Dataset:
    item = pydicom.Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = one.sop_class_uid, one.sop_instance_uid
    return item


def _hex(status: pydicom.Dataset) -> str:
    found = status.get("Status")
    return "nothing" if found is None else f"0x{found:04X}"
