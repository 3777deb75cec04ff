"""Results to a PACS over DICOM, and what it may answer."""

import pytest
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import AE
from pynetdicom.presentation import build_context
from pynetdicom.sop_class import ComputedRadiographyImageStorage  # type: ignore[attr-defined]

from hospital.delivery import Outgoing
from hospital.delivery.dimse import DicomSender, _refusal
from hospital.delivery.settings import Dicom
from hospital.errors import DeadLetterError, TryAgainError
from hospital.results import capture, report
from tests.hospital.conftest import Scorer
from tests.hospital.delivery.packages import package
from tests.hospital.objects import encoded, radiograph
from tests.hospital.peers import Pacs, eventually
from tests.hospital.results.test_results import edition
from tests.ports import free_port


@pytest.fixture(scope="module")
def outgoing(scorer: Scorer, tmp_path_factory: pytest.TempPathFactory) -> list[Outgoing]:
    """Write a report and a capture."""
    folder = tmp_path_factory.mktemp("outgoing")
    made = edition(scorer, encoded(radiograph()))
    found = []
    for one in (report.make(made), *capture.make(made)):
        path = folder / f"{one.role}.dcm"
        path.write_bytes(encoded(one.dataset))
        found.append(Outgoing(path, str(one.dataset.SOPClassUID), str(one.dataset.SOPInstanceUID)))
    return found


def sender(pacs: Pacs, **settings: object) -> DicomSender:
    given = {"kind": "dicom", "name": "pacs", "ae_title": pacs.ae_title, "host": "127.0.0.1", "port": pacs.port,
             "timeout_seconds": 5, "commitment": False, **settings}  # fmt: skip
    return DicomSender(Dicom.model_validate(given), "FRACTURE", lambda *_: None)


def test_each_class_is_sent_on_a_context_of_its_own(outgoing: list[Outgoing]) -> None:
    with Pacs() as pacs:
        assert sender(pacs).send(package(*outgoing), lambda _: None).kept
        assert sorted(one.Modality for one in pacs.stored.values()) == ["OT", "SR"]


def test_commitment_is_announced_before_it_is_asked_for(outgoing: list[Outgoing]) -> None:
    announced: list[str] = []
    reported: list[str] = []
    with Pacs() as pacs:
        given = sender(pacs, commitment=True)
        given._committed = lambda transaction, *_: reported.append(transaction)
        promise = given.send(package(*outgoing), announced.append)
    assert not promise.kept
    assert announced == reported == [promise.transaction_uid]


FAILURES: dict[str, tuple[dict[str, object], type[Exception], str]] = {
    "out of resources": ({"status": 0xA700}, TryAgainError, "status_a700"),
    "cannot understand": ({"status": 0xC000}, DeadLetterError, "status_c000"),
    "not authorised": ({"status": 0x0124}, DeadLetterError, "status_0124"),
    "calling title unknown": ({"calling": ["OTHER"]}, DeadLetterError, "rejected"),
    "no context for a report": (
        {"classes": [build_context(ComputedRadiographyImageStorage, ExplicitVRLittleEndian)]},
        DeadLetterError,
        "no_context",
    ),
}


@pytest.mark.parametrize("name", FAILURES)
def test_failure_says_whether_to_try_again(outgoing: list[Outgoing], name: str) -> None:
    behaviour, kind, code = FAILURES[name]
    with Pacs(**behaviour) as pacs, pytest.raises(kind) as raised:  # type: ignore[arg-type]
        sender(pacs).send(package(*outgoing), lambda _: None)
    assert raised.value.code == code  # type: ignore[attr-defined]


def test_destination_that_is_away_is_tried_again(outgoing: list[Outgoing]) -> None:
    with pytest.raises(TryAgainError, match="does not answer"):
        sender(Pacs(port=free_port())).send(package(*outgoing), lambda _: None)


def test_destination_that_hangs_up_once_it_has_accepted_is_tried_again() -> None:
    with Pacs() as pacs:
        entity = AE("FRACTURE")
        entity.add_requested_context(ComputedRadiographyImageStorage)
        association = entity.associate("127.0.0.1", pacs.port, ae_title=pacs.ae_title)
        for other in pacs._server.active_associations:
            other.abort()
        eventually(lambda: not association.is_established, 20)
        found = _refusal(association, sender(pacs)._destination)
    assert isinstance(found, TryAgainError)


def test_pacs_without_commitment_is_told_of(outgoing: list[Outgoing]) -> None:
    with Pacs(commitment="unknown") as pacs, pytest.raises(DeadLetterError, match="commitment = false"):
        sender(pacs, commitment=True).send(package(*outgoing), lambda _: None)


def test_echo_of_a_destination() -> None:
    with Pacs() as pacs:
        sender(pacs).echo()
    with pytest.raises(TryAgainError):
        sender(pacs).echo()
