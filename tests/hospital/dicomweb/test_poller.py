"""What a poll takes, what it asks for once only, and what it comes back for."""

from collections.abc import Callable, Iterator
from datetime import date, timedelta
from typing import Any

import pydicom
import pytest
from pydicom.uid import CTImageStorage
from sqlalchemy import select, update

from hospital.config import Poll
from hospital.database import Instance, Polled
from hospital.dicomweb.client import DicomwebClient
from hospital.dicomweb.gate import ObjectGate
from hospital.dicomweb.poller import Poller
from hospital.intake import Intake
from hospital.parts import Parts
from tests.hospital.conftest import Site
from tests.hospital.dicomweb.servers import Answer, Asked, DicomwebServer, related, related_type
from tests.hospital.objects import encoded, radiograph

TODAY = f"{date.today():%Y%m%d}"


class Rounds:
    """A poller of a server, whose rounds a test starts."""

    def __init__(self, parts: Parts, server: DicomwebServer, **settings: Any) -> None:
        given = {"name": "archive", "url": server.url, "timeout_seconds": 5, "max_object_mb": 2, **settings}
        poll = Poll.model_validate(given)
        self.arrived = 0
        self.intake = Intake(parts, "gateway", 0)
        gate = ObjectGate(self.intake, parts.metrics, self._arrive, poll.name)
        self.poller = Poller(poll, DicomwebClient(poll), gate, parts, lambda: False)
        self.parts = parts

    def _arrive(self) -> None:
        self.arrived += 1

    def look(self) -> None:
        """Look at once."""
        self.poller.rounds.due = 0
        self.poller.step()

    def outcomes(self) -> str:
        """The metrics."""
        return self.parts.metrics.exposition().decode()


def today(**attributes: Any) -> pydicom.Dataset:
    return radiograph(StudyDate=TODAY, **attributes)


def received(parts: Parts) -> list[str]:
    with parts.database.session() as session:
        return list(session.scalars(select(Instance.sop_instance_uid)))


@pytest.fixture
def server() -> Iterator[DicomwebServer]:
    """Run a server with two studies of today, one of them of two images."""
    first, second = today(), today()
    third = today(StudyInstanceUID=first.StudyInstanceUID, SeriesInstanceUID=first.SeriesInstanceUID)
    with DicomwebServer([first, second, third]) as found:
        yield found


def test_new_radiographs_are_taken_once(parts: Parts, server: DicomwebServer) -> None:
    rounds = Rounds(parts, server)
    rounds.look()
    rounds.look()
    assert sorted(received(parts)) == sorted(str(one.SOPInstanceUID) for one in server.datasets)
    assert len(server.fetched()) == rounds.arrived == 3
    assert 'hospital_polls_total{outcome="done",source="archive"} 2.0' in rounds.outcomes()


def test_what_was_taken_is_remembered_by_the_next_process(parts: Parts, server: DicomwebServer) -> None:
    Rounds(parts, server).look()
    Rounds(parts, server).look()
    assert len(server.fetched()) == 3


def test_study_that_has_not_changed_is_not_walked_again(parts: Parts, server: DicomwebServer) -> None:
    rounds = Rounds(parts, server)
    rounds.look()
    walked = len(server.asked) - len(server.searched())
    rounds.look()
    assert len(server.asked) - len(server.searched()) == walked


def test_image_that_comes_later_is_taken(parts: Parts, server: DicomwebServer) -> None:
    rounds = Rounds(parts, server)
    rounds.look()
    late = today(StudyInstanceUID=server.datasets[0].StudyInstanceUID)
    server.datasets = [*server.datasets, late]
    rounds.look()
    assert server.fetched()[3:] == [late.SOPInstanceUID]


def test_image_that_comes_later_is_taken_where_the_server_counts_nothing(parts: Parts, server: DicomwebServer) -> None:
    server.counts = False
    test_image_that_comes_later_is_taken(parts, server)


def test_corrected_demographics_bring_the_images_again(parts: Parts, server: DicomwebServer) -> None:
    rounds = Rounds(parts, server)
    rounds.look()
    corrected = server.datasets[1]
    corrected.PatientID = "4712"
    rounds.look()
    assert server.fetched()[3:] == [corrected.SOPInstanceUID]
    with parts.database.session() as session:
        rows = session.scalars(select(Instance.superseded).where(Instance.sop_instance_uid == corrected.SOPInstanceUID))
        assert sorted(rows) == [False, True]


def test_other_classes_are_not_asked_for(parts: Parts) -> None:
    other = today(SOPClassUID=CTImageStorage)
    with DicomwebServer([other]) as server:
        Rounds(parts, server).look()
        assert server.fetched() == []


def test_image_that_was_sent_by_c_store_is_not_asked_for(parts: Parts, server: DicomwebServer, site: Site) -> None:
    site.take(server.datasets[0])
    Rounds(parts, server).look()
    assert len(server.fetched()) == 2


