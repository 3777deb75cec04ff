"""Two gateways on one PostgreSQL: each takes its own jobs, and a study comes to its result as on SQLite."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import URL, select

from hospital.adt.corrections import keep
from hospital.adt.messages import Told
from hospital.audit.settings import Audit
from hospital.audit.trail import AuditTrail
from hospital.audit.watcher import AuditWatcher
from hospital.config import Config, Study
from hospital.database import Database, Version
from hospital.metrics import Metrics
from hospital.parts import Parts
from hospital.queue import Backoff, Queue
from hospital.spool import Spool
from hospital.worklist import entries
from tests.deploy.tracking_server import Postgres, postgres, reachable_folder
from tests.hospital.conftest import Scorer, Site
from tests.hospital.objects import radiograph
from tests.hospital.worklist.rows import add_images, add_study

pytestmark = pytest.mark.postgres


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    """Run a PostgreSQL; its folder lies where its own user may go."""
    with reachable_folder() as folder, postgres(folder / "database") as made:
        yield made


def address(server: Postgres, database: str) -> str:
    """The URL of a database."""
    facts = server.environment
    return URL.create(
        "postgresql+psycopg", facts["PGUSER"], facts["PGPASSWORD"], facts["PGHOST"], int(facts["PGPORT"]), database
    ).render_as_string(hide_password=False)


@pytest.fixture
def gateways(server: Postgres, tmp_path: Path) -> Iterator[list[Parts]]:
    """Make two gateways with a spool each and one database."""
    url = address(server, "postgres")
    made = []
    for name in ("east", "west"):
        spool, database = Spool(tmp_path / name), Database(url)
        spool.prepare()
        database.prepare()
        made.append(Parts(database, Queue(database, name, name, 300, Backoff()), spool, Metrics()))
    yield made
    for parts in made:
        parts.database.close()


def test_job_belongs_to_the_gateway_that_holds_its_bytes(gateways: list[Parts], scorer: Scorer) -> None:
    east, west = gateways
    with east.database.session() as session:
        east.queue.add(session, "score", "a", 1)
    assert west.queue.claim("score") is None
    assert east.queue.claim("score") is not None


def test_study_comes_to_its_result(gateways: list[Parts], scorer: Scorer) -> None:
    site = Site(gateways[1], scorer, Config(study=Study(stable_seconds=0)), "west")
    sent = radiograph()
    assert site.take(sent) == "new"
    assert site.take(sent) == "known"
    site.work()
    with gateways[0].database.session() as session:
        version = session.scalars(select(Version).where(Version.study_uid == sent.StudyInstanceUID)).one()
    assert (version.suspicion, version.patient["id"]) == ("high", "4711")


def test_worklist_of_one_gateway_shows_the_studies_of_all(gateways: list[Parts], tmp_path: Path) -> None:
    east, west = gateways
    add_study(east, "9.1", "none")
    add_study(west, "9.2", "high")
    add_images(east, "9.3", "received")
    add_images(west, "", "dead")
    shown = {one.study_uid: one.state for one in entries.page(west, 1, 100).entries}
    assert {"9.1": "answered", "9.2": "answered", "9.3": "pending", "": "failed"}.items() <= shown.items()


def test_audit_trail_tells_of_the_own_rows(gateways: list[Parts], tmp_path: Path) -> None:
    trail = AuditTrail(Audit(folder=tmp_path / "audit"), "gateway")
    trail.prepare()
    watcher = AuditWatcher(Config(), gateways[0], trail)
    watcher.prepare()
    add_images(gateways[0], "9.4", "received")
    assert watcher.step()
    assert not watcher.step()


def test_patient_corrected_at_one_gateway_is_corrected_at_all(gateways: list[Parts], scorer: Scorer) -> None:
    east, west = gateways
    sent = radiograph(PatientID="7001")
    site = Site(west, scorer, Config(study=Study(stable_seconds=0)), "west")
    site.take(sent)
    site.work()
    assert keep(east, [Told("7002", "Korrigiert^Name", prior_id="7001")]) == [sent.StudyInstanceUID]
    site.work()
    with west.database.session() as session:
        chosen = select(Version.patient).where(Version.study_uid == sent.StudyInstanceUID).order_by(Version.number)
        assert [patient["id"] for patient in session.scalars(chosen)] == ["7001", "7002"]
