"""Requests on an association of this side, on a machine so busy that a thread stands still between two of its steps."""

import queue
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from pynetdicom import AE, evt
from pynetdicom.association import Association
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

from hospital import associating
from hospital.associating import Checkpoint, associate
from tests.hospital.peers import Pacs, eventually

STANDSTILL = 0.1


@pytest.fixture
def pacs() -> Iterator[Pacs]:
    """Open a PACS on loopback."""
    with Pacs() as opened:
        yield opened


def asked(pacs: Pacs) -> Association:
    """An association for C-ECHO that waits a second for each answer."""
    entity = AE("FRACTURE")
    entity.dimse_timeout = 1
    entity.add_requested_context(Verification)
    return associate(entity, "127.0.0.1", pacs.port, ae_title=pacs.ae_title)


class LateQueue(queue.Queue[Any]):
    """Messages that whoever waits for them looks at late: its thread has lost the processor as well."""

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        if block:
            time.sleep(3 * STANDSTILL)
        return super().get(block, timeout)


def test_answer_reaches_its_request_though_the_reactor_stands_still(
    pacs: Pacs, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Late(Checkpoint):
        def wait(self) -> None:
            super().wait()
            time.sleep(STANDSTILL)  # the reactor is past the checkpoint, and loses the processor

    monkeypatch.setattr(associating, "Checkpoint", Late)
    association = asked(pacs)
    association.dimse.msg_queue = LateQueue()
    time.sleep(STANDSTILL / 2)
    assert association.send_c_echo().get("Status") == 0x0000
    association.release()


def test_release_does_not_wait_for_a_report_that_ends_late(pacs: Pacs) -> None:
    association = asked(pacs)
    association._reactor_checkpoint.clear()
    eventually(lambda: association._is_paused, 5)
    association._is_paused = False  # as the thread of a report does at its end
    released = threading.Thread(target=association.release, daemon=True)
    released.start()
    released.join(5)
    assert association.is_released


def test_association_that_the_peer_aborts_holds_up_no_request(pacs: Pacs) -> None:
    association = asked(pacs)
    for other in pacs._server.active_associations:
        other.abort()
    eventually(lambda: not association.is_alive(), 5)
    with pytest.raises(RuntimeError):
        association.send_c_echo()


def test_handlers_of_the_caller_are_kept(pacs: Pacs) -> None:
    heard: list[str] = []
    entity = AE("FRACTURE")
    entity.add_requested_context(Verification)
    handlers = [(evt.EVT_ESTABLISHED, lambda _: heard.append("established"))]
    associate(entity, "127.0.0.1", pacs.port, ae_title=pacs.ae_title, evt_handlers=handlers).release()
    assert heard == ["established"]
