"""DICOM objects into `data/`: de-identified, labelled by a table, with patients and studies as groups."""

import hashlib
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from pipeline.data.layout import DatasetInfo, read_table, rebuild
from pipeline.data.sources.acceptance import Acceptance
from pipeline.data.sources.dicom.archive import ArchiveObjects
from pipeline.data.sources.dicom.dicomweb import ServerObjects
from pipeline.data.sources.dicom.files import DirectoryObjects, FolderObjects
from pipeline.data.sources.dicom.labels import INSTANCE, Labels, read_labels
from pipeline.data.sources.dicom.objects import ObjectSource, Offered, UnreadableError
from pipeline.data.sources.dicom.staging import Staged, Staging
from pipeline.data.sources.folder.private import Private
from pipeline.data.sources.folder.records import Corners
from pipeline.data.sources.folder.source import FEW, check_places, slug
from pipeline.data.sources.folder.tables import read_boxes
from pipeline.errors import InputError
from pipeline.files import project_root
from pipeline.progress import track
from serving.imaging.dicom.deidentify.confidential import Identity, RefusedError, deidentify, identify
from serving.imaging.dicom.deidentify.pseudonyms import Key
from serving.imaging.dicom.deidentify.reviewed import ReviewedError, read_reviewed

ID_PREFIX = "d-"
_VIEWS = {
    "frontal": "AP PA",
    "lateral": "LL RL LAT LATERAL",
    "oblique": "OBL OBLIQUE RLO LLO LAO RAO LPO RPO",
    "axial": "AXIAL TANGENTIAL SKYLINE",
}
_VIEW_OF = {position: view for view, positions in _VIEWS.items() for position in positions.split()}


def fill(
    folder: Path,
    source: str,
    *,
    labels: Path,
    boxes: Path | None = None,
    normal: str | None = None,
    reviewed: Path | None = None,
    name: str | None = None,
    force: bool = False,
    scope: str = "",
    private_dir: Path | None = None,
) -> DatasetInfo:
    """Fill `folder` with the labelled radiographs (CR, DX) of `source`, and write who they are of to `private_dir`.

    `source` is a folder, a DICOMDIR, a ZIP archive or the http(s) address of a DICOMweb service. `labels` names objects
    or studies by UID; what has no label is left out. `reviewed` lists SOP Instance UIDs whose burned-in text identifies
    nobody; other images with text are left out, and so is what the model is not for by its header, unless `scope` is
    warn (by default as FRACTURE_SCOPE says). Pseudonyms follow from FRACTURE_DEIDENTIFICATION_KEY. An interrupted call
    goes on where it stopped. Raises InputError or SettingsError, before anything is replaced.
    """
    key = Key.from_environment()
    table = read_labels(labels)
    seen_by_person = _reviewed(reviewed)
    objects = _opened(source, table)
    private = Private(private_dir or project_root() / "private", slug(name or objects.name))
    if not _is_address(source):
        check_places(folder, Path(source), private.folder)
    acceptance = Acceptance.of(table.regions, scope)
    staging = Staging(private.folder / f"{private.name}-staged", f"{key.fingerprint} {acceptance.fingerprint}")
    private.prepare()
    if left := staging.open():
        print(f"going on: {left} image{'s are' if left > 1 else ' is'} de-identified already", file=sys.stderr)
    taken = _Intake(key, table, seen_by_person, acceptance, staging)
    for offered in track(objects, "de-identify", len(objects)):
        taken.take(offered)
    taken.part_mixed_studies()
    table.check_used(taken.instances, taken.studies)
    _announce(taken, objects.others + taken.others, private)
    chosen = sorted(taken.staged.values(), key=lambda one: one.image_id)
    rows = {one.image_id: table.of(one.sop_instance_uid, one.study_instance_uid) for one in chosen}
    given = {image_id: row.label for image_id, row in rows.items() if row}
    classes = table.classes(given.values(), normal)
    marks = _boxes(boxes, taken, staging) if boxes else {}
    cells = {
        one.image_id: _cells(one, key) | {name: cell for name, cell in row.cells.items() if cell}
        for one in chosen
        if (row := rows[one.image_id])
    }
    summary = [
        (one.image_id, one.digest, given[one.image_id], cells[one.image_id], marks.get(one.sop_instance_uid))
        for one in chosen
    ]
    info = DatasetInfo(
        name=private.name,
        version=hashlib.sha256(repr((classes, summary)).encode()).hexdigest()[:12],
        licence="not stated; private images",
        citation="",
        source="dicom",
        classes=classes,
    )
    with rebuild(folder, info, force) as building:
        for one in track(chosen, "write", len(chosen)):
            label = given[one.image_id]
            corners = [(*box, own or label) for box, own in marks.get(one.sop_instance_uid, [])]
            content = staging.path(one.image_id).read_bytes()
            building.add(one.image_id, ".dcm", content, label, boxes=corners, source="dicom", **cells[one.image_id])
        _write_names(private, chosen, key)
    staging.remove()
    return info


