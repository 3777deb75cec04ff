"""FracAtlas: 4,083 radiographs of hands, legs, hips and shoulders, labelled, boxed and outlined (CC BY 4.0).

Abedeen et al., Scientific Data 10:521 (2023), doi 10.1038/s41597-023-02432-4; archive: figshare article 22363012.
"""

import csv
import errno
import io
import json
import re
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import Any

from pipeline.data.cells import join
from pipeline.data.layout import DatasetInfo, rebuild
from pipeline.data.sources.download import fetch, listing
from pipeline.errors import InputError
from pipeline.files import home_root, sha256_file
from pipeline.progress import track

ARTICLE = "https://api.figshare.com/v2/articles/22363012"
CITATION = (
    'Abedeen, I. et al. "FracAtlas: A Dataset for Fracture Classification, Localization and Segmentation of '
    'Musculoskeletal Radiographs", Scientific Data 10:521 (2023), doi 10.1038/s41597-023-02432-4; '
    "data doi 10.6084/m9.figshare.22363012"
)
NORMAL, FRACTURED = CLASSES = ("normal", "fractured")
REGIONS = ("hand", "leg", "hip", "shoulder")
VIEWS = ("frontal", "lateral", "oblique")
COCO = "Annotations/COCO JSON/COCO_fracture_masks.json"
FLAGS = (*REGIONS, *VIEWS, "hardware", "multiscan", "fractured")

MAX_MEMBER_BYTES = 256 << 20
MAX_ARCHIVE_BYTES = 8 << 30
SAME_BOX = 0.02
"""A polygon belongs to the box none of whose corners is further than this from its own, as fractions."""

_DAMAGED = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    IndexError,
    NotImplementedError,
    OverflowError,
    RuntimeError,
    ValueError,
)
"""What zipfile raises for damaged archives, besides OSError EINVAL for a position before the file's start."""

_IMAGE_FILE = re.compile(r"([A-Za-z0-9][A-Za-z0-9_-]{0,127})(\.jpe?g|\.png)", re.IGNORECASE)

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Radiograph:
    """One row of dataset.csv with what the annotation files say; boxes are fractions of the upright image."""

    image_id: str
    suffix: str
    member: str
    cells: Mapping[str, str]
    boxes: tuple[Box, ...]
    polygons: tuple[str, ...]

    def label(self) -> tuple[str, str]:
        """The class, and a note where the archive contradicts itself.

        Four places say whether a radiograph is fractured: the flag, the count, the boxes and the folder. The
        majority decides; a tie counts as fractured, the error that costs less.
        """
        in_folder = "/fractured/" in f"/{self.member}".lower()
        said = {
            f"fractured={self.cells['fractured']}": self.cells["fractured"] == "1",
            f"fracture_count={self.cells['fracture_count']}": int(self.cells["fracture_count"]) > 0,
            f"{len(self.boxes)} box{'' if len(self.boxes) == 1 else 'es'}": bool(self.boxes),
            f"folder {PurePosixPath(self.member).parent.name}": in_folder,
        }
        label = FRACTURED if sum(said.values()) >= 2 else NORMAL
        agrees = len(set(said.values())) == 1
        return label, "" if agrees else f"conflict: {', '.join(said)}; taken as {label}"


