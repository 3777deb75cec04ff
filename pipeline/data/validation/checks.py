"""The checks on single images."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from serving.guard import BLANK, COLOURFUL
from serving.imaging.decode import MAX_PIXELS

UNUSABLE = ("missing_file", "empty_file", "undecodable", "too_many_pixels", "unlabelled_file", "unknown_class")
"""Offenders that cannot be used: the policy `keep` leaves them in data/, but not in training."""
UNLABELLED = "(no label)"


@dataclass(frozen=True)
class Check:
    """One question asked of every image: the faulty ones are those whose `column` is not among `allowed`."""

    name: str
    problem: str
    advice: str
    column: str
    allowed: Sequence[Any] | None = None
    minimum: float | None = None
    maximum: float | None = None


def checks(classes: Sequence[str]) -> list[Check]:
    """Every check on single images, in the order in which their findings are reported."""
    decoded = ["whole", "truncated", "empty", "oversized", "missing", "failed"]

    def without(*states: str) -> list[str]:
        return [state for state in decoded if state not in states]

    # A table with a check a row, of which the formatter would make six lines.
    return [
        Check(
            "missing_file", "is in labels.csv but not on disk", "restore it or remove its row", "decoded",
            allowed=without("missing"),
        ),
        Check("empty_file", "is empty", "restore it or remove it with its row", "decoded", allowed=without("empty")),
        Check(
            "undecodable", "cannot be decoded", "replace it or remove it with its row", "decoded",
            allowed=without("failed"),
        ),
        Check(
            "too_many_pixels", f"has more than {MAX_PIXELS} pixels", "scale it down", "decoded",
            allowed=without("oversized"),
        ),
        Check(
            "unlabelled_file", "lies in images/ but has no row in labels.csv", "add a row or remove it", "listed",
            allowed=["yes"],
        ),
        Check(
            "unknown_class", "has a label that dataset.json does not name", "correct the label or the list of classes",
            "label", allowed=[*classes, UNLABELLED],
        ),
        Check(
            "colour_photograph", "is a colour photograph", "remove it; radiographs are grey", "colourfulness",
            maximum=COLOURFUL,
        ),
        Check("blank", "shows nothing (one grey level)", "remove it", "contrast", minimum=BLANK),
        Check(
            "identical_opposite", "is byte-identical to an image with another label", "keep the right label only",
            "identical_opposite", allowed=["no"],
        ),
        Check(
            "truncated", "is cut short but can be decoded", "fetch it again if a whole copy exists", "decoded",
            allowed=without("truncated"),
        ),
        Check(
            "near_duplicate", "looks like another image (grouped with it, so never in another part)",
            "keep one of them if they are copies", "near_duplicate", allowed=["no"],
        ),
        Check(
            "near_opposite", "looks like an image with another label", "have both labels read again", "near_opposite",
            allowed=["no"],
        ),
        Check(
            "conflicting_metadata", "contradicts itself", "read its row's note and box", "conflict", allowed=[""],
        ),
    ]  # fmt: skip
