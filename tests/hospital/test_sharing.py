"""Gateways that share a spool and a PostgreSQL take each other's jobs; what does not belong together is refused."""

import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import func, select

from hospital import retention, sharing
from hospital.audit.settings import Audit
from hospital.audit.trail import AuditTrail, write_state
from hospital.audit.watcher import AuditWatcher
from hospital.config import Config, Study
from hospital.database import Database, Instance, Job, Result, Setting, Version, now
from hospital.errors import HospitalError
from hospital.gateway import open_parts
from hospital.parts import Parts
from hospital.queue import INTERRUPTED, MOST_INTERRUPTIONS, Backoff, Queue
from tests.deploy.tracking_server import Postgres, postgres, reachable_folder
from tests.hospital.conftest import Scorer, Site
from tests.hospital.objects import radiograph
from tests.hospital.peers import Pacs, RunningGateway, dicom_destination, eventually, send
from tests.hospital.test_postgres import address
from tests.hospital.worklist.rows import add_study

pytestmark = pytest.mark.postgres

DAY = 86400
MOMENTS = (0.6, 0.0, 1.7)
"""Seconds from the last object to the end of a gateway: before, while and after it is scored and delivered."""


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    """Run a PostgreSQL; its folder lies where its own user may go."""
    with reachable_folder() as folder, postgres(folder / "database") as made:
        yield made


