"""What a worker hands on of its images: pictures to be kept, and images for the shadow bundle."""

from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from serving.http.keeping import Source, open_database
from serving.http.settings import Settings
from serving.http.telemetry import SpareCounter, Telemetry
from serving.spare.frames import Facts
from serving.spare.process import SpareProcess
from serving.store.records import ShadowRecord
from serving.store.writer import AnswerWriter

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from serving.store.database import Database


class SpareWork:
    """The spare processes that the settings ask for; nothing here makes an answer wait or fail."""

    def __init__(self, settings: Settings, telemetry: Telemetry, robust: bool) -> None:
        """`robust` tells whether the served bundle spreads grey levels by percentiles. SettingsError."""
        self._keeping: SpareProcess | None = None
        self._shadow: _Shadow | None = None
        if settings.keep_images:
            chosen = {
                "folder": str(settings.keep_images),
                "days": settings.keep_days,
                "most_bytes": settings.keep_bytes,
                "max_pixels": settings.max_pixels,
                "robust": robust,
            }
            self._keeping = SpareProcess(
                "serving.spare.keeping", chosen, settings.spare_bytes, telemetry.kept_images, idle=settings.spare_idle
            )
        if settings.shadow_bundle:
            self._shadow = _Shadow(settings, telemetry.shadow)

    def answered(self, source: Source, content: bytes, region: str) -> None:
        """Hand on an image that was answered."""
        if self._keeping:
            self._keeping.give({"answer_id": source.answer_id}, content)
        self.refused(source, content, region)

    def refused(self, source: Source, content: bytes, region: str) -> None:
        """Hand on an image that was refused: only the shadow wants it."""
        if self._shadow:
            self._shadow.give(source, content, region)

    def close(self) -> None:
        """End the processes."""
        if self._keeping:
            self._keeping.close()
        if self._shadow:
            self._shadow.close()


class _Shadow:
    """A second bundle's process, and the writer of its answers."""

    def __init__(self, settings: Settings, counter: SpareCounter) -> None:
        self._database = open_database(settings.store_url)
        rows = _ShadowRows(self._database)
        self._writer = AnswerWriter[ShadowRecord](rows, settings.store_queue, _Unkept(counter))
        chosen = {
            "bundle": str(settings.shadow_bundle),
            "max_pixels": settings.max_pixels,
            "max_frames": settings.max_frames,
            "warn_of_scope": settings.scope == "warn",
        }
        self._process = SpareProcess(
            "serving.spare.shadow", chosen, settings.spare_bytes, counter, self._take, idle=settings.spare_idle
        )

    def give(self, source: Source, content: bytes, region: str) -> None:
        origin = _Origin(source.answer_id, datetime.now(UTC).isoformat(), source.caller.site, region)
        self._process.give(asdict(origin), content)

    def close(self) -> None:
        self._process.close()
        self._writer.close()
        self._database.close()

    def _take(self, facts: Facts, said: Any) -> None:
        at = datetime.fromisoformat(facts["at"])
        self._writer.add(ShadowRecord(answer_id=facts["answer_id"], at=at, site=facts["site"], **said))


@dataclass(frozen=True)
class _Origin:
    answer_id: str
    at: str
    site: str
    region: str


class _ShadowRows:
    """The shadows' table, as the writer of answers knows the answers'."""

    def __init__(self, database: "Database") -> None:
        self.check: Callable[[], None] = database.check
        self.add_answers: Callable[[Sequence[ShadowRecord]], None] = database.add_shadows


@dataclass(frozen=True)
class _Unkept:
    """Counts the shadow's answers that the store never got; the store's own figures are those of the answers."""

    counter: SpareCounter

    def stored(self, rows: int) -> None: ...

    def not_stored(self, rows: int, reason: str) -> None:
        self.counter.dropped("closing" if reason == "closing" else "unkept", rows)

    def waiting(self, rows: int, oldest_seconds: float) -> None: ...

    def trouble(self, message: str) -> None:
        self.counter.trouble(message)
