"""What is delivered goes after a while; what is not, stays."""

from hospital import retention
from hospital.config import Config, Study
from hospital.database import Instance, Job, Version
from hospital.operation import listed
from hospital.spool import Spool
from tests.hospital.conftest import Scorer, Site
from tests.hospital.objects import radiograph

PACS = {"kind": "dicom", "name": "pacs", "ae_title": "PACS", "host": "127.0.0.1", "port": 104}


def delivering(site: Site, scorer: Scorer) -> Site:
    config = Config.model_validate({"study": Study(stable_seconds=0), "destinations": [PACS]})
    made = Site(site.parts, scorer, config)
    made.take(radiograph())
    made.work()
    return made


def files(site: Site) -> int:
    return sum(path.is_file() for path in site.parts.spool.root.rglob("*"))


def test_undelivered_study_is_never_purged(site: Site, scorer: Scorer) -> None:
    given = delivering(site, scorer)
    before = files(given)
    assert retention.purge(given.parts, 0) == 0
    assert files(given) == before


def test_dead_letter_keeps_its_study(site: Site, scorer: Scorer) -> None:
    given = delivering(site, scorer)
    lease = given.parts.queue.claim("deliver", "pacs")
    assert lease
    with given.parts.database.session() as session:
        given.parts.queue.bury(session, lease, "rejected", "no")
    assert retention.purge(given.parts, 0) == 0


def test_delivered_study_leaves_digests_and_states_alone(site: Site, scorer: Scorer) -> None:
    given = delivering(site, scorer)
    lease = given.parts.queue.claim("deliver", "pacs")
    assert lease
    with given.parts.database.session() as session:
        given.parts.queue.finish(session, lease)
    assert retention.purge(given.parts, 1) == 0
    assert retention.purge(given.parts, 0) == 1
    assert files(given) == 0
    with given.parts.database.session() as session:
        version, instance = session.get_one(Version, 1), session.get_one(Instance, 1)
        assert (version.patient, version.suspicion) == ({}, "high")
        assert (instance.state, instance.path, len(instance.digest)) == ("scored", "", 64)


def test_purged_object_that_comes_again_is_known_and_not_kept(site: Site, scorer: Scorer) -> None:
    sent = radiograph()
    site.take(sent)
    site.work()
    assert retention.purge(site.parts, 0) == 1
    assert site.take(sent) == "known"
    assert files(site) == 0


def test_study_that_is_dropped_by_hand_is_purged(site: Site) -> None:
    site.take(radiograph(PatientID=""))
    site.work()
    assert retention.purge(site.parts, 0) == 0
    with site.parts.database.session() as session:
        for number in (1, 2):
            job = session.get_one(Job, number)
            job.state = "dropped" if job.state == "dead" else job.state
    assert retention.purge(site.parts, 0) == 1


def test_worklist_lists_what_is_purged_no_longer(site: Site) -> None:
    site.take(radiograph())
    site.work()
    with site.parts.database.session() as session:
        assert len(listed(session)) == 1
    retention.purge(site.parts, 0)
    with site.parts.database.session() as session:
        assert listed(session) == []


def test_late_image_of_a_purged_study_makes_a_version(site: Site) -> None:
    first = radiograph(BodyPartExamined="CHEST")
    site.take(first)
    site.work()
    retention.purge(site.parts, 0)
    site.take(radiograph(BodyPartExamined="CHEST", StudyInstanceUID=first.StudyInstanceUID))
    site.work()
    with site.parts.database.session() as session:
        assert session.get_one(Version, 2).patient["id"] == "4711"


def test_half_written_file_stays_until_the_next_start(site: Site) -> None:
    arriving = site.parts.spool.partial / "arriving"
    arriving.write_bytes(b"half an object")
    Spool(site.parts.spool.root).prepare()  # as `check` does beside a gateway that receives
    assert arriving.exists()
    assert retention.sweep(site.parts) == 1
    assert not arriving.exists()


def test_file_that_no_row_names_is_swept(site: Site) -> None:
    site.take(radiograph())
    orphan = site.parts.spool.write(b"half a story", "results", "ab" + "0" * 62)
    assert retention.sweep(site.parts) == 1
    assert not site.parts.spool.path(orphan).exists()
    assert files(site) == 1
