"""Whether validation keeps copies of an image together, and strangers apart.

    python -m benchmarks.families data                                 100 copies of each kind among the images of data/
    python -m benchmarks.families data --images 20000                  the same, filled up with generated radiographs
    python -m benchmarks.families data --images 20000 --fill copies    or with copies of a fifth of the images

Copies of the folder's images are planted beside them, changed in one way each, and the stage validate is run over all.
Printed: the share of copies of each kind that are in the group of their original, which images that nobody planted
share a group, and what the stage took. `--sheets` writes pictures of those groups: relatives that the data hold
already have to be told from strangers by eye, and `--judged` takes what was seen there.
"""

import argparse
import os
import resource
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import cv2
import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.stats import binomtest

from benchmarks import measure
from benchmarks.memory import watch
from pipeline.allocator import keep_image_buffers
from pipeline.data import layout
from pipeline.data.families.sheets import write_sheets
from pipeline.data.sources.synthetic.plan import draw_plans
from pipeline.data.sources.synthetic.source import make_picture
from pipeline.errors import InputError, exit_with_line
from pipeline.files import project_root
from pipeline.progress import track
from serving.errors import ImageError
from serving.imaging import decode

Grey = npt.NDArray[np.uint8]
Generator = np.random.Generator
Plant = Callable[[Grey, Generator], Grey]

TARGET_SECONDS, TARGET_MB = 300, 1_500
_COPY = "copy-"
_FILL = "fill"
_COPIED = 5
"""One in so many originals is copied again and again where copies fill the set up; none of them is judged."""


def turned(pixels: Grey, degrees: float) -> Grey:
    """Turned about the middle, on black, at the same size."""
    height, width = pixels.shape
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), degrees, 1)
    return np.asarray(cv2.warpAffine(pixels, matrix, (width, height)), np.uint8)


def cropped(pixels: Grey, rng: Generator, least: float, most: float) -> Grey:
    """A part of the picture, anywhere; `least` and `most` are shares of each side."""
    height, width = (max(1, round(side * rng.uniform(least, most))) for side in pixels.shape)
    top, left = rng.integers(0, pixels.shape[0] - height + 1), rng.integers(0, pixels.shape[1] - width + 1)
    return pixels[top : top + height, left : left + width]


def quarters(pixels: Grey, rng: Generator, least: int = 0) -> Grey:
    """Turned by `least` to 3 times 90 degrees."""
    return np.ascontiguousarray(np.rot90(pixels, int(rng.integers(least, 4))))


def sheared(pixels: Grey, rng: Generator) -> Grey:
    """Slanted by up to 10 degrees along both sides."""
    height, width = pixels.shape
    across, down = np.tan(np.radians(rng.uniform(-10, 10, 2)))
    matrix = np.array([[1, across, -across * height / 2], [down, 1, -down * width / 2]])
    return np.asarray(cv2.warpAffine(pixels, matrix, (width, height)), np.uint8)


def relit(pixels: Grey, rng: Generator) -> Grey:
    """Another gamma (0.6 to 1.5), contrast (0.6 to 1.4) and brightness (up to 40 grey levels)."""
    values = (pixels / 255) ** rng.uniform(0.6, 1.5) * 255 * rng.uniform(0.6, 1.4) + rng.uniform(-40, 40)
    return np.asarray(np.clip(values, 0, 255), np.uint8)


def noisy(pixels: Grey, rng: Generator) -> Grey:
    """Gaussian noise of 5 to 12 grey levels."""
    return np.asarray(np.clip(pixels + rng.normal(0, rng.uniform(5, 12), pixels.shape), 0, 255), np.uint8)


def blurred(pixels: Grey, rng: Generator) -> Grey:
    """Gaussian blur of 0.8 to 2 pixels."""
    return np.asarray(cv2.GaussianBlur(pixels, (0, 0), rng.uniform(0.8, 2)), np.uint8)


def augmented(pixels: Grey, rng: Generator) -> Grey:
    """Several changes at once, as sets that were augmented before they were published have."""
    mirrored = pixels[:, ::-1] if rng.random() < 0.5 else pixels
    part = cropped(turned(np.ascontiguousarray(mirrored), rng.uniform(-15, 15)), rng, 0.75, 1)
    values = part * rng.uniform(0.7, 1.3) + rng.uniform(-25, 25)
    result = np.asarray(np.clip(values, 0, 255), np.uint8)
    result = blurred(result, rng) if rng.random() < 0.5 else result
    return noisy(result, rng) if rng.random() < 0.5 else result


def _mirrored(pixels: Grey, rng: Generator) -> Grey:
    return pixels[:, ::-1] if rng.random() < 0.5 else pixels[::-1]


def _halved(pixels: Grey, rng: Generator) -> Grey:
    del rng
    return np.asarray(cv2.resize(pixels, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA), np.uint8)