def _is_address(source: str) -> bool:
    return source.lower().startswith(("http://", "https://"))


def _opened(source: str, table: Labels) -> ObjectSource:
    if _is_address(source):
        return ServerObjects(source, table.studies_named)
    path = Path(source)
    if path.is_dir():
        return FolderObjects(path)
    if not path.is_file():
        raise InputError(f"{source}: not found; give a folder, a DICOMDIR, a ZIP archive or an http(s) address")
    with path.open("rb") as file:
        head = file.read(4)
    return ArchiveObjects(path) if head in {b"PK\3\4", b"PK\5\6"} else DirectoryObjects(path)


def _reviewed(path: Path | None) -> frozenset[str]:
    try:
        return read_reviewed(path) if path else frozenset()
    except ReviewedError as error:
        raise InputError(str(error)) from None


@dataclass
class _Intake:
    """Takes objects one by one; `staged` is by SOP Instance UID, the objects left out are by place in the source."""

    key: Key
    table: Labels
    reviewed: frozenset[str]
    acceptance: Acceptance
    staging: Staging
    staged: dict[str, Staged] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    beyond: dict[str, str] = field(default_factory=dict)
    """What the model is not for, and what it is."""
    with_text: dict[str, tuple[str, str]] = field(default_factory=dict)
    instances: set[str] = field(default_factory=set)
    studies: set[str] = field(default_factory=set)
    others: int = 0
    unlabelled: int = 0
    repeated: int = 0

    def take(self, offered: Offered) -> None:
        """De-identify an object and keep it, or note why not."""
        if offered.sop_instance_uid and self._is_done(offered):
            return
        try:
            content = offered.read()
            identity = identify(content)
            if self._has_label(identity.sop_instance_uid, identity.study_instance_uid):
                self._keep(offered.original, content, identity)
        except UnreadableError as error:
            self.refused[offered.original] = str(error)
        except RefusedError as error:
            if error.code == "not_a_radiograph":
                self._leave_out(offered.original, content)
            elif error.code == "burned_in":
                self.with_text[offered.original] = (identity.sop_instance_uid, error.message)
            else:
                self.refused[offered.original] = error.message

    def _leave_out(self, original: str, content: bytes) -> None:
        """Note what is no radiograph, or none that the model is for."""
        if reason := self.acceptance.out_of_scope(content):
            self.beyond[original] = reason
        else:
            self.others += 1

    def _is_done(self, offered: Offered) -> bool:
        """Whether an object of a server needs not be fetched: it has no label, or was de-identified before."""
        uid = offered.sop_instance_uid
        if not self._has_label(uid, offered.study_instance_uid):
            return True
        found = self.staging.find(self._image_id(uid))
        if found is None or (found.reviewed and uid not in self.reviewed):
            return False
        self.staged[uid] = found
        return True

    def _has_label(self, sop_instance_uid: str, study_instance_uid: str) -> bool:
        self.instances.add(sop_instance_uid)
        self.studies.add(study_instance_uid)
        if self.table.of(sop_instance_uid, study_instance_uid):
            return True
        self.unlabelled += 1
        return False

    def _image_id(self, sop_instance_uid: str) -> str:
        return ID_PREFIX + self.key.image(sop_instance_uid)

    def _keep(self, original: str, content: bytes, identity: Identity) -> None:
        uid, digest = identity.sop_instance_uid, hashlib.sha256(content).hexdigest()
        image_id, is_reviewed = self._image_id(uid), uid in self.reviewed
        first = self.staged.get(uid)
        found = first or self.staging.find(image_id)
        if found and found.digest == digest and (is_reviewed or not found.reviewed):
            self.repeated += first is not None
            self.staged[uid] = found
            return
        refusal = self.acceptance.refusal(content)
        if refusal and refusal.code == "out_of_scope":
            self._leave_out(original, content)
            return
        exported = deidentify(content, self.key, self.reviewed)
        if refusal:  # without its message, which may repeat a value of the header
            raise RefusedError(refusal.code, f"is none that the service takes ({refusal.code})")
        if first:
            self._compare(original, first, exported.content)
            return
        self.staged[uid] = Staged(
            original=original,
            patient_id=identity.patient_id,
            patient=self.key.patient(identity.patient),
            study_instance_uid=identity.study_instance_uid,
            sop_instance_uid=uid,
            image_id=image_id,
            digest=digest,
            region=exported.region,
            view=exported.view,
            reviewed=is_reviewed,
        )
        self.staging.add(self.staged[uid], exported.content)

    def _compare(self, original: str, first: Staged, content: bytes) -> None:
        """Take copies of an object once, and none of two objects that share a UID."""
        if content == self.staging.path(first.image_id).read_bytes():
            self.repeated += 1
            return
        for place in (original, first.original):
            self.refused[place] = "has the SOP Instance UID of another object with other content"

    def part_mixed_studies(self) -> None:
        """Refuse the images of studies that name several patients, and those whose UID is not theirs alone."""
        patients = defaultdict(set)
        for one in self.staged.values():
            patients[one.study_instance_uid].add(one.patient)
        for uid, one in list(self.staged.items()):
            if len(patients[one.study_instance_uid]) > 1:
                self.refused[one.original] = "belongs to a study that names several patients"
            if one.original in self.refused:
                del self.staged[uid]


