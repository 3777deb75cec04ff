"""A gateway's parts in a folder, the released model as their scorer, and a receiver that listens."""

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pynetdicom import _config, dimse_messages

from hospital.config import Config, Receiver, Results, Study
from hospital.database import Database
from hospital.images import AnswerKeeper, ImageWorker
from hospital.intake import Arrival, Intake
from hospital.labels.origin import Origin
from hospital.metrics import Metrics
from hospital.parts import Parts
from hospital.queue import Backoff, Queue
from hospital.receiver import DicomReceiver
from hospital.scoring import ModelFacts, Scored
from hospital.scoring.pool import answer
from hospital.spool import Spool
from hospital.studies import Assembler
from serving import bundle
from serving.predictor import Limits, Predictor
from tests.hospital.objects import BUNDLE, encoded
from tests.ports import free_port

Listen = Callable[..., DicomReceiver]


@pytest.fixture
def parts(tmp_path: Path) -> Iterator[Parts]:
    """Make an empty spool and database; failures are tried again at once."""
    spool, database = Spool(tmp_path / "spool"), Database(f"sqlite:///{tmp_path}/gateway.db")
    spool.prepare()
    database.prepare()
    yield Parts(database, Queue(database, "gateway", "here", 300, Backoff(0.001, 0.001)), spool, Metrics())
    database.close()


class Scorer:
    """The released model in this process; `asked` counts the images that it was given."""

    def __init__(self, warn_of_scope: bool = False) -> None:
        self._predictor = Predictor(bundle.read(BUNDLE), Limits(warn_of_scope=warn_of_scope))
        manifest = self._predictor.bundle.manifest
        self.model = ModelFacts(manifest.name, manifest.version, manifest.digest, manifest.intended.regions)
        self.at_once = 1
        self.asked = 0

    def score(self, content: bytes) -> Scored:
        """Answer as the processes of the pool do."""
        self.asked += 1
        return answer(self._predictor, content)

    def close(self) -> None:
        """Keep nothing."""


@pytest.fixture(scope="session")
def scorer() -> Scorer:
    """Open the released model once."""
    return Scorer()


class Site:
    """A gateway without its network: objects are taken in, scored and assembled when a test says so."""

    def __init__(
        self,
        parts: Parts,
        scorer: Scorer,
        config: Config,
        name: str = "gateway",
        *,
        keeper: AnswerKeeper | None = None,
        origin: Origin | None = None,
    ) -> None:
        self.parts, self.config = parts, config
        self._intake = Intake(parts, name, 0)
        self._images = ImageWorker(scorer, parts, config.study.stable_seconds, keeper)
        self._studies = Assembler(config, scorer.model, parts, origin)

    def take(self, dataset: object, calling: str = "MODALITY") -> str:
        """Take in an object as the receiver does."""
        partial = self.parts.spool.partial / "arriving"
        partial.write_bytes(encoded(dataset))  # type: ignore[arg-type]
        uid, kind = dataset.SOPInstanceUID, dataset.SOPClassUID  # type: ignore[attr-defined]
        return self._intake.take(Arrival(partial, str(uid), str(kind), calling))

    def work(self) -> None:
        """Score and assemble until nothing is due."""
        while self._images.step():
            pass
        while self._studies.step():
            pass


@pytest.fixture
def site(parts: Parts, scorer: Scorer) -> Site:
    """Make a gateway without network whose studies are stable at once, and which delivers nowhere."""
    return Site(parts, scorer, Config(study=Study(stable_seconds=0), results=Results()))


@pytest.fixture
def listen(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> Iterator[Listen]:
    """Give a function that starts a receiver on loopback; its arguments are those of the table `receiver`."""
    monkeypatch.setattr(dimse_messages, "NamedTemporaryFile", dimse_messages.NamedTemporaryFile)
    monkeypatch.setattr(_config, "STORE_RECV_CHUNKED_DATASET", False)
    monkeypatch.setattr(_config, "LOG_HANDLER_LEVEL", "none")
    started: list[DicomReceiver] = []

    def start(**settings: object) -> DicomReceiver:
        given = Receiver.model_validate({"port": free_port(), "disk_reserve_mb": 0, **settings})
        intake = Intake(parts, "gateway", given.disk_reserve_mb << 20)
        receiver = DicomReceiver(given, intake, parts, lambda: None, lambda *_: None)
        receiver.start()
        started.append(receiver)
        return receiver

    yield start
    for receiver in started:
        receiver.close()


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a folder with an authority, ca.pem, and for both sides server.pem, client.pem and their keys."""
    folder = tmp_path_factory.mktemp("certificates")

    def openssl(*words: str) -> None:
        subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True)

    (folder / "names").write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\n")
    openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=ca",
            "-days", "2")  # fmt: skip
    for side in ("server", "client"):
        openssl("req", "-newkey", "rsa:2048", "-nodes", "-keyout", f"{side}.key", "-out", f"{side}.csr",
                "-subj", f"/CN={side}")  # fmt: skip
        openssl("x509", "-req", "-in", f"{side}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial",
                "-out", f"{side}.pem", "-days", "2", "-extfile", "names")  # fmt: skip
    return folder
