"""What the guard refuses: of radiographs, and of pictures that are none (`python -m benchmarks.guard --help`)."""

import argparse
import time
from collections.abc import Callable, Iterable, Mapping
from itertools import groupby
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from scipy.stats import binomtest

from benchmarks import measure, out_of_distribution
from benchmarks.out_of_distribution import CHOICE, REPORT, OutOfDistribution
from pipeline.data import layout, prepared
from pipeline.data.prepared import Prepared
from pipeline.data.sources import synthetic
from pipeline.quiet import quiet_import
from serving import bundle, guard
from serving.bundle import Bundle
from serving.errors import ImageError
from serving.imaging import decode
from serving.network import EMBEDDING, Network
from serving.predictor import Predictor
from serving.statistics import texture

Pixels = npt.NDArray[np.uint8]

SYNTHETIC = 60
_NONE, _UNUSUAL = "answered", "unusual"


def share(hits: int, total: int) -> str:
    """Hits, total, percentage and Wilson's 95 % interval as text."""
    if not total:
        return "none"
    interval = binomtest(hits, total).proportion_ci(method="wilson")
    return f"{hits} of {total}: {100 * hits / total:.1f} % ({100 * interval.low:.1f} to {100 * interval.high:.1f})"


def reason(predictor: Predictor, content: bytes) -> str:
    """The code with which a file is refused, or `answered`."""
    try:
        predictor.predict(content)
    except ImageError as error:
        return error.code
    return _NONE


def encoded(pixels: Pixels, suffix: str = ".png", *options: int) -> bytes:
    """A picture as a file; `options` are OpenCV's."""
    return bytes(cv2.imencode(suffix, pixels, options)[1])


def judged(opened: Bundle, data: Prepared, part: str) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Which images of a part of prepared/ are refused (n,), and which are refused or called unusual (n,)."""
    images = [np.asarray(data.images[row]) for row in data.rows(part)]
    textures = np.stack([texture(image) for image in images])
    head = opened.image_heads.guard
    if head is None:
        found, limits = opened.reference.distance(textures), opened.manifest.guard
        return found > limits.limit, found > limits.unusual
    network = Network(opened.network)
    odds = head.log_odds(np.concatenate([network(image)[EMBEDDING] for image in images]), textures)
    return odds < head.refuse, odds < head.unusual


def _middle(pixels: Pixels, height: int, width: int) -> Pixels:
    top, left = (pixels.shape[0] - height) // 2, (pixels.shape[1] - width) // 2
    return np.ascontiguousarray(pixels[top : top + height, left : left + width])


def _part(pixels: Pixels, of_side: float) -> Pixels:
    return _middle(pixels, int(pixels.shape[0] * of_side), int(pixels.shape[1] * of_side))


def _gamma(pixels: Pixels, exponent: float) -> Pixels:
    return np.asarray(np.rint(255 * (pixels / 255) ** exponent), np.uint8)


def _half(pixels: Pixels) -> Pixels:
    return np.asarray(cv2.resize(pixels, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA), np.uint8)


OTHERWISE: Mapping[str, Callable[[Pixels], bytes]] = {
    "as they are": encoded,
    "middle 80 % of each side": lambda pixels: encoded(_part(pixels, 0.8)),
    "middle 60 % of each side": lambda pixels: encoded(_part(pixels, 0.6)),
    "middle square": lambda pixels: encoded(_middle(pixels, min(pixels.shape), min(pixels.shape))),
    "upside down": lambda pixels: encoded(np.ascontiguousarray(pixels[::-1])),
    "half as large": lambda pixels: encoded(_half(pixels)),
    "JPEG of quality 40": lambda pixels: encoded(pixels, ".jpg", cv2.IMWRITE_JPEG_QUALITY, 40),
    "gamma 0.7": lambda pixels: encoded(_gamma(pixels, 0.7)),
    "gamma 1.4": lambda pixels: encoded(_gamma(pixels, 1.4)),
}
"""Radiographs framed, exposed and stored in other ways than those of training."""


def tell_of_radiographs(opened: Bundle, data: Prepared) -> None:
    """Print how many images of the test set are refused, and how many get a warning, by their distance."""
    refused, unusual = judged(opened, data, "test")
    print(f"test set of {data.dataset.name}, refused: {share(int(refused.sum()), len(refused))}")
    print(f"  refused or called unusual: {share(int(unusual.sum()), len(unusual))}")


def tell_of_framings(predictor: Predictor, data: Prepared, folder: Path) -> None:
    """Print how many images of the test set are refused when they are framed, exposed or stored in other ways."""
    labels = layout.read(folder).labels.set_index("image_id")["file"]
    pictures = [
        decode.decode((folder / labels[data.table["image_id"].iloc[row]]).read_bytes()).pixels
        for row in data.rows("test")
    ]
    for name, change in OTHERWISE.items():
        refused = sum(reason(predictor, change(pixels)) != _NONE for pixels in pictures)
        print(f"  {name}: {share(refused, len(pictures))}")


def tell_of_synthetic_ones(predictor: Predictor) -> None:
    """Print how many freshly drawn radiographs get an answer; the packaging takes its samples from such ones."""
    regions, views = synthetic.REGIONS, synthetic.VIEWS
    drawn = [
        synthetic.render(20_000 + seed, regions[seed % len(regions)], views[seed % len(views)], None).pixels
        for seed in range(SYNTHETIC)
    ]
    answered = sum(reason(predictor, encoded(pixels)) == _NONE for pixels in drawn)
    print(f"synthetic radiographs, answered: {share(answered, SYNTHETIC)}")


def tell_of_out_of_distribution(predictor: Predictor, images: Iterable[OutOfDistribution]) -> None:
    """Print how many out-of-distribution images are refused: of either half, then of the half `REPORT` by kind."""
    codes = [(image, reason(predictor, encoded(image.pixels))) for image in images]
    for half in (CHOICE, REPORT):
        ours = [code for image, code in codes if image.half == half]
        print(f"no radiographs, half `{half}`, refused: {share(sum(code != _NONE for code in ours), len(ours))}")
        counts = {code: ours.count(code) for code in sorted(set(ours))}
        print(f"  {', '.join(f'{code} {count}' for code, count in counts.items())}")
    reported = [(image, code) for image, code in codes if image.half == REPORT]
    for kind, members in groupby(sorted(reported, key=lambda pair: pair[0].kind), key=lambda pair: pair[0].kind):
        found = list(members)
        names = [image.name for image, code in found if code == _NONE]
        line = f"  {kind}: {share(len(found) - len(names), len(found))}"
        print(f"{line}, answered: {', '.join(names)}" if names else line)


def tell_of_pictures(predictor: Predictor, folder: Path) -> None:
    """Print how many pictures of a folder are refused, by its subfolders, and how many of the others get a warning."""
    files = sorted(path for path in folder.rglob("*.png"))
    print(f"pictures of {folder.name}/")
    for kind, members in groupby(files, key=lambda path: path.parent.name):
        paths = list(members)
        codes = [_reason_or_unusual(predictor, path.read_bytes()) for path in paths]
        passed = [path.stem for path, code in zip(paths, codes, strict=True) if code in {_NONE, _UNUSUAL}]
        print(f"  {kind}: {share(len(paths) - len(passed), len(paths))}, of the others unusual {codes.count(_UNUSUAL)}")
        if passed:
            print(f"    answered: {', '.join(passed)}")


def _reason_or_unusual(predictor: Predictor, content: bytes) -> str:
    """As `reason`, and `unusual` where the answer carries that warning."""
    try:
        warnings = predictor.predict(content).warnings
    except ImageError as error:
        return error.code
    return _UNUSUAL if any(note.code == _UNUSUAL for note in warnings) else _NONE


def tell_of_colours(predictor: Predictor) -> None:
    """Print how many of scikit-image's files are refused for their colours alone, and how many for anything."""
    contents = {path.stem: path.read_bytes() for path in out_of_distribution.colour_files()}
    headers = {name: decode.inspect(content) for name, content in contents.items()}
    coloured = [name for name, header in headers.items() if decode.has_colours(header)]
    unnoticed = [name for name in coloured if _passes(guard.check_colours, contents[name], headers[name])]
    print("scikit-image's files")
    print(f"  with colour channels, refused for their colours: {share(len(coloured) - len(unnoticed), len(coloured))}")
    print(f"  not for their colours: {', '.join(unnoticed)}")
    codes = [reason(predictor, content) for content in contents.values()]
    print(f"  all as they are, refused for anything: {share(sum(code != _NONE for code in codes), len(codes))}")