@pytest.fixture
def url(server: Postgres, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Make a database of the test's own, and name it to gateways."""
    name = f"test_{abs(hash(request.node.name))}"
    server.sql(f"CREATE DATABASE {name}")
    given = address(server, name)
    monkeypatch.setenv("HOSPITAL_DATABASE_URL", given)
    yield given
    server.sql(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def database(url: str) -> Iterator[Database]:
    """Open the test's database."""
    found = Database(url)
    found.prepare()
    yield found
    found.close()


def sharer(folder: Path, name: str, **given: object) -> Config:
    return Config(spool=folder / "spool", name=name, shared_spool=True, study=Study(stable_seconds=0), **given)  # type: ignore[arg-type]


@pytest.fixture
def gateways(url: str, tmp_path: Path) -> Iterator[list[Parts]]:
    """Open the parts of two gateways that share a spool."""
    opened = [open_parts(sharer(tmp_path, name)) for name in ("east", "west")]
    yield [parts for _, parts in opened]
    for process, parts in opened:
        parts.database.close()
        process.close()


def queue_of(parts: Parts, gateway: str, lease_seconds: float = 300) -> Queue:
    """Another process of a gateway that shares the spool."""
    return Queue(parts.database, gateway, "gone", lease_seconds, Backoff(0.001, 0.001), shared_spool=parts.queue.holder)


def test_what_one_gateway_received_another_one_answers(gateways: list[Parts], tmp_path: Path, scorer: Scorer) -> None:
    east, west = gateways
    sent = radiograph()
    assert Site(east, scorer, sharer(tmp_path, "east"), "east").take(sent) == "new"
    assert east.queue.claim("score") is not None
    with east.database.session() as session:  # as time does
        session.scalars(select(Job)).one().lease_until = 0
    Site(west, scorer, sharer(tmp_path, "west"), "west").work()
    with west.database.reading() as session:
        version = session.scalars(select(Version)).one()
        assert (version.study_uid, version.suspicion) == (sent.StudyInstanceUID, "high")
        assert all(east.spool.path(one.path).is_file() for one in session.scalars(select(Result)))


def test_start_frees_what_the_gateway_had_and_nothing_of_the_others(gateways: list[Parts]) -> None:
    east, west = gateways
    with east.database.session() as session:
        for key in ("a", "b"):
            east.queue.add(session, "score", key, 1)
    assert queue_of(east, "east").claim("score") is not None
    assert west.queue.claim("score") is not None
    assert east.queue.release_own() == 1
    assert east.queue.release_own() == 0


def test_name_that_begins_like_another_one_is_another_gateway(gateways: list[Parts]) -> None:
    east, _ = gateways
    with east.database.session() as session:
        east.queue.add(session, "score", "a", 1)
    assert queue_of(east, "east-2").claim("score") is not None
    assert east.queue.release_own() == 0


def test_job_that_ends_one_gateway_after_the_other_is_put_aside(gateways: list[Parts]) -> None:
    east, _ = gateways
    with east.database.session() as session:
        east.queue.add(session, "score", "a", 1)
    for number in range(MOST_INTERRUPTIONS):
        assert queue_of(east, f"gateway{number}", lease_seconds=-1).claim("score") is not None
    assert east.queue.claim("score") is None
    with east.database.reading() as session:
        job = session.scalars(select(Job)).one()
        assert (job.state, job.code) == ("dead", INTERRUPTED)


def test_delivery_that_takes_longer_than_its_lease_is_not_put_aside(gateways: list[Parts]) -> None:
    east, _ = gateways
    with east.database.session() as session:
        east.queue.add(session, "deliver", "a", 1, destination="archive")
    for number in range(MOST_INTERRUPTIONS):
        assert queue_of(east, f"gateway{number}", lease_seconds=-1).claim("deliver", "archive") is not None
    assert east.queue.claim("deliver", "archive") is not None


def test_start_of_one_gateway_leaves_the_files_of_the_others(gateways: list[Parts]) -> None:
    east, west = gateways
    arriving = west.spool.partial / "arriving"
    arriving.write_bytes(b"half an object")
    unnamed = west.spool.write(b"its row comes in a moment", "incoming", "ab" + "0" * 62)
    assert retention.sweep(east) == 0
    assert retention.tidy(east) == 0
    assert arriving.exists()
    assert west.spool.path(unnamed).exists()


def test_what_a_gateway_left_that_never_comes_back_goes_after_a_day(
    gateways: list[Parts], tmp_path: Path, scorer: Scorer
) -> None:
    east, west = gateways
    Site(west, scorer, sharer(tmp_path, "west"), "west").take(radiograph())
    with east.database.reading() as session:
        kept = east.spool.path(session.scalars(select(Instance.path)).one())
    arriving = west.spool.partial / "arriving"
    arriving.write_bytes(b"half an object")
    unnamed = west.spool.path(west.spool.write(b"of a lost lease", "results", "ab" + "0" * 62))
    for path in (kept, arriving, unnamed):
        os.utime(path, (now() - DAY - 1,) * 2)
    assert retention.tidy(east) == 2
    assert [path.exists() for path in (kept, arriving, unnamed)] == [True, False, False]


def test_object_that_comes_to_both_is_kept_once(gateways: list[Parts], tmp_path: Path, scorer: Scorer) -> None:
    east, west = gateways
    answers: list[str] = []
    sites = [Site(parts, scorer, sharer(tmp_path, name), name) for parts, name in ((east, "east"), (west, "west"))]
    with ThreadPoolExecutor(2) as pool:
        for _ in range(10):
            sent = radiograph()
            answers += pool.map(lambda site, one=sent: site.take(one), sites)
    assert sorted(answers) == ["known"] * 10 + ["new"] * 10


def test_delivery_is_told_to_the_trail_of_who_made_it(gateways: list[Parts], tmp_path: Path) -> None:
    watchers = []
    for name, parts in zip(("east", "west"), gateways, strict=True):
        trail = AuditTrail(Audit(folder=tmp_path / f"audit-{name}"), name)
        trail.prepare()
        write_state(trail.folder / "watched.json", {"instance": 0, "delivered_at": 0.0})
        watchers.append(AuditWatcher(sharer(tmp_path, name), parts, trail))
    east, west = gateways
    add_study(east, "9.1", "none")
    with east.database.session() as session:
        version = session.scalars(select(Version)).one()
        east.queue.add(session, "deliver", f"{version.id}:archive", version.id, destination="archive")
    lease = west.queue.claim("deliver", "archive")
    assert lease is not None
    with west.database.session() as session:
        west.queue.finish(session, lease)
    with west.database.session() as session:
        session.get_one(Job, lease.id).done_at = now() - 60
    assert [one.step() for one in watchers] == [False, True]


def test_jobs_of_the_time_when_the_spool_was_its_own_become_shared(url: str, tmp_path: Path, scorer: Scorer) -> None:
    own = sharer(tmp_path, "east").model_copy(update={"shared_spool": False})
    process, parts = open_parts(own)
    Site(parts, scorer, own, "east").take(radiograph())
    process.close()
    for name in ("east", "west"):
        process, parts = open_parts(sharer(tmp_path, name))
        with parts.database.reading() as session:
            assert set(session.scalars(select(Job.holder))) == {parts.queue.holder}
        parts.database.close()
        process.close()


def test_jobs_that_need_another_spool_are_not_left_behind(url: str, tmp_path: Path, scorer: Scorer) -> None:
    own = sharer(tmp_path / "before", "east").model_copy(update={"shared_spool": False})
    (tmp_path / "before").mkdir()
    process, parts = open_parts(own)
    Site(parts, scorer, own, "east").take(radiograph())
    parts.database.close()
    process.close()
    with pytest.raises(HospitalError, match="name: 1 jobs of gateway east need the spool that it had of its own"):
        open_parts(sharer(tmp_path, "east"))


def test_gateway_that_does_not_ask_for_it_is_refused(gateways: list[Parts], tmp_path: Path) -> None:
    with pytest.raises(HospitalError, match="is shared by several gateways; set `shared_spool = true` here too"):
        open_parts(sharer(tmp_path, "north").model_copy(update={"shared_spool": False}))


def test_spool_of_another_database_is_refused(gateways: list[Parts], tmp_path: Path, database: Database) -> None:
    with database.session() as session:
        for row in session.scalars(select(Setting).where(Setting.name.startswith("spool "))):
            session.delete(row)
    for examine in (lambda one: sharing.check(one, database), open_parts):
        with pytest.raises(HospitalError, match="belongs to another database than HOSPITAL_DATABASE_URL names"):
            examine(sharer(tmp_path, "north"))


class SharingGateway(RunningGateway):
    """One of several in the folder above its own."""

    def __init__(self, folder: Path, name: str, *destinations: str, head: str = "shared_spool = true") -> None:
        (folder / name).mkdir()
        super().__init__(folder / name, {"operation": {"lease_seconds": 5}}, *destinations)
        top = f'spool = "../spool"\nname = "{name}"\n{head}\n\n'
        self.config.write_text(top + self.config.read_text(encoding="utf-8"), encoding="utf-8")


def test_spool_that_not_both_share_and_a_name_given_twice_have_one_line(url: str, tmp_path: Path) -> None:
    with SharingGateway(tmp_path, "east"):
        twin = SharingGateway(tmp_path, "twin")
        twin.config.write_text(twin.config.read_text().replace('name = "twin"', 'name = "east"'))
        for other, line in (
            (SharingGateway(tmp_path, "own", head=""), "is shared by several gateways; set `shared_spool = true` here"),
            (twin, "name: another gateway east uses"),
        ):
            told = other.command("run")
            assert (told.returncode, len(told.stderr.splitlines())) == (1, 1)
            assert line in told.stderr


def test_spool_that_is_in_use_by_one_that_does_not_share_it_is_refused(url: str, tmp_path: Path) -> None:
    with SharingGateway(tmp_path, "own", head=""):
        told = SharingGateway(tmp_path, "east").command("run")
    assert (told.returncode, len(told.stderr.splitlines())) == (1, 1)
    assert "is in use by another gateway that does not share it" in told.stderr


def check_nothing_is_lost(database: Database, sent: list, destinations: list[Pacs]) -> None:
    """Every study has one result, and each destination its objects, one for each UID."""
    studies = {str(one.StudyInstanceUID) for one in sent}
    with database.reading() as session:
        versions = session.scalars(select(Version.study_uid)).all()
        assert sorted(versions) == sorted(studies)
        assert session.scalar(select(func.count()).select_from(Instance)) == len(sent)
        assert set(session.scalars(select(Job.state))) == {"done"}
        made = set(session.scalars(select(Result.sop_instance_uid)))
    for destination in destinations:
        assert set(destination.stored) == made
        assert sorted(str(one.StudyInstanceUID) for one in destination.of("SR")) == sorted(studies)


def all_done(database: Database, studies: int) -> bool:
    with database.reading() as session:
        deliveries = session.scalars(select(Job.state).where(Job.kind == "deliver")).all()
    return len(deliveries) == 2 * studies and set(deliveries) == {"done"}


@pytest.mark.parametrize("rounds", [1, pytest.param(3, marks=pytest.mark.slow)])
def test_killed_gateway_is_survived_by_what_it_acknowledged(
    url: str, database: Database, tmp_path: Path, rounds: int
) -> None:
    sent = []
    with Pacs("FIRST") as first, Pacs("SECOND", commitment="another") as second:
        tables = [dicom_destination(one, commitment_seconds=2) for one in (first, second)]
        gateways = [SharingGateway(tmp_path, name, *tables) for name in ("east", "west")]
        with gateways[0], gateways[1]:
            second.report_to = gateways[rounds % 2].port  # who stays; the other one asks it, too
            for number in range(rounds):
                victim, survivor = gateways[number % 2], gateways[1 - number % 2]
                for gateway in (victim, survivor):
                    given = [radiograph() for _ in range(3)]
                    assert send(gateway.port, *given) == [0x0000] * 3
                    sent += given
                time.sleep(MOMENTS[number])
                victim.kill()
                if number == rounds - 1:  # the last one stays away
                    eventually(partial(all_done, database, len(sent)))
                else:
                    victim.start()
            victim.start()
            assert send(victim.port, *sent) == [0x0000] * len(sent)
    check_nothing_is_lost(database, sent, [first, second])
