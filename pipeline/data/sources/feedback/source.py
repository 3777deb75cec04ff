"""Add confirmed images to data/ and to held_back/, each as a new version."""

import hashlib
import re
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd

from pipeline.data import layout
from pipeline.data.layout import Building, Dataset, DatasetInfo
from pipeline.data.sources.feedback import placing
from pipeline.data.sources.feedback.confirmed import Confirmed, ConfirmedImage, Conflict
from pipeline.data.sources.feedback.pictures import Pictures
from pipeline.data.sources.feedback.placing import Place
from pipeline.data.split import GivenTestSet
from pipeline.data.validation.tables import image_table
from pipeline.errors import InputError

_ROUND = re.compile(r"\+feedback\.([0-9]+)$")
_OPTION = "feedback"
SOURCE = "feedback"
"""In the column `source` of confirmed images."""


@dataclass(frozen=True)
class Outcome:
    """What became of the confirmed images of a store."""

    placed: Mapping[str, Place]
    sites: Mapping[str, str]
    labels: Mapping[str, str]
    conflicts: Sequence[Conflict]
    undecided: int
    known: int = 0
    """In data/ or held_back/ already, with the same label."""
    without_picture: int = 0
    refused: Mapping[str, str] = field(default_factory=dict)
    """By image_id, why a file cannot be used."""
    relabelled: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    """By image_id, the label before and now of an image that was added earlier."""

    def ids(self, place: Place) -> list[str]:
        """The new images that went to a place."""
        return [image_id for image_id, chosen in self.placed.items() if chosen == place]

    @property
    def changes(self) -> bool:
        """Whether there is anything to write."""
        return bool(self.ids(Place.training) or self.ids(Place.held_back) or self.relabelled)


@dataclass(frozen=True)
class _New:
    """A confirmed image that no data set holds yet, and its file, without identifying metadata."""

    image: ConfirmedImage
    path: Path


@dataclass(frozen=True)
class Target:
    """The two data sets that grow, and what decides who goes where."""

    data: Path
    held_back: Path
    test_set: GivenTestSet
    key: str
    correlation: float
    """Of thumbnails that are one picture (`validate.near_duplicate_correlation`)."""

    @property
    def fingerprint(self) -> str:
        """Tells one key from another, and nothing of it."""
        return hashlib.sha256(f"key of held-back images\0{self.key}".encode()).hexdigest()[:16]


def add(target: Target, confirmed: Confirmed, pictures: Pictures) -> Outcome:
    """Write the confirmed images that are new, and labels that changed, into both data sets; what became of each.

    Images of data/ and held_back/ stay as they are, in the same rows. InputError for another key than that of earlier
    rounds, and for files that data/ does not list or lacks.
    """
    with tempfile.TemporaryDirectory(prefix="fracture-feedback-") as name:
        return _add(target, confirmed, pictures, Path(name))


def _add(target: Target, confirmed: Confirmed, pictures: Pictures, scratch: Path) -> Outcome:
    data = layout.read(target.data)
    held = layout.read(target.held_back) if (target.held_back / "dataset.json").is_file() else None
    _check(target, data, held)
    there = pd.concat([data.labels, held.labels]) if held is not None else data.labels
    label_of = dict(zip(there["image_id"], there["label"], strict=True))
    (scratch / "images").mkdir()
    new: dict[str, _New] = {}
    refused: dict[str, str] = {}
    relabelled: dict[str, tuple[str, str]] = {}
    known = missing = 0
    for image in confirmed.images:
        image_id = image.first.answer_id
        present = next((row.answer_id for row in image.answers if row.answer_id in label_of), None)
        if present is not None:
            known += 1
            # The test set stays what models were judged by.
            if label_of[present] != image.label and present not in target.test_set.image_ids:
                relabelled[present] = label_of[present], image.label
            continue
        try:
            picture = pictures.of(image)
        except InputError as error:
            refused[image_id] = str(error)
            continue
        if picture is None:
            missing += 1
        else:
            path = scratch / "images" / f"{image_id}{picture.suffix}"
            path.write_bytes(picture.content)
            new[image_id] = _New(image, path)
    outcome = Outcome(
        placed=_placed(target, data, held, new, scratch),
        sites={image_id: one.image.first.site for image_id, one in new.items()},
        labels={image_id: one.image.label for image_id, one in new.items()},
        conflicts=confirmed.conflicts,
        undecided=confirmed.undecided,
        known=known - len(relabelled),
        without_picture=missing,
        refused=refused,
        relabelled=relabelled,
    )
    if outcome.changes:
        _write(target, data, held, new, outcome)
    return outcome


