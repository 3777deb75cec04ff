"""A destination's jobs, from what it answers to the job's end."""

import threading
from dataclasses import replace

import pytest
from sqlalchemy import select

from hospital.config import Config, Study
from hospital.database import Commitment, Job, Result
from hospital.delivery import dimse
from hospital.delivery.dimse import DicomSender
from hospital.delivery.settings import Dicom
from hospital.delivery.worker import CommitmentLedger, Deliverer
from hospital.parts import Parts
from hospital.queue import Backoff, Queue
from tests.hospital.conftest import Scorer, Site
from tests.hospital.objects import radiograph
from tests.hospital.peers import Pacs


def delivery(parts: Parts) -> Job:
    with parts.database.session() as session:
        return session.scalars(select(Job).where(Job.kind == "deliver")).one()


def test_destination_that_never_confirms_ends_as_a_dead_letter_until_it_does(
    parts: Parts, scorer: Scorer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dimse, "_SAME_ASSOCIATION_SECONDS", 0.1)
    jobs = Queue(parts.database, "gateway", "here", 300, Backoff(0.001, 0.001, dead_after=0))
    given = replace(parts, queue=jobs)
    ledger = CommitmentLedger(parts.database, parts.metrics, threading.Event())
    with Pacs(commitment="never") as pacs:
        facts = {"kind": "dicom", "name": "pacs", "ae_title": "PACS", "host": "127.0.0.1", "port": pacs.port}
        config = Config.model_validate({"study": Study(stable_seconds=0), "destinations": [facts]})
        site = Site(given, scorer, config)
        site.take(radiograph())
        site.work()
        sender = DicomSender(Dicom.model_validate(facts), "FRACTURE", ledger)
        assert Deliverer("pacs", sender, 0.001, given).step()
    assert (delivery(parts).state, delivery(parts).code) == ("dead", "not_committed")
    with parts.database.session() as session:
        transaction = session.scalars(select(Commitment.transaction_uid)).one()
        kept = frozenset(session.scalars(select(Result.sop_instance_uid)))
    ledger(transaction, kept, frozenset())
    assert delivery(parts).state == "done"
