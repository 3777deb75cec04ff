"""What came in and went out is told to the trail once, from the rows, whatever happens between."""

from pathlib import Path

import pytest

from hospital.audit import watcher
from hospital.audit.settings import Audit
from hospital.audit.trail import AuditTrail
from hospital.audit.watcher import AuditWatcher
from hospital.config import Config
from hospital.database import Job, now
from hospital.parts import Parts
from tests.hospital.worklist.rows import add_images, add_job, add_study

DESTINATIONS = [
    {"kind": "dicom", "name": "pacs", "ae_title": "PACS", "host": "pacs.example", "port": 104},
    {"kind": "fhir", "name": "ehr", "url": "https://fhir.example/base"},
    {"kind": "fhir_file", "name": "files", "path": "/srv/fhir"},
    {"kind": "ups", "name": "first", "url": "https://ups.example/rs"},
]


class Watched:
    """A watcher over an empty database, and what it told."""

    def __init__(self, parts: Parts, folder: Path) -> None:
        self._parts, self._folder = parts, folder
        self.restart()

    def restart(self) -> None:
        trail = AuditTrail(Audit(folder=self._folder / "audit"), "gateway")
        trail.prepare()
        self.trail = trail
        config = Config.model_validate({"destinations": DESTINATIONS})
        self.watcher = AuditWatcher(config, self._parts, trail)
        self.watcher.prepare()

    def told(self) -> list[str]:
        while self.watcher.step():
            pass
        return [line for path in self.trail.folder.glob("*.log") for line in path.read_text().splitlines()]


@pytest.fixture
def watched(parts: Parts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Watched:
    """Watch an empty database, and wait for no other transaction."""
    monkeypatch.setattr(watcher, "_SETTLED", -5.0)
    return Watched(parts, tmp_path)


def deliver(parts: Parts, study: str, destination: str, at: float) -> None:
    version = add_study(parts, study, "high")
    key = f"{version}:{destination}"
    add_job(parts, "deliver", key, version, "done", destination=destination, done_at=at)


def test_reception_names_sender_study_and_patient(watched: Watched, parts: Parts) -> None:
    add_images(parts, "1.1", "received", "received")
    (line,) = watched.told()
    for told in ('csd-code="110104"', 'UserID="MODALITY"', '"1.1"', '"4711"', 'NumberOfInstances="2"', "Öztürk"):
        assert told in line


def test_delivery_to_a_pacs_is_a_transfer(watched: Watched, parts: Parts) -> None:
    deliver(parts, "1.1", "pacs", now())
    line = watched.told()[-1]
    for told in ('csd-code="110104"', 'EventActionCode="R"', 'UserID="PACS"', '"pacs.example"', "Doe^Jane"):
        assert told in line


@pytest.mark.parametrize(
    ("destination", "address"),
    [("ehr", "https://fhir.example/base"), ("files", "file:///srv/fhir"), ("first", "https://ups.example/rs")],
)
def test_delivery_in_another_form_is_an_export(watched: Watched, parts: Parts, destination: str, address: str) -> None:
    deliver(parts, "1.1", destination, now())
    line = watched.told()[-1]
    assert 'csd-code="110106"' in line
    assert address in line


def test_destination_that_was_taken_out_since_is_told_by_its_name(watched: Watched, parts: Parts) -> None:
    deliver(parts, "1.1", "old", now())
    assert 'UserID="old"' in watched.told()[-1]


def test_restart_tells_nothing_again(watched: Watched, parts: Parts) -> None:
    add_images(parts, "1.1", "received")
    deliver(parts, "1.2", "pacs", now())
    lines = watched.told()
    watched.restart()
    assert watched.told() == lines


def test_trail_that_cannot_be_written_is_made_up_for(watched: Watched, parts: Parts) -> None:
    add_images(parts, "1.1", "received")
    record = watched.trail.record

    def failing(*_: object) -> None:
        raise OSError(28, "No space left on device")

    watched.trail.record = failing  # type: ignore[method-assign]
    with pytest.raises(OSError, match="No space"):
        watched.watcher.step()
    watched.trail.record = record  # type: ignore[method-assign]
    assert len(watched.told()) == 1


def test_row_that_may_not_be_alone_yet_waits(watched: Watched, parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watcher, "_SETTLED", 5.0)
    add_images(parts, "1.1", "received", at=now())
    assert watched.told() == []
    monkeypatch.setattr(watcher, "_SETTLED", -5.0)
    assert len(watched.told()) == 1


def test_new_trail_beside_old_rows_begins_now(parts: Parts, tmp_path: Path) -> None:
    add_images(parts, "1.1", "received")
    deliver(parts, "1.2", "pacs", now() - 60)
    assert Watched(parts, tmp_path).told() == []


def test_rows_of_another_gateway_are_its_own_to_tell(watched: Watched, parts: Parts) -> None:
    version = add_study(parts, "1.1", "high")
    add_job(parts, "deliver", "1:pacs", version, "done", destination="pacs", done_at=now(), holder="other")
    assert all('UserID="PACS"' not in line for line in watched.told())
    with parts.database.session() as session:
        assert session.get_one(Job, 1).state == "done"