class Archive:
    """The published zip, read member by member; nothing is unpacked to disk.

    Every name and size is checked on entry, and every way a member can be damaged becomes an InputError.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._zip = zipfile.ZipFile(path)
        except FileNotFoundError:
            raise InputError(f"{path}: not found; give the archive's path or leave --archive out") from None
        except IsADirectoryError:
            raise InputError(f"{path}: is a folder; give the zip file itself") from None
        except (*_DAMAGED, OSError) as error:
            if isinstance(error, OSError) and error.errno != errno.EINVAL:
                raise
            raise InputError(f"{path}: is no complete zip archive (cut short?); download it again") from None

    def __enter__(self) -> "Archive":
        try:
            self._members = _checked_members(self.path, self._zip.infolist())
            self._top = _top_folder(self.path, self._members)
        except InputError:
            self._zip.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._zip.close()

    def names(self, under: str) -> list[str]:
        """The members below a folder, both relative to the folder of dataset.csv, sorted."""
        prefix = f"{self._top}{under}"
        return sorted(name.removeprefix(self._top) for name in self._members if name.startswith(prefix))

    def has(self, name: str) -> bool:
        """Whether the archive holds a member."""
        return f"{self._top}{name}" in self._members

    def read(self, name: str) -> bytes:
        """The bytes of one member, its checksum verified; `name` is as `names` gives it.

        Raises InputError if the member is missing or damaged.
        """
        if not self.has(name):
            raise InputError(f"{self.path}: {self._top}{name} is missing; download the archive again")
        try:
            return self._zip.read(self._members[f"{self._top}{name}"])
        except (*_DAMAGED, OSError) as error:
            if isinstance(error, OSError) and error.errno != errno.EINVAL:
                raise
            raise InputError(f"{self.path}: {self._top}{name} is damaged; download the archive again") from None

    def text(self, name: str) -> str:
        """A member as text: UTF-8, a byte-order mark allowed."""
        try:
            return self.read(name).decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise InputError(f"{self.path}: {self._top}{name} is not UTF-8 (byte {error.start})") from None


def fill(
    folder: Path,
    archive: Path | None = None,
    url: str | None = None,
    force: bool = False,
    downloads: Path | None = None,
) -> DatasetInfo:
    """Fill `folder` from the published archive, downloaded when no `archive` is given.

    `url` is the address of the article's listing, by default figshare's; `downloads` is where archives are
    kept, by default `.cache/downloads` of the checkout. Images are written byte for byte. Raises InputError
    for an archive that is damaged, unsafe or contradicts its own table, before `folder` is touched.
    """
    if archive is not None and url is not None:
        raise InputError("--archive and --url exclude each other; give one of them")
    path = archive or download(url or ARTICLE, downloads or home_root() / ".cache" / "downloads")
    with Archive(path) as opened:
        radiographs = read_radiographs(opened)
        info = DatasetInfo(
            name="FracAtlas",
            version="2023",
            licence="CC BY 4.0",
            citation=CITATION,
            source="https://doi.org/10.6084/m9.figshare.22363012",
            classes=CLASSES,
            options={"archive_sha256": sha256_file(path), "images": len(radiographs)},
        )
        with rebuild(folder, info, force) as building:
            for radiograph in track(radiographs, "FracAtlas"):
                label, note = radiograph.label()
                building.add(
                    radiograph.image_id,
                    radiograph.suffix,
                    opened.read(radiograph.member),
                    label,
                    boxes=[(*box, FRACTURED) for box in radiograph.boxes],
                    polygons=radiograph.polygons,
                    region=_joined(radiograph.cells, REGIONS),
                    view=_joined(radiograph.cells, VIEWS),
                    hardware=radiograph.cells["hardware"],
                    source="fracatlas",
                    multiscan=radiograph.cells["multiscan"],
                    fracture_count=radiograph.cells["fracture_count"],
                    note=note,
                )
    return info


def download(url: str, folder: Path) -> Path:
    """The published archive in `folder`: fetched, or kept from before and checked against the listing."""
    archives = [entry for entry in listing(url) if entry.name.lower().endswith(".zip")]
    if not archives:
        raise InputError(f"{url}: lists no zip archive; check the address given with --url")
    entry = max(archives, key=lambda candidate: candidate.size)
    return fetch(entry.url, folder / entry.name, entry.size, entry.md5)


def read_radiographs(archive: Archive) -> list[Radiograph]:
    """Everything the archive says about its images, in the order of dataset.csv.

    Boxes and polygons refer to the upright picture (EXIF orientation applied): the sizes of the VOC and COCO
    files are the turned ones for orientations 6 and 8, and for 3 the boxes lie on the bones only when turned.
    """
    images = _images(archive)
    polygons = read_polygons(f"{archive.path}: {COCO}", archive.text(COCO))
    radiographs = []
    for row, cells in _rows(archive):
        name = cells["image_id"]
        found = _IMAGE_FILE.fullmatch(name)
        if found is None or name not in images:
            raise InputError(
                f"{archive.path}: dataset.csv row {row}: image {name!r} is not in images/; download the archive again"
            )
        member = images.pop(name)
        boxes = _boxes(archive, found[1], member)
        outlines = match_polygons(boxes, polygons.get(name, []))
        radiographs.append(Radiograph(found[1], found[2].lower(), member, cells, boxes, outlines))
    if images:
        raise InputError(
            f"{archive.path}: {len(images)} images have no row in dataset.csv, the first is "
            f"{min(images.values())}; download the archive again"
        )
    return radiographs


def _checked_members(path: Path, infos: Iterable[zipfile.ZipInfo]) -> dict[str, zipfile.ZipInfo]:
    members: dict[str, zipfile.ZipInfo] = {}
    total = 0
    for info in infos:
        name = info.filename
        if not name or name.startswith("/") or "\\" in name or ":" in name or ".." in name.split("/"):
            raise InputError(f"{path}: member {name!r} points out of the archive; do not use this file")
        if stat.S_ISLNK(info.external_attr >> 16):
            raise InputError(f"{path}: member {name!r} is a symbolic link; do not use this file")
        if info.flag_bits & 0x1:
            raise InputError(f"{path}: member {name!r} is encrypted; use the published archive")
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise InputError(f"{path}: member {name!r} is packed in an unusual way; use the published archive")
        total += info.file_size
        if info.file_size > MAX_MEMBER_BYTES or total > MAX_ARCHIVE_BYTES:
            raise InputError(f"{path}: member {name!r} would unpack to an absurd size; do not use this file")
        if info.is_dir() or name.startswith("__MACOSX/"):
            continue
        if name in members:
            raise InputError(f"{path}: member {name!r} stands in it twice; use the published archive")
        members[name] = info
    return members


def _top_folder(path: Path, members: Iterable[str]) -> str:
    tables = [name for name in members if PurePosixPath(name).name == "dataset.csv"]
    if not tables:
        raise InputError(f"{path}: holds no dataset.csv; is this the FracAtlas archive?")
    return min(tables, key=lambda name: (name.count("/"), name)).removesuffix("dataset.csv")


def _images(archive: Archive) -> dict[str, str]:
    """File name -> member of every image; a name in two folders is refused."""
    images: dict[str, str] = {}
    for member in archive.names("images/"):
        name = PurePosixPath(member).name
        if not _IMAGE_FILE.fullmatch(name):
            continue
        if name in images:
            raise InputError(f"{archive.path}: {name} lies in two folders, {images[name]} and {member}; keep one")
        images[name] = member
    return images


def _rows(archive: Archive) -> list[tuple[int, dict[str, str]]]:
    """The rows of dataset.csv with their line numbers; every flag is 0 or 1 and every id stands once."""
    place = f"{archive.path}: dataset.csv"
    table = csv.DictReader(io.StringIO(archive.text("dataset.csv")))
    needed = ("image_id", *FLAGS, "fracture_count")
    missing = [column for column in needed if column not in (table.fieldnames or ())]
    if missing:
        raise InputError(f"{place}: column {', '.join(missing)} is missing; download the archive again")
    rows: list[tuple[int, dict[str, str]]] = []
    seen: dict[str, int] = {}
    for row, raw in enumerate(table, start=2):
        cells = {column: (raw[column] or "").strip() for column in needed}
        for column in FLAGS:
            if cells[column] not in ("0", "1"):
                raise InputError(f"{place} row {row}: {column} is {cells[column]!r}; it must be 0 or 1")
        if not re.fullmatch(r"\d{1,4}", cells["fracture_count"]):
            raise InputError(f"{place} row {row}: fracture_count is {cells['fracture_count']!r}, not a whole number")
        if cells["image_id"] in seen:
            earlier = seen[cells["image_id"]]
            raise InputError(
                f"{place} row {row}: image {cells['image_id']!r} stands in row {earlier} already; keep one"
            )
        seen[cells["image_id"]] = row
        rows.append((row, cells))
    if not rows:
        raise InputError(f"{place}: has no rows; download the archive again")
    return rows


def _boxes(archive: Archive, image_id: str, member: str) -> tuple[Box, ...]:
    """The YOLO boxes of one image; only a normal image may lack its file, which would be empty anyway."""
    name = f"Annotations/YOLO/{image_id}.txt"
    if not archive.has(name) and "/fractured/" not in f"/{member}".lower():
        return ()
    return read_yolo(f"{archive.path}: {name}", archive.text(name))


def read_yolo(place: str, text: str) -> tuple[Box, ...]:
    """Boxes (x0, y0, x1, y1) in [0, 1] from lines `class x y width height`, centre and size as fractions.

    Raises InputError naming `place` and line for anything else, and for a box wholly outside the image.
    """
    boxes = []
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            _, x, y, width, height = map(float, line.split())
        except ValueError:
            raise InputError(f"{place} line {number}: is not `class x y width height`") from None
        corners = [x - width / 2, y - height / 2, x + width / 2, y + height / 2]
        x0, y0, x1, y1 = (min(max(value, 0.0), 1.0) for value in corners)
        if not (x0 < x1 and y0 < y1):
            raise InputError(f"{place} line {number}: the box has no area inside the image")
        boxes.append((x0, y0, x1, y1))
    return tuple(boxes)


def read_polygons(place: str, text: str) -> dict[str, list[list[float]]]:
    """File name -> outlines, each x, y, x, y, ... as fractions in [0, 1], from a COCO file in pixels.

    The file's own widths and heights are divided by, not those of the image at hand: a copy may have been
    scaled down. Raises InputError naming `place` when it is no such file.
    """
    try:
        coco = json.loads(text)
        images = {image["id"]: image for image in coco["images"]}
        outlines: dict[str, list[list[float]]] = {}
        for annotation in coco["annotations"]:
            image = images[annotation["image_id"]]
            longest = max(annotation["segmentation"], key=len)
            outlines.setdefault(str(image["file_name"]), []).append(_fractions(longest, image))
    except (ValueError, KeyError, TypeError, ZeroDivisionError, RecursionError) as error:
        raise InputError(f"{place}: is not a COCO annotation file ({error!r}); download the archive again") from None
    return outlines


def _fractions(points: list[Any], image: Mapping[str, Any]) -> list[float]:
    sides = (float(image["width"]), float(image["height"]))
    return [min(max(float(value) / sides[i % 2], 0.0), 1.0) for i, value in enumerate(points)]


def match_polygons(boxes: Iterable[Box], outlines: Iterable[list[float]]) -> tuple[str, ...]:
    """For each box the outline that fills it, as `x y;x y;...`, or an empty text where none does."""
    left = list(outlines)
    matched = []
    for box in boxes:
        distances = [_distance(box, outline) for outline in left]
        nearest = min(range(len(left)), key=distances.__getitem__, default=-1)
        if nearest < 0 or distances[nearest] > SAME_BOX:
            matched.append("")
            continue
        outline = left.pop(nearest)
        points = zip(outline[0::2], outline[1::2], strict=False)
        matched.append(join(f"{x:.5f} {y:.5f}" for x, y in points))
    return tuple(matched)


def _distance(box: Box, outline: list[float]) -> float:
    """Largest difference between the corners of a box and of an outline's own box, as a fraction."""
    xs, ys = outline[0::2], outline[1::2]
    if len(xs) < 3 or len(xs) != len(ys):
        return float("inf")
    own = (min(xs), min(ys), max(xs), max(ys))
    return max(abs(a - b) for a, b in zip(box, own, strict=True))


def _joined(cells: Mapping[str, str], columns: Iterable[str]) -> str:
    return join(column for column in columns if cells[column] == "1")