KINDS: dict[str, tuple[str, Plant]] = {
    "turn_15": ("turned by up to 15 degrees", lambda p, rng: turned(p, rng.uniform(-15, 15))),
    "turn_45": ("turned by 15 to 45 degrees", lambda p, rng: turned(p, rng.choice([-1, 1]) * rng.uniform(15, 45))),
    "turn_90": ("turned by 90, 180 or 270 degrees", lambda p, rng: quarters(p, rng, 1)),
    "mirror": ("mirrored", _mirrored),
    "mirror_turn_90": ("mirrored and turned by quarters", lambda p, rng: quarters(p[:, ::-1], rng)),
    "crop_80": ("cropped to 70-90 % of each side", lambda p, rng: cropped(p, rng, 0.7, 0.9)),
    "crop_60": ("cropped to 50-70 % of each side", lambda p, rng: cropped(p, rng, 0.5, 0.7)),
    "jpeg": ("written again, JPEG quality 15-40", lambda p, rng: p),  # noqa: ARG005  every change takes a generator
    "half": ("half the size", _halved),
    "light": ("gamma, contrast and brightness", relit),
    "blur": ("blurred", blurred),
    "noise": ("noisy", noisy),
    "shear": ("sheared by up to 10 degrees", sheared),
    "augmented": ("mirrored, turned, cropped, relit, blurred, noisy", augmented),
    "augmented_90": ("the same, turned by quarters first", lambda p, rng: augmented(quarters(p, rng), rng)),
}
"""By name: what is done to the copy, in words, and a function that does it."""


def jpeg(pixels: Grey, quality: float) -> bytes:
    """Pixels as a JPEG file."""
    done, content = cv2.imencode(".jpg", np.ascontiguousarray(pixels), [cv2.IMWRITE_JPEG_QUALITY, int(quality)])
    if not done:
        raise RuntimeError("OpenCV cannot write a JPEG")
    return content.tobytes()


