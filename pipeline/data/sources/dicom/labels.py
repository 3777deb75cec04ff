"""The table of labels: a row names an object or a whole study by its UID."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from pipeline.data.sources.folder.search import order_classes, plain
from pipeline.data.sources.folder.tables import check_values, column_names, read_any
from pipeline.errors import InputError
from serving.imaging.dicom.dataset import identifier

INSTANCE, STUDY, LABEL = "sop_instance_uid", "study_instance_uid", "label"
_NAMES = {
    INSTANCE: ("sop_instance_uid", "sopinstanceuid", "instance_uid", "sop_uid", "image_uid"),
    STUDY: ("study_instance_uid", "studyinstanceuid", "study_uid"),
    LABEL: ("label", "class"),
}
_FROM_OBJECTS = ("patient_id", "study_id")


@dataclass(frozen=True)
class Row:
    """A label and further cells, and the number of the row that gives them."""

    number: int
    label: str
    cells: Mapping[str, str]


@dataclass(frozen=True)
class Labels:
    """Rows by SOP Instance UID and by Study Instance UID; that of the object counts where both name one."""

    path: Path
    instances: Mapping[str, Row]
    studies: Mapping[str, Row]
    studies_named: tuple[str, ...]
    """The studies of all rows, where every row names one; else empty."""

    def of(self, sop_instance_uid: str, study_instance_uid: str) -> Row | None:
        """The row of an object, None for one without a label."""
        return self.instances.get(sop_instance_uid) or self.studies.get(study_instance_uid)

    @property
    def regions(self) -> frozenset[str]:
        """The regions that rows name."""
        rows = (*self.instances.values(), *self.studies.values())
        return frozenset(row.cells["region"] for row in rows if row.cells.get("region"))

    def check_used(self, sop_instance_uids: Iterable[str], study_instance_uids: Iterable[str]) -> None:
        """InputError for the first row whose object or study the source does not hold."""
        lost = [self.instances[uid] for uid in self.instances.keys() - set(sop_instance_uids)]
        lost += [self.studies[uid] for uid in self.studies.keys() - set(study_instance_uids)]
        if lost:
            first = min(row.number for row in lost)
            raise InputError(
                f"{self.path}: row {first}: the source holds no radiograph of this UID; mend or remove it"
                + (f", and {len(lost) - 1} further rows" if len(lost) > 1 else "")
            )

    def classes(self, labels: Iterable[str], normal: str | None) -> tuple[str, ...]:
        """Class names, the normal class first; InputError where it is not known, or there are fewer than two."""
        names = sorted(set(labels))
        if len(names) < 2:
            raise InputError(
                f"{self.path}: the radiographs have {len(names)} label{'s' if len(names) != 1 else ''}; "
                "at least two are needed, for example normal and fractured"
            )
        if normal is not None and plain(normal) not in map(plain, names):
            raise InputError(f"--normal {normal}: is not one of the labels {', '.join(names)}; give one of them")
        return order_classes(names, normal, self.path)


def read_labels(path: Path) -> Labels:
    """The table of labels; InputError names the column or row that cannot be used, never its content."""
    table = read_any(path)
    table.columns = pd.Index([_own_name(column) for column in table.columns])
    keys = [column for column in (INSTANCE, STUDY) if column in table.columns]
    twice = [column for column in (*keys, LABEL) if list(table.columns).count(column) > 1]
    if twice:
        raise InputError(f"{path}: several columns mean {twice[0]}; keep one")
    if not keys or LABEL not in table.columns:
        raise InputError(f"{path}: needs a column {LABEL}, and {INSTANCE} or {STUDY}; add it to the header")
    further = table.drop(columns=[*keys, LABEL])
    further.columns = pd.Index(column_names(path, further.columns))
    for column in _FROM_OBJECTS:
        if column in further.columns:
            raise InputError(f"{path}: column {column}: comes from the objects themselves; remove it")
    check_values(path, further, ())
    instances: dict[str, Row] = {}
    studies: dict[str, Row] = {}
    named: list[str] = []
    cells = further.to_dict("records")
    for number, given in enumerate(table.to_dict("records"), start=2):
        uids = [str(given.get(key, "")) for key in (INSTANCE, STUDY)]
        if not any(uids) or any(uid and not identifier(uid) for uid in uids):
            raise InputError(f"{path}: row {number}: names no valid UID; mend or remove the row")
        if not given[LABEL]:
            raise InputError(f"{path}: row {number}: has no label; give one, or remove the row")
        row = Row(number, str(given[LABEL]), {str(name): str(cell) for name, cell in cells[number - 2].items()})
        rows, uid = (instances, uids[0]) if uids[0] else (studies, uids[1])
        if uid in rows:
            raise InputError(f"{path}: rows {rows[uid].number} and {number} are about the same UID; keep one")
        rows[uid] = row
        named.append(uids[1])
    return Labels(path, instances, studies, tuple(dict.fromkeys(named)) if all(named) else ())


def _own_name(column: str) -> str:
    simple = re.sub(r"[\W_]+", "_", column.strip().casefold()).strip("_")
    return next((name for name, synonyms in _NAMES.items() if simple in synonyms), column)