def _announce(taken: _Intake, others: int, private: Private) -> None:
    """Say what is left out, by count; InputError where more files than a slip explains cannot be used."""
    for count, reason in (
        (others, "no radiographs (CR, or DX for presentation), so left out"),
        (taken.unlabelled, "without a label, so left out"),
        (taken.repeated, "there already, so taken once"),
    ):
        if count:
            print(f"{reason}: {count} object{'s' if count > 1 else ''}", file=sys.stderr)
    if taken.beyond:
        beyond = pd.DataFrame(sorted(taken.beyond.items()), columns=["file", "reason"])
        target = private.write(f"{private.name}-out-of-scope.csv", beyond)
        for reason, count in sorted(Counter(taken.beyond.values()).items()):
            print(f"out of scope ({reason}), so left out: {count} object{'s' if count > 1 else ''}", file=sys.stderr)
        print(f"{target} lists what is out of scope; FRACTURE_SCOPE=warn takes such radiographs", file=sys.stderr)
    if taken.with_text:
        rows = [(file, uid, reason) for file, (uid, reason) in sorted(taken.with_text.items())]
        target = private.write(f"{private.name}-review.csv", pd.DataFrame(rows, columns=["file", INSTANCE, "reason"]))
        print(
            f"with text in their pixels, so left out: {len(rows)} objects; look at those that {target} lists, and name "
            "in a file for --reviewed whose text identifies nobody",
            file=sys.stderr,
        )
    if not taken.refused:
        return
    target = private.write_refused(taken.refused)
    first = min(taken.refused.items())[1]
    count = len(taken.refused)
    if count > FEW * (len(taken.staged) + count):
        raise InputError(
            f"{count} object{'s' if count > 1 else ''} cannot be used (the first {first}); {target} lists them: mend "
            "them, or take them out of the source"
        )
    print(f"cannot be used, so left out: {count} objects (the first {first}); {target} lists them", file=sys.stderr)


def _cells(one: Staged, key: Key) -> dict[str, str]:
    return {
        "patient_id": one.patient,
        "study_id": key.study(one.study_instance_uid),
        "region": one.region,
        "view": _VIEW_OF.get(one.view, one.view.lower()),
    }


def _boxes(path: Path, taken: _Intake, staging: Staging) -> dict[str, list[tuple[Corners, str]]]:
    """Boxes by SOP Instance UID; rows of radiographs that are left out are skipped."""
    images = {uid: staging.path(one.image_id) for uid, one in taken.staged.items()}
    left_out = taken.instances - images.keys()
    return read_boxes(path, images | dict.fromkeys(left_out, Path()), INSTANCE, left_out)


def _write_names(private: Private, staged: Iterable[Staged], key: Key) -> None:
    """Write the table that leads back to the originals; rows of images that left the data set are kept."""
    columns = ["image_id", "original", INSTANCE, "patient_id", "original_patient_id", "study_id", "original_study_id"]
    rows = [
        (
            one.image_id,
            one.original,
            one.sop_instance_uid,
            one.patient,
            one.patient_id,
            key.study(one.study_instance_uid),
            one.study_instance_uid,
        )
        for one in staged
    ]
    table = pd.DataFrame(rows, columns=columns)
    if private.names.is_file():
        known = read_table(private.names, ())
        known = known.reindex(columns=columns, fill_value="")
        table = pd.concat([known[~known["image_id"].isin(table["image_id"])], table])
    private.write(private.names.name, table.sort_values("image_id", kind="stable"))
    (private.folder / private.refused).unlink(missing_ok=True)