class Planter:
    """Writes a data set of the originals of another one and of copies of them."""

    def __init__(self, source: layout.Dataset, building: layout.Building, seed: int) -> None:
        self._source, self._building = source, building
        self._rng = np.random.default_rng(seed)
        self._order = [int(number) for number in self._rng.permutation(len(source.labels))]
        for row in track(source.labels.itertuples(), "copying images", len(source.labels)):
            content = (source.folder / row.file).read_bytes()
            building.add(row.image_id, Path(row.file).suffix, content, row.label)
        self.images = len(source.labels)

    def judged(self, each: int) -> None:
        """Plant `each` copies of every kind, no two of one original."""
        for kind in KINDS:
            planted = 0
            while planted < each:
                if not self._order:
                    raise InputError(f"{self._source.folder}: too few images for {each} copies of each kind")
                planted += self._copy(self._order.pop(), kind, kind)

    def copies(self, count: int) -> None:
        """Plant copies, each of a kind drawn at random, of a fifth of all originals."""
        chosen = [self._order.pop() for _ in range(min(len(self._source.labels) // _COPIED, len(self._order)))]
        if not chosen:
            raise InputError(f"{self._source.folder}: no image is left to fill the set up with; lower --each")
        kinds = list(KINDS)
        for number in track(range(count), "planting copies", count):
            kind = kinds[int(self._rng.integers(len(kinds)))]
            self._copy(chosen[number % len(chosen)], kind, f"{_FILL}{number}")

    def generated(self, count: int, seed: int) -> None:
        """Draw radiographs of nobody."""
        plans = draw_plans(count, seed, "binary")
        with ThreadPoolExecutor(measure.cores()) as pool:
            made = track(pool.map(make_picture, plans), "generating radiographs", len(plans))
            for number, (content, _) in enumerate(made):
                self._building.add(f"generated-{number:05d}", ".png", content, self._source.info.classes[0])

    def _copy(self, number: int, kind: str, name: str) -> bool:
        """False where the original cannot be read."""
        row = self._source.labels.iloc[number]
        try:
            pixels = decode.decode((self._source.folder / row["file"]).read_bytes()).pixels
        except ImageError:
            return False
        quality = self._rng.uniform(15, 40) if kind == "jpeg" else self._rng.uniform(60, 92)
        content = jpeg(KINDS[kind][1](pixels, self._rng), quality)
        self._building.add(f"{_COPY}{name}-{row['image_id']}", ".jpg", content, row["label"])
        self.images += 1
        return True


def plant(source: layout.Dataset, folder: Path, options: argparse.Namespace) -> None:
    """Write a data set of the source's images, `each` copies of every kind, and others up to `images`."""
    keep_image_buffers()
    info = layout.DatasetInfo("families", "1", "-", "-", "-", source.info.classes)
    with layout.rebuild(folder, info) as building:
        planter = Planter(source, building, options.seed)
        planter.judged(options.each)
        missing = max(0, options.images - planter.images)
        if missing and options.fill == "copies":
            planter.copies(missing)
        elif missing:
            planter.generated(missing, options.seed)


@dataclass(frozen=True)
class Found:
    """What the table of validate says: by kind the copies found and planted, and groups that nobody planted."""

    kinds: dict[str, tuple[int, int]]
    alone: int
    """Images without a planted relative."""
    groups: list[list[str]]
    """Files of groups of near duplicates that hold several originals."""
    ids: list[list[str]]
    """Their image ids."""


def read(table: pd.DataFrame) -> Found:
    """Judge `near_group` of reports/images.csv by the names that `plant` gave."""
    copies = table["image_id"].str.startswith(_COPY)
    root = table["image_id"].where(~copies, table["image_id"].str.replace(f"^{_COPY}[a-z0-9_]+-", "", regex=True))
    group = table.set_index("image_id")["near_group"]
    kinds: dict[str, tuple[int, int]] = {}
    for kind in KINDS:
        of_kind = table["image_id"].str.startswith(f"{_COPY}{kind}-")
        together = group[table["image_id"][of_kind]].to_numpy() == group[root[of_kind]].to_numpy()
        kinds[kind] = int(together.sum()), len(together)
    originals = table[~copies & ~table["image_id"].isin(root[copies])]
    shared = table[table.groupby("near_group")["image_id"].transform("size") > 1].assign(root=root)
    families = [rows.drop_duplicates("root") for _, rows in shared.groupby("near_group")]
    firsts = [rows for rows in families if len(rows) > 1]
    files, ids = [list(rows["file"]) for rows in firsts], [list(rows["root"]) for rows in firsts]
    return Found(kinds, len(originals), files, ids)


def interval(hits: int, of: int) -> str:
    """A share with its 95 % interval (Wilson), in percent."""
    if not of:
        return "-"
    found = binomtest(hits, of).proportion_ci(method="wilson")
    return f"{hits / of:.1%} ({found.low:.1%}-{found.high:.1%})"


def report(found: Found, judged: pd.DataFrame | None) -> list[str]:
    """Lines of a table in Markdown, and of what nobody planted."""
    lines = ["| copy | kept together | of |", "| --- | --- | --- |"]
    lines += [f"| {KINDS[kind][0]} | {interval(*counts)} | {counts[1]} |" for kind, counts in found.kinds.items()]
    hits, of = (sum(counts[i] for counts in found.kinds.values()) for i in range(2))
    lines.append(f"| all | {interval(hits, of)} | {of} |")
    sizes = [len(group) for group in found.groups]
    lines.append(
        f"{len(sizes)} groups that nobody planted hold {sum(sizes)} images; the largest holds {max(sizes, default=0)}"
    )
    if judged is None:
        return lines
    strangers = set(judged["image_id"][judged["judgement"] == "stranger"])
    known = set(judged["image_id"])
    false = [[name for name in group if name in strangers] for group in found.ids]
    unseen = sum(name not in known for group in found.ids for name in group)
    count = sum(map(len, false))
    largest = max((len(ids) for ids, names in zip(found.ids, false, strict=True) if names), default=0)
    lines.append(
        f"{count} of them are strangers there: {interval(count, found.alone)} of the {found.alone} images without a "
        f"planted relative; the largest of those groups holds {largest}; {unseen} images of groups were never judged"
    )
    return lines


def main(arguments: Sequence[str] | None = None) -> None:
    """Plant, run the stage and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="a data set, such as data/")
    parser.add_argument("--each", type=int, default=100, help="copies of each kind (default: %(default)s)")
    parser.add_argument("--images", type=int, default=0, help="fill up to as many images")
    parser.add_argument(
        "--fill", choices=["generated", "copies"], default="generated", help="with what (default: %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=5)
    parser.add_argument("--sheets", type=Path, help="folder for pictures of groups that nobody planted")
    parser.add_argument("--judged", type=Path, help="CSV of image_id and judgement (relative or stranger)")
    options = parser.parse_args(arguments)
    print(measure.machine(["opencv-python-headless", "numpy", "scipy"]))
    judged = layout.read_table(options.judged, ["image_id", "judgement"]) if options.judged else None
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        shutil.copy(project_root() / "params.yaml", root / "params.yaml")
        plant(layout.read(options.folder), root / "data", options)
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds, samples = watch("validate", root)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        table = layout.read_table(root / "reports" / "images.csv", ["image_id", "file", "near_group"])
        found = read(table)
        print("\n".join(report(found, judged)))
        if options.sheets:
            options.sheets.mkdir(parents=True, exist_ok=True)
            write_sheets(lambda file: (root / "data" / file).read_bytes(), found.groups, options.sheets)
            lines = [f"family-{number}.jpg {' '.join(ids)}" for number, ids in enumerate(found.ids, start=1)]
            (options.sheets / "groups.txt").write_text("\n".join(lines) + "\n")
        processor = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
        cores = measure.cores()
        print(
            f"{len(table)} images: {seconds:.0f} s, {processor:.0f} s of processor time, {processor / cores:.0f} s on "
            f"each of {cores} cores (target {TARGET_SECONDS}), at most {max(samples):.0f} MB (target {TARGET_MB})"
        )


if __name__ == "__main__":
    exit_with_line(lambda: main(sys.argv[1:]))
