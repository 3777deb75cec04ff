"""Final reports of a FHIR server that is asked for them now and then."""

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta

from sqlalchemy import delete

from hospital.database import Polled, now
from hospital.labels import fhir, matching
from hospital.labels.reports import FinalReport
from hospital.labels.search import ReportSearch
from hospital.labels.settings import ReportPoll
from hospital.parts import Parts
from hospital.rounds import Rounds

_ID = re.compile(r"[A-Za-z0-9.-]{1,64}")
"""Of a resource (FHIR, 2.24.0.1)."""
_EARLY = frozenset({"no_study", "no_answer"})
"""What may become of a report that comes before the answer to its study: it is looked at again."""
_WAITING, _TAKEN = "waiting", "taken"
_TOUCH_SECONDS = 3600.0
_MARGIN_SECONDS = 86400.0
"""Beyond the hours that are looked back at, in which what was seen is remembered."""


class ReportPoller:
    """Takes each report once for as long as it stays the same; `ending` tells when to stop in between."""

    def __init__(
        self,
        settings: ReportPoll,
        search: ReportSearch,
        codes: Mapping[str, str],
        parts: Parts,
        ending: Callable[[], bool],
    ) -> None:
        self._settings, self._search, self._codes = settings, search, codes
        self._database, self._metrics, self._ending = parts.database, parts.metrics, ending
        self.rounds = Rounds(settings.name, settings.interval_seconds, parts.metrics, self._round)

    def step(self) -> bool:
        """Look at the server if it is time to; False, as labels wait in the database."""
        return self.rounds.step()

    def _round(self) -> None:
        since = datetime.now(UTC) - timedelta(hours=self._settings.lookback_hours)
        for page in self._search.changed_since(since):
            for identifier, reports in fhir.reports_by_id(page):
                if self._ending():
                    return
                if _ID.fullmatch(identifier) and reports:
                    self._take(identifier, reports)
        self._forget()

    def _take(self, identifier: str, reports: Sequence[FinalReport]) -> None:
        """Note what a report says, in one transaction with the fact that it was seen."""
        mark, moment = _mark(reports), now()
        with self._database.session() as session:
            before = session.get(Polled, (self._settings.name, identifier))
            same = before is not None and before.mark == mark
            if before is not None and same and before.state == _TAKEN:
                if before.seen_at < moment - _TOUCH_SECONDS:
                    before.seen_at = moment
                return
            outcomes = [matching.take(session, report, self._codes) for report in reports]
            state = _WAITING if _EARLY.issuperset(outcomes) else _TAKEN
            session.merge(
                Polled(
                    source=self._settings.name,
                    uid=identifier,
                    mark=mark,
                    state=state,
                    code="",
                    attempts=0,
                    due_at=0.0,
                    seen_at=moment,
                )
            )
        if not same or state == _TAKEN:
            for outcome in outcomes:
                self._metrics.reports.labels(outcome).inc()

    def _forget(self) -> None:
        before = now() - self._settings.lookback_hours * 3600 - _MARGIN_SECONDS
        with self._database.session() as session:
            session.execute(delete(Polled).where(Polled.source == self._settings.name, Polled.seen_at < before))


def _mark(reports: Sequence[FinalReport]) -> str:
    """Digest of what reports say."""
    told = [
        (one.study_uid, sorted(one.accession_numbers), sorted(one.patient_ids), sorted(one.codes), one.withdrawn)
        for one in reports
    ]
    return hashlib.sha256(repr(told).encode()).hexdigest()
