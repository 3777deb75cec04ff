"""Orthanc as the other side, in a network namespace of its own; prints what it saw as JSON.

Orthanc listens on every address, whatever it is told. `unshare` starts this module where there is only a loopback.
"""

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import httpx
from sqlalchemy import select

from hospital import demo
from hospital.config import MIB, Poll, WebReceiver
from hospital.database import Database, Instance
from hospital.delivery import Outgoing
from hospital.delivery.settings import Stow
from hospital.delivery.stow import StowSender
from hospital.dicomweb.app import StoreService, create_app
from hospital.dicomweb.client import DicomwebClient
from hospital.dicomweb.gate import ObjectGate
from hospital.dicomweb.poller import Poller
from hospital.dicomweb.server import WebServer
from hospital.intake import Intake
from hospital.metrics import Metrics
from hospital.parts import Parts
from hospital.queue import Backoff, Queue
from hospital.spool import Spool
from tests.hospital.delivery.packages import package
from tests.hospital.objects import BUNDLE, encoded
from tests.hospital.peers import RunningGateway, eventually

PASSWORD = "orthanc"  # noqa: S105  of a server on the loopback of a namespace
WEB = f"http://127.0.0.1:{demo._REST_PORT}/dicom-web"
KEY = "web-key"


def main(words: list[str]) -> None:
    """Run one of the scenes in a folder of its own."""
    demo._loopback_up()
    with tempfile.TemporaryDirectory() as name:
        folder, program = Path(name), words[1]
        facts = demo._orthanc(folder, PASSWORD)
        settings = json.loads(facts.read_text())
        settings["DicomWeb"]["Servers"] = {
            "gateway": {"Url": "http://127.0.0.1:11181/", "HttpHeaders": {"Authorization": f"Bearer {KEY}"}}
        }
        facts.write_text(json.dumps(settings))
        with demo._running([program, str(facts)], folder / "orthanc.log"):
            demo._until("Orthanc", lambda: demo._asked("/statistics", PASSWORD) is not None)
            found = {"polled": polled, "pushed": pushed, "whole": whole}[words[0]](folder)
    print(json.dumps(found))


def polled(folder: Path) -> dict[str, Any]:
    """Take three studies out of Orthanc by QIDO-RS and WADO-RS, one at a time; then look again."""
    parts, intake = opened(folder)
    stored = list(demo.studies(BUNDLE))
    for one in stored:
        store(folder, encoded(one), str(one.SOPClassUID), str(one.SOPInstanceUID))
    settings = Poll(name="orthanc", url=WEB, page_size=1)
    client = DicomwebClient(settings, demo._basic(PASSWORD))
    gate = ObjectGate(intake, parts.metrics, lambda: None, "orthanc")
    poller = Poller(settings, client, gate, parts, lambda: False)
    fetched: list[str] = []
    retrieve = client.retrieve
    client.retrieve = lambda found, *rest: (fetched.append(found.sop_instance_uid), retrieve(found, *rest))[1]  # type: ignore[method-assign, func-returns-value]
    for _ in range(2):
        poller.rounds.due = 0
        poller.step()
    return {**outcome(parts, [str(one.SOPInstanceUID) for one in stored]), "fetched": len(fetched)}


def pushed(folder: Path) -> dict[str, Any]:
    """Let Orthanc send three studies by STOW-RS with a key."""
    parts, intake = opened(folder)
    stored = list(demo.studies(BUNDLE))
    for one in stored:
        store(folder, encoded(one), str(one.SOPClassUID), str(one.SOPInstanceUID))
    settings = WebReceiver()
    server = WebServer(settings)
    gate = ObjectGate(intake, parts.metrics, lambda: None, "STOW-RS")
    server.serve(settings, create_app(StoreService(settings, KEY, gate, parts, 1).answer))
    wanted = {"Resources": demo._asked("/instances", PASSWORD), "Synchronous": True}
    answer = httpx.post(
        f"{WEB}/servers/gateway/stow", json=wanted, auth=("demo", PASSWORD), trust_env=False, timeout=60
    )
    answer.raise_for_status()
    server.close()
    return outcome(parts, [str(one.SOPInstanceUID) for one in stored])


def whole(folder: Path) -> dict[str, Any]:
    """Let a gateway find a study in Orthanc, and give its results back there by STOW-RS."""
    study = next(demo.studies(BUNDLE))
    store(folder, encoded(study), str(study.SOPClassUID), str(study.SOPInstanceUID))
    tables = (
        f'[[polls]]\nname = "orthanc"\nurl = "{WEB}"\ninterval_seconds = 1',
        f'[[destinations]]\nkind = "stow"\nname = "orthanc"\nurl = "{WEB}"',
    )
    gateway = RunningGateway(folder, None, *tables)
    with gateway:
        entry = gateway.study(str(study.StudyInstanceUID))
        eventually(lambda: gateway.worklist()[0]["delivery"] == {"orthanc": "done"})
        rounds = metric(gateway, "hospital_polls_total")
        eventually(lambda: metric(gateway, "hospital_polls_total") > rounds + 2)
        check = gateway.command("check").stdout
        received = metric(gateway, "hospital_received_total")
    instances = demo._asked("/statistics", PASSWORD)["CountInstances"]
    return {"suspicion": entry["suspicion"], "received": received, "instances": instances, "check": check}


def metric(gateway: RunningGateway, name: str) -> float:
    """The sum of a counter over its labels."""
    lines = gateway.get("/metrics").decode().splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name + "{"))


def opened(folder: Path) -> tuple[Parts, Intake]:
    """A spool and a database."""
    spool, database = Spool(folder / "spool"), Database(f"sqlite:///{folder}/gateway.db")
    spool.prepare()
    database.prepare()
    parts = Parts(database, Queue(database, "gateway", "here", 300, Backoff()), spool, Metrics())
    return parts, Intake(parts, "gateway", MIB)


def store(folder: Path, content: bytes, sop_class_uid: str, uid: str) -> None:
    """Put an object into Orthanc."""
    path = folder / "sent.dcm"
    path.write_bytes(content)
    sender = StowSender(Stow(kind="stow", name="orthanc", url=WEB), demo._basic(PASSWORD))
    if not sender.send(package(Outgoing(path, sop_class_uid, uid)), lambda _: None).kept:
        raise AssertionError(uid)


def outcome(parts: Parts, wanted: list[str]) -> dict[str, Any]:
    """What is in the database of what was wanted."""
    with parts.database.session() as session:
        found = sorted(session.scalars(select(Instance.sop_instance_uid)))
    return {"all": found == sorted(wanted), "metrics": parts.metrics.exposition().decode()}


if __name__ == "__main__":
    main(sys.argv[1:])
