"""Rows for the tests of the store."""

from datetime import UTC, datetime
from typing import Any

from serving.store.records import AnswerRecord, FeedbackRecord, ShadowRecord

NOON = datetime(2026, 11, 27, 12, tzinfo=UTC)


def answer(number: int = 0, **changes: Any) -> AnswerRecord:
    """An answer of the site north."""
    given: dict[str, Any] = {
        "answer_id": f"{number:032x}", "at": NOON, "request_id": "r", "route": "predict", "site": "north",
        "caller": "ward", "model_name": "m", "model_version": "1", "model_sha256": "s", "label": "Normal",
        "probability": 0.25, "threshold": 0.5, "suspicion": "none", "statistics": {"mean": 80.5},
        "warnings": ["unusual"], "features": b"\x00\x01",
    }  # fmt: skip
    return AnswerRecord(**{**given, **changes})


def opinion(number: int = 0, **changes: Any) -> FeedbackRecord:
    """Agreement of a reader of the site north."""
    given: dict[str, Any] = {
        "answer_id": f"{number:032x}", "at": NOON, "site": "north", "reader": "ward", "source": "reader",
        "opinion": "agree",
    }  # fmt: skip
    return FeedbackRecord(**{**given, **changes})


def shadow(number: int = 0, **changes: Any) -> ShadowRecord:
    """What a second model says of an image of the site north."""
    given: dict[str, Any] = {
        "answer_id": f"{number:032x}", "at": NOON, "site": "north", "model_name": "m", "model_version": "2",
        "model_sha256": "t", "label": "Normal", "probability": 0.25, "threshold": 0.5, "suspicion": "none",
        "seconds": 0.01,
    }  # fmt: skip
    return ShadowRecord(**{**given, **changes})
