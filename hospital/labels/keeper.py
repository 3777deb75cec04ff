"""What the gateway writes into the store of answers: its own answers, and the labels of final reports."""

from collections.abc import Sequence
from dataclasses import dataclass

from hospital import logs
from hospital.database import Database
from hospital.errors import HospitalError
from hospital.labels import matching, renaming
from hospital.labels.matching import Outcome
from hospital.labels.origin import Origin
from hospital.labels.reports import FinalReport
from hospital.labels.settings import Store
from hospital.metrics import Metrics
from hospital.scoring import ModelFacts
from serving.store import database as stores
from serving.store.errors import StoreError
from serving.store.records import AnswerRecord
from serving.store.writer import AnswerWriter


class StoreKeeper:
    """Nothing here makes an image or a report wait: answers are written in the background, labels by a worker."""

    def __init__(self, settings: Store, url: str, origin: Origin, database: Database, metrics: Metrics) -> None:
        """HospitalError for an address that is none."""
        try:
            self._store = stores.Database(url)
        except StoreError as error:
            raise HospitalError(f"FRACTURE_STORE_URL: {error}") from None
        self._settings = settings
        self._origin = origin
        self._database = database
        self._metrics = metrics
        self._writer = AnswerWriter(self._store, settings.queue, _Meter(metrics))
        self._trouble = ""

    def check(self) -> None:
        """HospitalError where the store is away, or has no tables yet."""
        try:
            self._store.check()
        except StoreError as error:
            raise HospitalError(f"FRACTURE_STORE_URL: {error}") from None

    def answered(self, row: AnswerRecord) -> None:
        """Keep an answer."""
        self._writer.add(row)

    def refused(self, model: ModelFacts, code: str) -> None:
        """Keep that an image got no answer."""
        self._writer.add(self._origin.refused(model, code))

    def take(self, reports: Sequence[FinalReport]) -> list[Outcome]:
        """Note the labels of final reports; when this returns, they survive a loss of power."""
        with self._database.session() as session:
            outcomes = [matching.take(session, report, self._settings.codes) for report in reports]
        for outcome in outcomes:
            self._metrics.reports.labels(outcome).inc()
        return outcomes

    def step(self) -> bool:
        """Send labels and pseudonyms that wait; False where there are none, or the store is away."""
        try:
            sent = matching.send(self._database, self._store, self._settings.site)
            renamed = renaming.send(self._database, self._store)
        except StoreError as error:
            if self._trouble != str(error):
                self._trouble = str(error)
                logs.trouble("store", reason=self._trouble)
            return False
        self._trouble = ""
        self._metrics.labels_stored.inc(sent)
        return sent + renamed > 0

    def close(self) -> None:
        """Write what waits, for some seconds at most."""
        self._writer.close()
        self._store.close()


@dataclass(frozen=True)
class _Meter:
    """Tells the gateway's metrics and its log how the writer fares."""

    metrics: Metrics

    def stored(self, rows: int) -> None:
        self.metrics.answers_stored.inc(rows)

    def not_stored(self, rows: int, reason: str) -> None:
        self.metrics.answers_dropped.labels(reason).inc(rows)

    def waiting(self, rows: int, oldest_seconds: float) -> None:
        self.metrics.answers_waiting.set(rows)
        self.metrics.answers_oldest.set(oldest_seconds)

    def trouble(self, message: str) -> None:
        logs.trouble("store", reason=message)
