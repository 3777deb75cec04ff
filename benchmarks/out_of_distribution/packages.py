"""Pictures that are no radiographs out of Debian's packages, split by package, for a guard that knows photographs.

    apt-get download PACKAGE ...                      each package of SOURCES
    dpkg -x PACKAGE_*.deb unpacked/PACKAGE            each into a folder of its name
    python -m benchmarks.out_of_distribution.packages unpacked pictures

writes pictures/train, pictures/choose and pictures/report, in grey: `evaluate.guard_pictures: pictures` trains on the
first and chooses limits on the second, `python -m benchmarks.guard --pictures pictures/report` measures on the third.
All these packages are free software (section main); nothing of them is kept in this repository. Packages that are
missing are left out with a line.
"""

import argparse
import re
import shutil
import subprocess
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from pipeline.errors import exit_with_line
from pipeline.quiet import quiet_import

Pixels = npt.NDArray[np.uint8]

_MOST_PIXELS, _LEAST_PIXELS = 1344, 32
_BLANK = 2.0
_GROUNDS = (0, 0, 255, 60)
"""Grey levels behind what is transparent, in turn: an object before black is the picture most like a radiograph."""
_SUFFIXES = {".png", ".jpg", ".jpeg", ".webp"}
_SEED = 1


@dataclass(frozen=True)
class Source:
    """Pictures of one package: those whose path matches `path` and not `without`, at most so many of them.

    Of files whose names differ in a trailing number only, such as the two of a stereo pair, with `scenes` one is taken.
    """

    half: str
    package: str
    kind: str
    path: str = ""
    without: str = "$^"
    most: int = 10_000
    least_bytes: int = 8000
    scenes: bool = False


_NO_PHOTOGRAPH = (
    r"aloeGT|plant_result|trimaps|detect_blob|gradient|Logo|logo|ml\.png|polygon|pic\d|text|segmented|ellipses|notes|"
    r"board|digits|pca_test|sudoku|box\.|HappyFish|left|right|Blender"
)
SOURCES = (
    Source("train", "plasma-workspace-wallpapers", "photograph", r"/images(_dark)?/\d+x\d+"),
    Source("train", "tuxpaint-stamps-default", "photograph"),
    Source("train", "supertuxkart-data", "photograph", r"\.jpg$", most=200),
    Source("train", "lomiri-wallpapers-16.04", "photograph"),
    Source("train", "lxqt-themes", "photograph", "/wallpapers/"),
    Source("train", "gnome-control-center-data", "photograph", "/faces/", least_bytes=2000),
    Source("train", "stellarium-data", "photograph", most=150),
    Source("train", "gnome-backgrounds", "drawing"),
    Source("train", "openclipart-png", "drawing", most=150),
    Source("train", "marble-data", "screenshot", scenes=True),
    Source("train", "plasma-desktop-data", "screenshot", most=40),
    Source("train", "texlive-science-doc", "document", r"\.pdf$", most=70),
    Source("choose", "ukui-wallpapers", "photograph"),
    Source("choose", "lomiri-wallpapers-20.04", "photograph"),
    Source("choose", "palapeli-data", "photograph", "/collection/"),
    Source("choose", "gnome-taquin", "photograph"),
    Source("choose", "gnome-user-docs", "screenshot", most=40),
    Source("choose", "krita-data", "drawing", most=60),
    Source("report", "mate-backgrounds", "photograph", "/nature/|Elephants", scenes=True),
    Source("report", "mate-backgrounds", "drawing", without="/nature/|Elephants"),
    Source("report", "opencv-doc", "photograph", "/examples/", _NO_PHOTOGRAPH, scenes=True),
    Source("report", "opencv-doc", "documentation", without="/examples/", most=90),
    Source("report", "maxima-doc", "documentation", most=40),
    Source("report", "r-doc-pdf", "document", r"\.pdf$"),
)
"""No package is in two halves."""


def files(unpacked: Path, source: Source) -> list[Path]:
    """The files of one source, sorted."""
    root = unpacked / source.package
    suffixes = {".pdf"} if source.path == r"\.pdf$" else _SUFFIXES
    found: dict[str, Path] = {}
    for path in sorted(root.rglob("*")):
        inside = "/" + path.relative_to(root).as_posix()
        if path.suffix.lower() not in suffixes or not path.is_file() or path.is_symlink():
            continue
        if path.stat().st_size < source.least_bytes or not re.search(source.path, inside):
            continue
        if not re.search(source.without, inside):
            found.setdefault(re.sub(r"\d+|[LR]$|_.*", "", path.stem) if source.scenes else inside, path)
    chosen = list(found.values())
    if len(chosen) <= source.most:
        return chosen
    order = np.random.default_rng(_SEED).permutation(len(chosen))
    return [chosen[index] for index in order[: source.most]]


def grey(path: Path) -> Pixels | None:
    """A picture in grey, at most 1344 pixels a side; None for one that cannot be read, shows nothing or is tiny."""
    read = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if read is None:
        return None
    pixels = np.asarray(read // 256 if read.dtype == np.uint16 else read, np.uint8)
    if pixels.ndim == 3 and pixels.shape[2] == 4:
        ground = _GROUNDS[zlib.crc32(path.name.encode()) % len(_GROUNDS)]
        share = pixels[..., 3:].astype(np.float32) / 255
        pixels = np.rint(pixels[..., :3] * share + ground * (1 - share)).astype(np.uint8)
    if pixels.ndim == 3:
        pixels = np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2GRAY), np.uint8)
    factor = _MOST_PIXELS / max(pixels.shape)
    if factor < 1:
        pixels = np.asarray(cv2.resize(pixels, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA), np.uint8)
    return pixels if min(pixels.shape) >= _LEAST_PIXELS and pixels.std() >= _BLANK else None


def page(path: Path) -> Pixels | None:
    """One of the first pages of a document, as Poppler draws it; None without such a page or without Poppler."""
    program = shutil.which("pdftoppm")
    if program is None:
        return None
    number = str(1 + zlib.crc32(path.stem.encode()) % 6)
    drawn = subprocess.run(
        [program, "-gray", "-r", "70", "-f", number, "-l", number, str(path)], capture_output=True, check=False
    ).stdout
    decoded = cv2.imdecode(np.frombuffer(drawn, np.uint8), cv2.IMREAD_GRAYSCALE) if drawn else None
    return None if decoded is None else np.asarray(decoded, np.uint8)


def pictures(unpacked: Path) -> Iterator[tuple[Source, str, Pixels]]:
    """Source, name and grey pixels of every picture."""
    for source in SOURCES:
        if not (unpacked / source.package).is_dir():
            print(f"{source.package}: not unpacked, left out")
            continue
        for number, path in enumerate(files(unpacked, source)):
            pixels = page(path) if path.suffix == ".pdf" else grey(path)
            if pixels is not None:
                yield source, f"{source.package}-{number:03d}-{path.stem}", pixels


def main() -> None:
    """Write the pictures of all packages that are unpacked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("unpacked", type=Path, help="folder that holds one folder for each package")
    parser.add_argument("output", type=Path)
    given = parser.parse_args()
    counts: dict[tuple[str, str], int] = {}
    with quiet_import():
        for source, name, pixels in pictures(given.unpacked):
            folder = given.output / source.half / source.kind
            folder.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(folder / f"{name}.png"), pixels)
            counts[source.half, source.kind] = counts.get((source.half, source.kind), 0) + 1
    for (half, kind), count in sorted(counts.items()):
        print(f"{half}: {count} x {kind}")


if __name__ == "__main__":
    exit_with_line(main)
