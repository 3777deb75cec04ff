"""A data set with every kind of fault, and what is asked of its verdict."""

import shutil
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.data import layout
from pipeline.data.layout import Dataset
from pipeline.data.validation.verdict import Verdict
from pipeline.params import Offenders, ValidateParams

MakeData = Callable[..., Dataset]
Draw = Callable[..., npt.NDArray[np.uint8]]
Encode = Callable[..., bytes]


OFFENDERS = {
    "missing_file": ["missing"],
    "empty_file": ["empty", "void"],
    "undecodable": ["broken"],
    "too_many_pixels": ["huge"],
    "unlabelled_file": ["copy", "stray"],
    "unknown_class": ["bruised"],
    "colour_photograph": ["colour"],
    "blank": ["blank"],
    "identical_opposite": ["same_a", "same_b"],
    "truncated": ["short"],
    "near_duplicate": ["copy", "fine_1", "near_a", "near_b", "pair_a", "pair_b", "same_a", "same_b"],
    "near_opposite": ["pair_a", "pair_b", "same_a", "same_b"],
    "conflicting_metadata": ["boxed", "noted"],
}
"""What `messy` holds of each kind."""


def huge_png() -> bytes:
    """A file that promises 30,000 x 30,000 pixels."""
    header = b"IHDR" + struct.pack(">IIBBBBB", 30_000, 30_000, 8, 0, 0, 0, 0)
    chunks = struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header)) + struct.pack(">I4s", 0, b"IDAT")
    return b"\x89PNG\r\n\x1a\n" + chunks + struct.pack(">I", zlib.crc32(b"IDAT"))


def write_messy(folder: Path, make_data: MakeData, draw: Draw, encode: Encode) -> Dataset:
    """A data set with every kind of fault among ten images that are fine."""
    near, pair, same = draw(100), draw(101), encode(draw(102))
    colours = np.dstack([draw(103), draw(104), draw(105)])
    normal, fractured = {"label": "normal"}, {"label": "fractured"}
    images: dict[str, dict[str, Any]] = {f"fine_{number}": {} for number in range(10)}
    images |= {
        "missing": {**normal, "content": b"removed below"},
        "empty": {**normal, "content": b""},
        "void": {**fractured, "content": b""},
        "broken": {**normal, "content": b"not a radiograph"},
        "huge": {**normal, "content": huge_png()},
        "bruised": normal,
        "colour": {**normal, "content": encode(colours)},
        "blank": {**normal, "content": encode(np.full((64, 48), 90, np.uint8))},
        "same_a": {**normal, "content": same},
        "same_b": {**fractured, "content": same},
        "short": {**normal, "suffix": ".jpg", "content": encode(draw(106), "JPEG")[:-20]},
        "near_a": {**normal, "content": encode(near)},
        "near_b": {**normal, "content": encode(near // 2 + 20)},
        "pair_a": {**normal, "content": encode(pair)},
        "pair_b": {**fractured, "content": encode(pair // 2 + 20)},
        "boxed": {**normal, "boxes": [(0.1, 0.1, 0.5, 0.5, "fractured")]},
        "noted": {**normal, "note": "the sources disagree"},
    }
    make_data(folder, images)
    (folder / "images" / "missing.png").unlink()
    (folder / "images" / "stray.png").write_bytes(encode(draw(107)))
    shutil.copy(folder / "images" / "fine_1.png", folder / "images" / "copy.png")
    labels = (folder / "labels.csv").read_text()
    (folder / "labels.csv").write_text(labels.replace("bruised.png,normal", "bruised.png,bruised"))
    return layout.read(folder)


def everything(policy: Any) -> ValidateParams:
    return ValidateParams(min_per_class=2, offenders=Offenders(**dict.fromkeys(OFFENDERS, policy)))


def line_of(lines: list[str], name: str) -> str:
    (line,) = [line for line in lines if line.startswith(f"{name}: ")]
    return line


def excluded(verdict: Verdict) -> dict[str, str]:
    left_out = verdict.table[verdict.table["excluded"] != ""]
    return {Path(file).stem: reason for file, reason in zip(left_out["file"], left_out["excluded"], strict=True)}
