"""Studies as rows, as the gateway leaves them, without scoring anything; and a browser before the worklist."""

import hashlib
import re
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy import select
from starlette.testclient import TestClient

from hospital.audit.settings import Audit
from hospital.audit.trail import AuditTrail
from hospital.database import Instance, Job, Version
from hospital.parts import Parts
from hospital.spool import INCOMING
from hospital.worklist.accounts import Accounts, PasswordHash
from hospital.worklist.app import Access, create_app
from hospital.worklist.settings import Worklist
from tests.hospital.objects import encoded, radiograph

PASSWORD = "correct horse battery"  # noqa: S105  of a user that nobody is
START = 1_764_200_000.0
SALT = b"0123456789abcdef"
USERS = "reader:" + str(
    PasswordHash(14, 8, 1, SALT, hashlib.scrypt(PASSWORD.encode(), salt=SALT, n=1 << 14, r=8, p=1, dklen=32))
)
"""One user, hashed at the least cost that is read."""
_TINY = np.zeros((8, 8), np.uint8)


def add_images(parts: Parts, study: str, *states: str, at: float = START, **attributes: Any) -> list[int]:
    """Put images of a study in, each with its state, and with bytes in the spool; their ids."""
    ids = []
    for number, state in enumerate(states):
        made = radiograph(_TINY, StudyInstanceUID=study or "1.2", **attributes)
        content = encoded(made)
        path = parts.spool.write(content, INCOMING, hashlib.sha256(content).hexdigest())
        told = ("out_of_scope", "shows a chest") if state == "refused" else ("undecodable", "is broken")
        code, reason = told if state in {"refused", "dead"} else ("", "")
        instance = Instance(
            sop_instance_uid=str(made.SOPInstanceUID), sop_class_uid=str(made.SOPClassUID),
            digest=hashlib.sha256(content).hexdigest(), study_uid=study, series_uid="1.3", path=path,
            size=len(content), calling_ae_title="MODALITY", gateway="gateway", received_at=at + number,
            state=state, code=code, reason=reason,
        )  # fmt: skip
        with parts.database.session() as session:
            session.add(instance)
            session.flush()
            ids.append(instance.id)
    return ids


def add_version(parts: Parts, study: str, suspicion: str, **patient: str) -> int:
    """Put a study's result in; its id."""
    told = {
        "id": "4711", "name": "Doe^Jane", "birth_date": "19700101", "sex": "F", "accession_number": "A1",
        "study_date": "20261127", "study_time": "0815", "study_description": "Wrist", **patient,
    }  # fmt: skip
    with parts.database.session() as session:
        number = len(session.scalars(select(Version).where(Version.study_uid == study)).all()) + 1
        made = Version(
            study_uid=study, number=number, sources=f"{study}{number}", made_at=START, first_received_at=START,
            last_received_at=START, suspicion=suspicion, probability=0.5 if suspicion else None,
            summary={"statement": f"Statement of {suspicion}.", "views": [], "model": {"name": "m", "version": "1"}},
            patient=told,
        )  # fmt: skip
        session.add(made)
        session.flush()
        return made.id


def add_study(parts: Parts, study: str, suspicion: str, at: float = START, **patient: Any) -> int:
    """Put a study with one scored image and its result in; the result's id."""
    add_images(parts, study, "scored" if suspicion else "refused", at=at)
    return add_version(parts, study, suspicion, **patient)


def add_job(parts: Parts, kind: str, key: str, subject: int, state: str, **values: Any) -> None:
    """Put a job in."""
    with parts.database.session() as session:
        facts = {"holder": "gateway", "created_at": START, "due_at": START, **values}
        session.add(Job(kind=kind, key=key, subject=subject, state=state, **facts))


class Browser:
    """A client that keeps cookies and sends forms as a page would."""

    def __init__(self, parts: Parts, folder: Path, key: str = "", scheme: str = "http", **settings: Any) -> None:
        self.settings = Worklist.model_validate(settings)
        self.trail = AuditTrail(Audit(folder=folder / "audit"), "gateway")
        self.trail.prepare()
        self.access = Access.by(self.settings, Accounts(None, USERS), self.trail, key)
        app = create_app(parts, self.settings, self.access)
        self.client = TestClient(app, base_url=f"{scheme}://127.0.0.1:11190", follow_redirects=False)

    def form_token(self, path: str) -> str:
        """The token of the form on a page."""
        found = re.search(r'name="token" value="([0-9a-f]+)"', self.client.get(path).text)
        assert found
        return found[1]

    def log_in(self, name: str = "reader", password: str = PASSWORD, token: str | None = None) -> Any:
        """Send the login form."""
        sent = {"name": name, "password": password, "token": self.form_token("/login") if token is None else token}
        return self.client.post("/login", data=sent)

    def audited(self) -> str:
        """Everything that was audited."""
        return "\n".join(path.read_text(encoding="utf-8") for path in sorted(self.trail.folder.glob("*.log")))
