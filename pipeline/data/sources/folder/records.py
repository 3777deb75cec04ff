"""What is found in a folder of images, and what an image is on its way in."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

Corners = tuple[float, float, float, float]


@dataclass(frozen=True)
class Found:
    """What lies in the folder: image files by their path in it (`/`-separated), and what else was met."""

    images: dict[str, Path]
    others: int
    outside: int


@dataclass(frozen=True)
class Entry:
    """One image on its way in; `original` is its path in the user's folder and never leaves this package."""

    original: str
    image_id: str
    suffix: str
    label: str
    path: Path
    columns: dict[str, str]
    boxes: tuple[tuple[float, float, float, float, str], ...] = ()
    originals: Mapping[str, str] = field(default_factory=dict)