def _check(target: Target, data: Dataset, held: Dataset | None) -> None:
    tracked = target.held_back.with_name(f"{target.held_back.name}.dvc")
    if held is None and tracked.is_file():
        raise InputError(f"{target.held_back}: not found, but {tracked.name} tracks it; run `dvc pull {tracked.name}`")
    for known in (data, held):
        option = known.info.options.get(_OPTION) if known else None
        if option and option.get("key") != target.fingerprint:
            raise InputError(
                f"{known.folder if known else ''}: was begun with another FRACTURE_HOLD_BACK_KEY; set the one from "
                "then, else images that judge would be trained on"
            )
    for known in filter(None, (data, held)):
        listed = {known.folder / file for file in known.labels["file"]}
        present = set(known.image_files())
        strange, lacking = sorted(present - listed), sorted(listed - present)
        if strange:
            raise InputError(f"{strange[0]}: is not in labels.csv; remove it or add its row")
        if lacking:
            raise InputError(f"{lacking[0]}: not found, but labels.csv names it; run `dvc checkout`")


def _placed(
    target: Target, data: Dataset, held: Dataset | None, new: Mapping[str, _New], scratch: Path
) -> dict[str, Place]:
    """Place of each new image, by the groups of all images together."""
    if not new:
        return {}
    known = dict.fromkeys(data.labels["image_id"], Place.training)
    known |= {one: Place.test for one in target.test_set.image_ids if one in known}
    known |= dict.fromkeys(held.labels["image_id"] if held else (), Place.held_back)
    table = image_table(_together(scratch, data, held, new), target.correlation)
    groups = dict(zip(table["image_id"], table["group"], strict=True))
    drawn = {one: placing.is_held_back(target.key, *added.image.unit) for one, added in new.items()}
    return placing.place(groups, known, drawn)


def _together(folder: Path, data: Dataset, held: Dataset | None, new: Mapping[str, _New]) -> Dataset:
    """All images in one data set, for as long as it takes to group them; the new ones lie in `folder` already."""
    parts = []
    for known in filter(None, (data, held)):
        labels = known.labels.copy()
        files = [f"images/{one}{Path(file).suffix}" for one, file in labels[["image_id", "file"]].to_numpy().tolist()]
        for old, file in zip(labels["file"], files, strict=True):
            (folder / file).symlink_to((known.folder / old).resolve())
        parts.append(labels.assign(file=files))
    rows = [
        {"image_id": one, "file": f"images/{added.path.name}", "label": added.image.label, **_columns(added.image)}
        for one, added in new.items()
    ]
    labels = pd.concat([*parts, pd.DataFrame(rows)]).fillna("").reset_index(drop=True)
    return Dataset(folder, data.info, labels, pd.DataFrame(columns=list(layout.BOX_COLUMNS)))


def _columns(image: ConfirmedImage) -> dict[str, str]:
    """Cells of labels.csv."""
    row = image.first
    return {
        "patient_id": row.patient or "",
        "study_id": row.study or "",
        "region": (row.region or "") if row.region_source in {"caller", "header"} else "",
        "source": SOURCE,
        "site": row.site,
        "provenance": image.provenance,
    }