def test_days_before_the_look_back_are_not_asked_for(parts: Parts) -> None:
    old = radiograph(StudyDate=f"{date.today() - timedelta(days=3):%Y%m%d}")
    with DicomwebServer([old]) as server:
        Rounds(parts, server, lookback_days=2).look()
        assert received(parts) == []
        Rounds(parts, server, lookback_days=3).look()
        assert len(received(parts)) == 1


def test_object_that_fails_is_waited_for_and_the_others_are_taken(parts: Parts, server: DicomwebServer) -> None:
    bad = server.datasets[0].SOPInstanceUID
    server.override = lambda asked: Answer(500) if asked.path.endswith(bad) else None
    rounds = Rounds(parts, server)
    rounds.look()
    rounds.look()
    assert server.fetched().count(bad) == 1
    assert len(received(parts)) == 2
    server.override = lambda _: None
    again(rounds)
    assert len(received(parts)) == 3


def test_object_that_hangs_is_not_the_first_of_the_next_round(parts: Parts, server: DicomwebServer) -> None:
    bad = server.datasets[0].SOPInstanceUID
    server.override = lambda asked: Answer(503) if asked.path.endswith(bad) else None
    rounds = Rounds(parts, server)
    rounds.look()
    assert received(parts) == []
    rounds.look()
    assert len(received(parts)) == 2


def swapped(content: bytes) -> Callable[[Asked], Answer | None]:
    """Give these bytes for every object."""
    given = Answer(200, {"Content-Type": related_type()}, related(content))
    return lambda asked: given if "/series/" in asked.path else None


def again(rounds: Rounds) -> None:
    """Look once every wait is over."""
    with rounds.parts.database.session() as session:
        session.execute(update(Polled).values(due_at=0))
    rounds.look()


def test_object_in_place_of_another_is_refused_and_asked_for_again(parts: Parts, server: DicomwebServer) -> None:
    server.override = swapped(encoded(today()))
    rounds = Rounds(parts, server)
    rounds.look()
    assert received(parts) == []
    assert 'hospital_refused_total{code="uid_mismatch"} 3.0' in rounds.outcomes()
    server.override = lambda _: None
    again(rounds)
    assert len(received(parts)) == 3


def test_object_in_a_syntax_that_is_not_read_is_not_asked_for_again(parts: Parts) -> None:
    sent = today()
    with DicomwebServer([sent]) as server:
        server.override = swapped(encoded(sent).replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.9\0"))
        rounds = Rounds(parts, server)
        rounds.look()
        again(rounds)
        assert len(server.fetched()) == 1
    assert 'hospital_refused_total{code="transfer_syntax"} 1.0' in rounds.outcomes()


def test_object_that_is_too_large_is_not_asked_for_again(parts: Parts) -> None:
    with DicomwebServer([today(PixelData=bytes(3 << 20))]) as server:
        rounds = Rounds(parts, server)
        rounds.look()
        again(rounds)
        assert len(server.fetched()) == 1
    assert 'hospital_refused_total{code="object_size"} 1.0' in rounds.outcomes()


def test_full_disk_ends_the_round_and_the_next_one_goes_on(parts: Parts, server: DicomwebServer) -> None:
    rounds = Rounds(parts, server)
    rounds.intake.reserve_bytes = 1 << 62
    rounds.look()
    assert len(server.fetched()) == 1
    rounds.intake.reserve_bytes = 0
    rounds.look()
    assert len(received(parts)) == 3
    assert 'hospital_polls_total{outcome="disk_reserve",source="archive"} 1.0' in rounds.outcomes()


def test_server_that_fails_is_asked_less_often(parts: Parts, server: DicomwebServer) -> None:
    rounds = Rounds(parts, server, interval_seconds=60)
    assert [rounds.poller.rounds.wait(failures) for failures in (0, 1, 2, 9)] == [60, 120, 240, 3600]


def test_step_waits_for_its_time(parts: Parts, server: DicomwebServer) -> None:
    rounds = Rounds(parts, server)
    rounds.look()
    asked = len(server.asked)
    rounds.poller.step()
    assert len(server.asked) == asked


def test_what_the_server_no_longer_lists_is_forgotten(parts: Parts, server: DicomwebServer) -> None:
    rounds = Rounds(parts, server)
    rounds.look()
    with parts.database.session() as session:
        session.execute(update(Polled).values(seen_at=0))
    server.datasets = []
    rounds.look()
    with parts.database.session() as session:
        assert session.scalars(select(Polled)).all() == []


def test_no_file_is_left_of_what_was_fetched(parts: Parts, server: DicomwebServer) -> None:
    Rounds(parts, server).look()
    assert list(parts.spool.partial.iterdir()) == []
