"""The DICOM receiver: C-STORE of radiographs in the transfer syntaxes that are read, C-ECHO, reports of commitment."""

import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO, cast

from pydicom.uid import UID
from pynetdicom import AE, _config, evt
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.pdu_primitives import A_ASSOCIATE
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    ComputedRadiographyImageStorage,
    DigitalXRayImageStorageForPresentation,
    StorageCommitmentPushModel,
    Verification,
)
from sqlalchemy.exc import SQLAlchemyError

from hospital import logs
from hospital.arriving import receive_into
from hospital.bounded import MAX_PDU, BoundedServer, Bounds, make_server, most_connections, reader_of
from hospital.config import MIB, Peer, Receiver
from hospital.errors import HospitalError
from hospital.intake import Arrival, Intake, NotStoredError
from hospital.parts import Parts
from serving.imaging.dicom import DECODERS

STORED = (ComputedRadiographyImageStorage, DigitalXRayImageStorageForPresentation)
"""What is accepted: images of plain radiography as they are meant to be shown."""
SUCCESS, OUT_OF_RESOURCES, CANNOT_UNDERSTAND = 0x0000, 0xA700, 0xC000
_ACSE_SECONDS = 10.0
"""To ask for an association once the connection stands, and to end one."""
_LOOK_SECONDS = 0.05
"""Between two looks of the accepting thread at whether the receiver is to end."""
_UNTIL_RELEASED = ("Sta3", "Sta6")
"""States of an association that was asked for or stands (PS3.8, 9.2)."""
_REJECTED_PERMANENT, _BY_USER, _CALLING_TITLE, _CALLED_TITLE = 1, 1, 3, 7  # PS3.8, 9.3.4

CommitmentReport = Callable[[str, frozenset[str], frozenset[str]], None]
"""Told a transaction UID, and the SOP Instance UIDs that are kept and that are not."""