def _passes(check: Callable[..., None], *given: object) -> bool:
    try:
        check(*given)
    except ImageError:
        return False
    return True


def tell_of_time(opened: Bundle, data: Prepared) -> None:
    """Print the median time of texture and distance of one image."""
    taken = []
    for row in data.rows("test")[:300]:
        canvas = np.array(data.images[row])
        began = time.perf_counter()
        found = texture(canvas)
        between = time.perf_counter()
        opened.reference.distance(found[np.newaxis])
        taken.append((between - began, time.perf_counter() - between))
    one, other = np.median(taken, axis=0) * 1e6
    print(f"median time of one image: texture {one:.0f} us, distance {other:.0f} us")


def main() -> None:
    """Print what the guard of a bundle refuses."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--bundle", type=Path, required=True, help="folder of the bundle")
    parser.add_argument("--prepared", type=Path, default=Path("prepared"), help="images that it was trained on")
    parser.add_argument("--data", type=Path, help="the files behind them, to frame and store them in other ways")
    parser.add_argument("--pictures", type=Path, help="further pictures that are none, one folder for each kind")
    given = parser.parse_args()
    cv2.setNumThreads(1)
    opened, data = bundle.read(given.bundle), prepared.load(given.prepared)
    predictor = Predictor(opened)
    with quiet_import():  # LiteRT announces its first interpreter, libpng the profiles that it does not like
        predictor.warm_up()
        images = list(out_of_distribution.everything())
    print(measure.machine(["opencv-python-headless", "numpy", "scikit-image"]))
    print(f"{opened.manifest.architecture} trained on {opened.manifest.trained_on.name}")
    tell_of_radiographs(opened, data)
    if given.data:
        tell_of_framings(predictor, data, given.data)
    tell_of_synthetic_ones(predictor)
    tell_of_out_of_distribution(predictor, images)
    if given.pictures:
        tell_of_pictures(predictor, given.pictures)
    with quiet_import():
        tell_of_colours(predictor)
    tell_of_time(opened, data)


if __name__ == "__main__":
    main()
