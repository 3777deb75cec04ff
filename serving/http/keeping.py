"""What a worker keeps of its answers where FRACTURE_STORE_URL is set: rows for the store, and tokens for feedback."""

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from serving.errors import SettingsError, one_line
from serving.http.keys import Caller
from serving.http.problems import RETRY_AFTER_SECONDS, ProblemError
from serving.http.schemas import Facts
from serving.http.settings import Settings
from serving.http.telemetry import Telemetry
from serving.http.tokens import TokenSigner
from serving.imaging import dicom
from serving.late import late
from serving.predictor import Prediction
from serving.statistics import Reference
from serving.store.answered import answered
from serving.store.errors import StoreError
from serving.store.pseudonyms import Pseudonyms, pseudonyms_of
from serving.store.records import AnswerRecord, FeedbackRecord
from serving.store.writer import AnswerWriter

if TYPE_CHECKING:
    from serving.store import database
else:
    database = late("serving.store.database")  # the extra is needed from its first use on

_DAY_SECONDS = 86_400
_MOST_PENDING = 32
"""Opinions that wait for the database at once."""


def open_database(url: str) -> "database.Database":
    """The database of FRACTURE_STORE_URL, not yet connected; SettingsError for an address that cannot be one."""
    try:
        return database.Database(url)
    except ModuleNotFoundError as error:
        raise SettingsError(f"FRACTURE_STORE_URL: {one_line(error)}; install the packages of locks/store.txt") from None
    except StoreError as error:
        raise SettingsError(f"FRACTURE_STORE_URL: {error}") from None


@dataclass(frozen=True)
class Source:
    """Where an answer comes from."""

    answer_id: str
    request_id: str
    route: str
    caller: Caller


class Keeper:
    """Hands answers to the store's writer, and feedback to its database; nothing here makes an answer fail."""

    def __init__(self, settings: Settings, telemetry: Telemetry, reference: Reference, facts: Facts) -> None:
        """SettingsError for an address that cannot be a database's."""
        self._database = open_database(settings.store_url)
        self._writer = AnswerWriter(self._database, settings.store_queue, telemetry)
        self._telemetry = telemetry
        self._reference = reference
        self._facts = facts
        self._pseudonym_key = settings.pseudonym_key
        self._thread = ThreadPoolExecutor(1, "feedback")
        self._pending = 0
        self._lifetime = settings.feedback_days * _DAY_SECONDS
        self.signer = TokenSigner(settings.feedback_key) if settings.feedback_key else None

    def may_name(self, content: bytes) -> bool:
        """Whether `pseudonyms` has to read this file; it takes a thread, for which an answer would wait."""
        return bool(self._pseudonym_key) and dicom.is_dicom(content)

    def pseudonyms(self, content: bytes, site: str) -> Pseudonyms:
        """Of an image file's patient and study; none for a file that does not say, and for one that is broken."""
        try:
            return pseudonyms_of(content, site, self._pseudonym_key)
        except Exception as error:  # noqa: BLE001  the answer is there, and does not fail with its pseudonyms
            self._telemetry.trouble(f"no pseudonyms of an image ({type(error).__name__})")
            return Pseudonyms()

    def answered(self, source: Source, prediction: Prediction, names: Pseudonyms) -> None:
        """Keep an answer."""
        self._writer.add(answered(self._origin(source), prediction, self._reference, names))

    def refused(self, source: Source, code: str) -> None:
        """Keep that an image got no answer."""
        self._writer.add(replace(self._origin(source), refused=code))

    def token(self, answer_id: str, caller: Caller) -> str:
        """What allows feedback on an answer; empty where this caller may give none."""
        if self.signer is None or caller.role != "reader":
            return ""
        return self.signer.sign(answer_id, caller.site, time.time() + self._lifetime)

    async def take(self, opinion: FeedbackRecord) -> int:
        """Write an opinion; how many the reader has given of this answer. Problem `store_unavailable`."""
        if self._pending >= _MOST_PENDING:
            raise _unavailable()
        self._pending += 1
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._thread, self._database.add_feedback, opinion)
        except StoreError as error:
            self._telemetry.trouble(str(error))
            raise _unavailable() from None
        finally:
            self._pending -= 1

    def close(self) -> None:
        """Write what waits, for some seconds at most."""
        self._writer.close()
        self._thread.shutdown(wait=False, cancel_futures=True)
        self._database.close()

    def _origin(self, source: Source) -> AnswerRecord:
        return AnswerRecord(
            answer_id=source.answer_id,
            at=datetime.now(UTC),
            request_id=source.request_id,
            route=source.route,
            site=source.caller.site,
            caller=source.caller.name,
            model_name=self._facts.name,
            model_version=self._facts.version,
            model_sha256=self._facts.sha256,
        )


def _unavailable() -> ProblemError:
    detail = "the store of answers cannot be reached; the feedback was not kept, send it again"
    return ProblemError("store_unavailable", detail, {"retry-after": str(RETRY_AFTER_SECONDS)})