class DicomReceiver:
    """Listens for associations until it is closed; `arrived` is called after each object that was taken in."""

    def __init__(
        self,
        settings: Receiver,
        intake: Intake,
        parts: Parts,
        arrived: Callable[[], None],
        committed: CommitmentReport,
    ) -> None:
        self._settings = settings
        self._intake = intake
        self._metrics = parts.metrics
        self._arrived = arrived
        self._committed = committed
        # Data sets go straight to files: an object of any size takes the memory of one PDU.
        _config.STORE_RECV_CHUNKED_DATASET = True
        _config.LOG_HANDLER_LEVEL = "none"
        receive_into(parts.spool.partial, intake.has_room)  # in the spool they can be renamed
        self._entity = AE(settings.ae_title)
        self._server = self._listen()
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(_LOOK_SECONDS,), name="receiver", daemon=True
        )

    @property
    def port(self) -> int:
        """The port that is listened on."""
        return int(self._server.server_address[1])

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def adopt(self, settings: Receiver) -> None:
        """Go on by other titles, peers, limits and certificates; associations that are open end by their own."""
        context = settings.tls.server() if settings.tls else None
        self._settings = settings
        self._limit(settings)
        self._server.ae_title = settings.ae_title
        self._server.bounds = _bounds(settings)
        self._server.most_connections = most_connections(settings.max_associations)
        self._server.ssl_context = context

    def close(self) -> None:
        """Take no further association, and end those that are open; what was acknowledged is kept."""
        if self._thread.is_alive():
            self._server.shutdown()
        else:  # `shutdown` waits for a loop that never began
            self._server.server_close()
        for association in self._server.active_associations:
            association.abort()

    def _listen(self) -> BoundedServer:
        settings, entity = self._settings, self._entity
        entity.maximum_pdu_size = MAX_PDU
        self._limit(settings)
        syntaxes: list[str | UID] = list(DECODERS)
        for sop_class in STORED:
            entity.add_supported_context(sop_class, syntaxes)
        entity.add_supported_context(Verification)
        entity.add_supported_context(StorageCommitmentPushModel, scu_role=True, scp_role=True)
        handlers = [
            (evt.EVT_REQUESTED, self._on_requested),
            (evt.EVT_ACCEPTED, self._on_accepted),
            (evt.EVT_C_STORE, self._on_store),
            (evt.EVT_C_ECHO, self._on_echo),
            (evt.EVT_N_EVENT_REPORT, self._on_event_report),
            (evt.EVT_DIMSE_RECV, self._on_message),
            (evt.EVT_CONN_CLOSE, self._on_closed),
            (evt.EVT_ABORTED, self._on_aborted),
            (evt.EVT_REJECTED, self._on_rejected),
        ]
        bounds = _bounds(settings)
        context = settings.tls.server() if settings.tls else None
        try:
            server = make_server(entity, (settings.host, settings.port), bounds, handlers, context)
        except OSError as error:
            place = f"{settings.host}:{settings.port}"
            raise HospitalError(f"receiver.port: {place} cannot be listened on ({error.strerror})") from None
        server.ended = self._on_ended
        return server

    def _limit(self, settings: Receiver) -> None:
        """What each association takes over from the entity when it begins."""
        entity = self._entity
        entity.ae_title = settings.ae_title
        entity.maximum_associations = settings.max_associations
        entity.network_timeout = settings.idle_seconds
        entity.dimse_timeout = settings.idle_seconds
        entity.acse_timeout = min(_ACSE_SECONDS, settings.idle_seconds)

    def _on_requested(self, event: evt.Event) -> None:
        """Reject who is not expected, or asks for another AE (PS3.8, 9.3.4)."""
        requestor = event.assoc.requestor
        asked = cast(A_ASSOCIATE, requestor.primitive)
        calling, called = _title(asked.calling_ae_title), _title(asked.called_ae_title)
        address = str(requestor.address)
        if called != self._settings.ae_title:
            self._reject(event, _CALLED_TITLE, "called_ae_title", address)
        elif not _expected(self._settings.peers, calling, address):
            self._reject(event, _CALLING_TITLE, "calling_ae_title", address)

    def _reject(self, event: evt.Event, diagnostic: int, code: str, address: str) -> None:
        reader = reader_of(event.assoc)
        if reader is not None:
            reader.was_told = True  # by the line below
        event.assoc.acse.send_reject(_REJECTED_PERMANENT, _BY_USER, diagnostic)
        self._metrics.refused.labels(code).inc()
        logs.event("association_rejected", code=code, address=address)

    def _on_accepted(self, event: evt.Event) -> None:
        """Tell of a peer that asks for nothing that is taken here: mostly another SOP class, routed by mistake."""
        if not event.assoc.accepted_contexts:
            self._tell(event.assoc, "no_context")

    def _on_echo(self, _event: evt.Event) -> int:
        self._metrics.echoes.inc()
        return SUCCESS

    def _on_store(self, event: evt.Event) -> int:
        request = cast(C_STORE, event.request)
        partial = event.dataset_path
        arrival = Arrival(
            partial,
            str(request.AffectedSOPInstanceUID or ""),
            str(request.AffectedSOPClassUID or ""),
            _title(event.assoc.requestor.ae_title),
        )
        try:
            cast(IO[bytes], request._dataset_file).close()  # what it buffers has to be in the file
            kept = self._intake.take(arrival)
        except NotStoredError as error:
            return self._not_stored(error.status, error.code)
        except OSError as error:
            return self._not_stored(OUT_OF_RESOURCES, "disk", errno=error.errno)
        except SQLAlchemyError as error:
            return self._not_stored(OUT_OF_RESOURCES, "database", fault=type(error).__name__)
        except Exception:  # one object's fault must not end the association without an answer
            logs.exception("object_not_understood")
            return self._not_stored(CANNOT_UNDERSTAND, "internal")
        finally:
            partial.unlink(missing_ok=True)
            event.assoc.dul._idle_timer.restart()  # the time that disk and database took is no silence of the peer
        self._metrics.received.labels(kept).inc()
        self._arrived()
        return SUCCESS

    def _not_stored(self, status: int, code: str, **facts: str | float | None) -> int:
        self._metrics.refused.labels(code).inc()
        logs.event("object_refused", code=code, status=f"0x{status:04X}", **facts)
        return status

    def _on_event_report(self, event: evt.Event) -> tuple[int, None]:
        self._committed(*reported(event))
        return SUCCESS, None

    def _on_message(self, event: evt.Event) -> None:
        reader = reader_of(event.assoc)
        if reader is not None:
            reader.message_ended()

    def _on_closed(self, event: evt.Event) -> None:
        """A connection ended: give the slot of a mere one back, and tell of one that was not ended properly."""
        association = event.assoc
        reader = reader_of(association)
        if association.requestor.primitive is None:
            # pynetdicom goes on waiting for the request: health checks would use up all associations for seconds.
            association.dul.to_user_queue.put(cast(A_ASSOCIATE, None))
            self._tell_of_no_request(association)
        elif association.dul.state_machine.current_state in _UNTIL_RELEASED or (reader is not None and reader.fault):
            self._tell(association, "connection_lost")
        _discard(association)

    def _on_aborted(self, event: evt.Event) -> None:
        self._tell(event.assoc, "aborted")
        _discard(event.assoc)

    def _on_rejected(self, event: evt.Event) -> None:
        """Pynetdicom rejected an association: what was asked for is not DICOM's, or there are too many."""
        self._tell(event.assoc, "rejected")

    def _on_ended(self, association: Association) -> None:
        """This side closed a connection, in most cases one that was ended properly before."""
        reader = reader_of(association)
        if association.requestor.primitive is None:
            self._tell_of_no_request(association)
        elif reader is not None and reader.fault:
            self._tell(association, reader.fault)
        _discard(association)

    def _tell_of_no_request(self, association: Association) -> None:
        """Tell of a connection on which no association was asked for, unless it was a mere health check."""
        reader = reader_of(association)
        if reader is not None and (reader.has_read or not reader.peer_closed):
            self._tell(association, "no_association" if reader.has_read else "silent")

    def _tell(self, association: Association, code: str) -> None:
        """Write one line for an association that ended badly, however many events tell of it."""
        reader = reader_of(association)
        if reader is None or reader.was_told:
            return
        reader.was_told = True
        code = reader.fault or code
        self._metrics.refused.labels(code).inc()
        logs.event("association_ended", code=code, address=str(association.requestor.address))


