"""Final reports, whatever form they come in: which study each is about, and what its coded conclusion says."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

CodeSet = frozenset[str]


@dataclass(frozen=True)
class FinalReport:
    """A report on one study. It may name the study by its UID, or by accession number and patient.

    `codes` are those of its conclusion; free text is never read. A `withdrawn` report takes its label back.
    """

    study_uid: str = ""
    accession_numbers: CodeSet = frozenset()
    patient_ids: CodeSet = frozenset()
    codes: CodeSet = frozenset()
    withdrawn: bool = False


def label_of(report: FinalReport, known: Mapping[str, str]) -> str | None:
    """The class that a report's codes mean; None where they mean none, or more than one."""
    labels = {known[code] for code in report.codes if code in known}
    return labels.pop() if len(labels) == 1 else None


def texts(values: Iterable[object]) -> CodeSet:
    """The values that are not blank, without white space around them."""
    return frozenset(text for value in values if (text := str(value or "").strip()))
