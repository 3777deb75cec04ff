"""A DICOMweb server asked for new radiographs now and then, which then go the way of those that are sent."""

import hashlib
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path

from sqlalchemy import delete, select

from hospital.config import Poll
from hospital.database import Instance, Polled, now
from hospital.dicomweb.client import DicomwebClient, FoundInstance, FoundStudy, UnavailableObjectError
from hospital.dicomweb.gate import ObjectGate, RefusedObjectError
from hospital.errors import TryAgainError
from hospital.parts import Parts
from hospital.receiver import STORED
from hospital.rounds import Rounds

_MARGIN_DAYS = 7
"""Beyond the days that are looked back at, in which what was seen is remembered."""
_FINAL = ("object_size", "sop_class", "transfer_syntax")
"""What the same object will be refused for again; the others may come in good order later."""
_DAY = 86400.0
_TOUCH_SECONDS = 3600.0


class Poller:
    """Looks at one server each `interval_seconds`; `ending` tells when to stop in between."""

    def __init__(
        self,
        settings: Poll,
        client: DicomwebClient,
        gate: ObjectGate,
        parts: Parts,
        ending: Callable[[], bool],
    ) -> None:
        self._settings, self._client, self._gate, self._ending = settings, client, gate, ending
        self._database, self._spool = parts.database, parts.spool
        self.rounds = Rounds(settings.name, settings.interval_seconds, parts.metrics, self._round)

    def step(self) -> bool:
        """Look at the server if it is time to; False, as what it brought is announced object by object."""
        return self.rounds.step()

    def _round(self) -> None:
        today = date.today()  # local, as study dates are
        first, last = today - timedelta(days=self._settings.lookback_days), today + timedelta(days=1)
        done: set[str] = set()
        for study in self._client.studies(first, last):
            if self._ending():
                return
            if study.uid not in done:
                done.add(study.uid)
                self._study(study)
        self._forget()

    def _study(self, study: FoundStudy) -> None:
        """Look at the objects of a study, unless all of them were looked at and nothing has changed since."""
        mark = _mark(study)
        if mark and self._known(study.uid, mark):
            return
        walked, complete = 0, True
        for found in self._client.instances(study.uid):
            if self._ending():
                return
            walked += 1
            if found.sop_class_uid in STORED:
                complete &= self._object(study, found)
        if mark and complete and walked >= (study.count or 0):
            self._remember(study.uid, mark, "taken")

    def _object(self, study: FoundStudy, found: FoundInstance) -> bool:
        """Fetch an object that is new, or whose study says something else of the patient; False to try it again."""
        uid = found.sop_instance_uid
        with self._database.session() as session:
            before = session.get(Polled, (self._settings.name, uid))
            sent = select(Instance.id).where(Instance.sop_instance_uid == uid, Instance.superseded.is_(False)).limit(1)
            was_sent = before is None and session.scalar(sent) is not None
        if was_sent:
            self._remember(uid, study.demographics, "taken")
            return True
        if before is None or before.mark != study.demographics:
            return self._fetched(study, found, 0)
        if before.state != "failing":
            return True
        return before.due_at <= now() and self._fetched(study, found, before.attempts)

    def _fetched(self, study: FoundStudy, found: FoundInstance, attempts: int) -> bool:
        """Fetch an object and remember what became of it; False to try it again, and TryAgainError to end the round."""
        uid, mark = found.sop_instance_uid, study.demographics
        try:
            self._client.retrieve(found, self._spool.partial, lambda path: self._take(path, found))
        except RefusedObjectError as error:
            if error.is_temporary:
                raise TryAgainError(error.code, f"an object cannot be kept ({error.code})") from None
            return self._refused(uid, mark, error.code, attempts)
        except UnavailableObjectError as error:
            self._gate.refused(error.code)
            return self._refused(uid, mark, error.code, attempts)
        except TryAgainError as error:
            self._failed(uid, mark, error.code, attempts + 1)  # so that the next round begins with others
            raise
        else:
            self._remember(uid, mark, "taken")
        return True

    def _refused(self, uid: str, mark: str, code: str, attempts: int) -> bool:
        if code not in _FINAL:
            self._failed(uid, mark, code, attempts + 1)
            return False
        self._remember(uid, mark, "refused", code)
        return True

    def _take(self, path: Path, found: FoundInstance) -> None:
        self._gate.take(path, found.study_uid, found.sop_instance_uid)

    def _known(self, uid: str, mark: str) -> bool:
        moment = now()
        with self._database.session() as session:
            found = session.get(Polled, (self._settings.name, uid))
            if found is None or found.mark != mark:
                return False
            if found.seen_at < moment - _TOUCH_SECONDS:
                found.seen_at = moment
            return True

    def _failed(self, uid: str, mark: str, code: str, attempts: int) -> None:
        due = now() + self.rounds.wait(attempts)
        self._keep(Polled(uid=uid, mark=mark, state="failing", code=code, attempts=attempts, due_at=due))

    def _remember(self, uid: str, mark: str, state: str, code: str = "") -> None:
        self._keep(Polled(uid=uid, mark=mark, state=state, code=code, attempts=0, due_at=0.0))

    def _keep(self, row: Polled) -> None:
        row.source, row.seen_at = self._settings.name, now()
        with self._database.session() as session:
            session.merge(row)

    def _forget(self) -> None:
        """Forget what the server no longer lists; an object that comes back is known by its bytes."""
        before = now() - (self._settings.lookback_days + _MARGIN_DAYS) * _DAY
        with self._database.session() as session:
            session.execute(delete(Polled).where(Polled.source == self._settings.name, Polled.seen_at < before))


def _mark(study: FoundStudy) -> str:
    """What changes when a study is to be looked at again; empty where the server does not count its objects."""
    if study.count is None:
        return ""
    return hashlib.sha256(f"{study.demographics} {study.count}".encode()).hexdigest()