def _write(
    target: Target,
    data: Dataset,
    held: Dataset | None,
    new: Mapping[str, _New],
    outcome: Outcome,
) -> None:
    """The new versions. held_back/ comes first: what judges is never trained on, whenever this is killed."""
    number = 1 + max(_round(data.info), _round(held.info) if held else 0)
    judging, training = outcome.ids(Place.held_back), outcome.ids(Place.training)
    changed = {image_id: label for image_id, (_, label) in outcome.relabelled.items()}
    begun = held.info if held else replace(data.info, name=f"{data.info.name}-held-back", version="1")
    for folder, old, info, ids in (
        (target.held_back, held, begun, judging),
        (target.data, data, data.info, training),
    ):
        touched = old is not None and any(one in changed for one in old.labels["image_id"])
        if not ids and not touched:
            continue
        with layout.rebuild(folder, _next(info, number, target.fingerprint), force=True) as building:
            if old is not None:
                _copy(building, old, changed)
            for image_id in ids:
                image, path = new[image_id].image, new[image_id].path
                boxes = [(*corners, image.label) for corners in image.boxes]
                content = path.read_bytes()
                building.add(image_id, path.suffix, content, image.label, boxes=boxes, **_columns(image))


def _copy(building: Building, old: Dataset, changed: Mapping[str, str]) -> None:
    """The images of a data set as they are, but for labels that changed; these lose boxes of another class."""
    boxes: dict[str, list[dict[str, Any]]] = {}
    for box in old.boxes.to_dict("records"):
        boxes.setdefault(str(box["image_id"]), []).append({str(key): value for key, value in box.items()})
    for row in old.labels.to_dict("records"):
        cells = {str(key): str(value) for key, value in row.items()}
        image_id, file, label = (cells.pop(name) for name in ("image_id", "file", "label"))
        drawn = boxes.get(image_id, []) if image_id not in changed else []
        building.add(
            image_id,
            Path(file).suffix,
            (old.folder / file).read_bytes(),
            changed.get(image_id, label),
            boxes=[(box["x0"], box["y0"], box["x1"], box["y1"], box["label"]) for box in drawn],
            polygons=[box["polygon"] for box in drawn],
            **cells,
        )


def _round(info: DatasetInfo) -> int:
    found = _ROUND.search(info.version)
    return int(found[1]) if found else 0


def _next(info: DatasetInfo, number: int, fingerprint: str) -> DatasetInfo:
    version = f"{_ROUND.sub('', info.version)}+feedback.{number}"
    return replace(info, version=version, options={**info.options, _OPTION: {"key": fingerprint}})


def summary(outcome: Outcome) -> Iterable[str]:
    """What became of the images, a line each."""
    yield (
        f"added: {len(outcome.ids(Place.training))} to data/, {len(outcome.ids(Place.held_back))} to held_back/, "
        f"relabelled {len(outcome.relabelled)}, known before {outcome.known}"
    )
    for site, counts in placing.counted(outcome.placed, outcome.sites):
        told = ", ".join(f"{count} {place}" for place, count in sorted(counts.items()))
        yield f"site {site or '(none)'}: {told}"
    yield (
        f"left out: {len(outcome.ids(Place.relative_of_test))} related to the test set, "
        f"{len(outcome.ids(Place.both_sides))} related to both sides, {outcome.without_picture} without a picture, "
        f"{len(outcome.refused)} unusable, {outcome.undecided} without a truth"
    )
    yield f"readers contradict each other on {len(outcome.conflicts)} images"


def markdown(outcome: Outcome) -> str:
    """The whole list, for a person: conflicts, changed labels, unusable files, and every image's place."""
    lines = ["# Confirmed images", "", *(f"- {line}" for line in summary(outcome)), ""]
    tables: Sequence[tuple[str, Sequence[str], Iterable[Sequence[str]]]] = (
        (
            "Readers contradict each other",
            ("answer", "site", "who says what"),
            [(one.answer_id, one.site, ", ".join(": ".join(vote) for vote in one.votes)) for one in outcome.conflicts],
        ),
        ("Relabelled", ("image", "before", "now"), [(one, *both) for one, both in outcome.relabelled.items()]),
        ("Unusable", ("image", "why"), list(outcome.refused.items())),
        (
            "New",
            ("image", "site", "label", "place"),
            [(one, outcome.sites[one], outcome.labels[one], str(place)) for one, place in outcome.placed.items()],
        ),
    )
    for title, head, rows in tables:
        found = [_row(cells) for cells in rows]
        if found:
            lines += [f"## {title}", "", _row(head), _row(["---"] * len(head)), *found, ""]
    return "\n".join(lines)


def _row(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