def _discard(association: Association) -> None:
    """Remove what is there of an object that never came to its end."""
    partial = getattr(association.dimse.message, "_data_set_path", None)
    if isinstance(partial, Path):
        with suppress(OSError):
            partial.unlink(missing_ok=True)


def reported(event: evt.Event) -> tuple[str, frozenset[str], frozenset[str]]:
    """What a report on storage commitment says (PS3.4, J.3.3): transaction UID, UIDs that are kept, that are not."""
    information = event.event_information
    kept = frozenset(_uids(information.get("ReferencedSOPSequence")))
    lost = frozenset(_uids(information.get("FailedSOPSequence")))
    return str(information.get("TransactionUID", "")), kept, lost


def _bounds(settings: Receiver) -> Bounds:
    return Bounds(settings.idle_seconds, settings.max_object_mb * MIB)


def _expected(peers: tuple[Peer, ...], title: str, address: str) -> bool:
    return not peers or any(peer.ae_title == title and peer.calls_from(address) for peer in peers)


def _title(value: object) -> str:
    """An AE title without its padding, of printable characters only: it goes into logs and rows."""
    text = value.decode("ascii", "replace") if isinstance(value, bytes) else str(value or "")
    return "".join(sign for sign in text if sign.isprintable()).strip()[:16]


def _uids(sequence: object) -> list[str]:
    items = sequence if sequence is not None else []
    return [str(item.ReferencedSOPInstanceUID) for item in items]  # type: ignore[attr-defined]
