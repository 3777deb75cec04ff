"""Croissant metadata of a data set: what search engines and data loaders of others read (mlcommons.org/croissant/1.0).

Written by us rather than by a library: it is one JSON document, and `mlcroissant`, which the tests validate it with,
would bring twenty packages into the environment of every user.
"""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.data.layout import BOX_COLUMNS, Dataset
from pipeline.files import sha256_file

CONFORMS_TO = "http://mlcommons.org/croissant/1.0"
_TERMS = (
    "citeAs",
    "column",
    "equivalentProperty",
    "extract",
    "field",
    "fileProperty",
    "fileObject",
    "fileSet",
    "format",
    "includes",
    "isLiveDataset",
    "jsonPath",
    "key",
    "md5",
    "parentField",
    "path",
    "recordSet",
    "references",
    "regex",
    "repeated",
    "replace",
    "samplingRate",
    "separator",
    "source",
    "subField",
    "transform",
)
_CONTEXT = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "sc": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "dct": "http://purl.org/dc/terms/",
    "conformsTo": "dct:conformsTo",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "examples": {"@id": "cr:examples", "@type": "@json"},
    **{term: f"cr:{term}" for term in _TERMS},
}
"""The JSON-LD context that the specification gives (Appendix 1)."""
_LICENCES = {
    "CC BY 4.0": "https://creativecommons.org/licenses/by/4.0/",
    "CC0-1.0": "https://creativecommons.org/publicdomain/zero/1.0/",
}
_MEDIA_TYPES = {
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".png": "image/png",
    ".bmp": "image/bmp",
    ".tif": "image/tiff",
    ".tiff": "image/tiff",
    ".webp": "image/webp",
    ".dcm": "application/dicom",
}
_CORNERS = BOX_COLUMNS[1:5]


@dataclass(frozen=True)
class Publication:
    """What dataset.json does not hold and Croissant asks of published data; empty where unknown."""

    url: str = ""
    """Of the data set's page; by default the source of dataset.json where that is an address."""
    published: str = ""
    """Date, as YYYY-MM-DD or YYYY."""
    creator: str = ""


def describe(data: Dataset, base: Path, publication: Publication | None = None) -> dict[str, Any]:
    """The metadata of a data set as JSON-LD; paths in it are relative to `base`, where the file is to lie.

    Record sets: `classes`; `radiographs`, the rows of labels.csv with their pictures; `boxes`, the rows of boxes.csv.
    """
    given, info = publication or Publication(), data.info
    known = {
        "url": given.url or (info.source if info.source.startswith(("https://", "http://")) else ""),
        "datePublished": given.published,
        "creator": {"@type": "sc:Organization", "name": given.creator} if given.creator else "",
        "citeAs": info.citation,
    }
    return {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": CONFORMS_TO,
        "name": info.name,
        "description": f"{len(data.labels)} radiographs, each with one of the classes {', '.join(info.classes)}; "
        f"{len(data.boxes)} boxes around findings.",
        "version": info.version,
        "license": _LICENCES.get(info.licence, info.licence),
        **{key: value for key, value in known.items() if value},
        "distribution": [
            _table(data.folder / "labels.csv", base),
            _table(data.folder / "boxes.csv", base),
            _pictures(data, base),
        ],
        "recordSet": [_classes(info.classes), _radiographs(data.labels.columns), _boxes()],
    }


def _table(path: Path, base: Path) -> dict[str, Any]:
    return {
        "@type": "cr:FileObject",
        "@id": path.name,
        "name": path.name,
        "contentUrl": _relative(path, base),
        "contentSize": f"{path.stat().st_size} B",
        "encodingFormat": "text/csv",
        "sha256": sha256_file(path),
    }


def _pictures(data: Dataset, base: Path) -> dict[str, Any]:
    suffixes = sorted({Path(file).suffix for file in data.labels["file"]})
    return {
        "@type": "cr:FileSet",
        "@id": "images",
        "name": "images",
        "description": "The files of labels.csv.",
        "encodingFormat": sorted({_MEDIA_TYPES[suffix.lower()] for suffix in suffixes}),
        "includes": [f"{_relative(data.folder / 'images', base)}/*{suffix}" for suffix in suffixes],
    }


def _relative(path: Path, base: Path) -> str:
    return Path(os.path.relpath(path.resolve(), base.resolve())).as_posix()


def _classes(names: Iterable[str]) -> dict[str, Any]:
    """The classes in order, the normal one first."""
    return {
        "@type": "cr:RecordSet",
        "@id": "classes",
        "name": "classes",
        "dataType": "sc:Enumeration",
        "key": {"@id": "classes/name"},
        "field": [_field("classes", "name", "sc:Text", "The class.")],
        "data": [{"classes/name": name} for name in names],
    }


def _radiographs(columns: Iterable[str]) -> dict[str, Any]:
    """The rows of labels.csv, each with its picture: joined by the path below data/, which ends that of the file."""
    fields = []
    for column in columns:
        field = _field("radiographs", column, "sc:Text", _COLUMNS.get(column, "As the source gives it."))
        field["source"] = _column("labels.csv", column)
        if column == "file":
            field["source"] = {
                "fileSet": {"@id": "images"},
                "extract": {"fileProperty": "fullpath"},
                "transform": {"regex": ".*(images/[^/]+)$"},
            }
            field["references"] = _column("labels.csv", column)
        fields.append(field)
    picture = _field("radiographs", "picture", "sc:ImageObject", "The picture as the source has it.")
    picture["source"] = {"fileSet": {"@id": "images"}, "extract": {"fileProperty": "content"}}
    key = {"@id": "radiographs/image_id"}
    return {
        "@type": "cr:RecordSet",
        "@id": "radiographs",
        "name": "radiographs",
        "key": key,
        "field": [*fields, picture],
    }


_COLUMNS = {
    "image_id": "Identifies the image.",
    "file": "Path of its file below the data set's folder.",
    "label": "Its class, one of the record set `classes`.",
    "patient_id": "Whose image it is, by a neutral number; empty where the source does not say.",
    "region": "Part of the body; several are joined by `;`.",
    "view": "Projection; several are joined by `;`.",
    "hardware": "1 where metal is implanted, 0 where not, empty where unknown.",
    "source": "Where the image comes from.",
}


def _boxes() -> dict[str, Any]:
    fields = []
    for column in BOX_COLUMNS:
        kind, text = "sc:Text", _BOX_COLUMNS.get(column, "")
        if column in _CORNERS:
            kind, text = "sc:Float", "Corner of the box, as a fraction of the upright image."
        field = _field("boxes", column, kind, text)
        field["source"] = _column("boxes.csv", column)
        if column == "image_id":
            field["references"] = _column("labels.csv", column)
        fields.append(field)
    return {"@type": "cr:RecordSet", "@id": "boxes", "name": "boxes", "field": fields}


_BOX_COLUMNS = {
    "image_id": "The image that the box lies in.",
    "label": "What it surrounds.",
    "polygon": "Outline as `x y;x y;...` in the same fractions; may be empty.",
}


def _field(record_set: str, name: str, kind: str, description: str) -> dict[str, Any]:
    identity = f"{record_set}/{name}"
    return {"@type": "cr:Field", "@id": identity, "name": name, "description": description, "dataType": kind}


def _column(file: str, name: str) -> dict[str, Any]:
    return {"fileObject": {"@id": file}, "extract": {"column": name}}
