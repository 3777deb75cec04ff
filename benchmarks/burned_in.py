"""How many radiographs the look for burned-in text refuses, and which planted text it finds.

`python -m benchmarks.burned_in DATA [--images 600]`; DATA is a folder in the layout of data/.
"""

import argparse
import itertools
import time
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from serving.imaging.dicom.deidentify.burned_in import shows_text

Picture = npt.NDArray[np.uint8]
WORDS = ("DOE^JANE", "Jane Doe", "27.11.2026", "4711-0815", "ID 123456", "MÜLLER, EVA")
HEIGHTS = (8, 10, 14, 20, 32)
"""Of a capital letter, in pixels."""
CONTRASTS = (250, 120, 60)
"""Grey levels above what is behind the text, where there is room for them."""
CORNERS = ("top left", "top right", "bottom left", "bottom right")


def main() -> None:
    """Print the share of images refused, and of planted text found by height and by contrast."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--images", type=int, default=600)
    given = parser.parse_args()
    paths = sorted((given.data / "images").iterdir())
    chosen = paths[:: max(1, len(paths) // given.images)][: given.images]
    read = (cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) for path in chosen)
    pictures = [np.asarray(picture, np.uint8) for picture in read if picture is not None]
    started = time.perf_counter()
    clean = [picture for picture in pictures if not shows_text(picture, picture)]
    seconds = (time.perf_counter() - started) / len(pictures)
    refused = len(pictures) - len(clean)
    print(f"{len(pictures)} images, {refused} refused ({refused / len(pictures):.1%}), {1000 * seconds:.0f} ms each")
    found: Counter[tuple[int, int]] = Counter()
    places = itertools.cycle(itertools.product(WORDS, CORNERS))
    settings = list(itertools.product(HEIGHTS, CONTRASTS))
    rounds = clean[: max(1, len(clean) // 4)]
    for picture in rounds:
        for height, contrast in settings:
            found[height, contrast] += shows_text(written(picture, *next(places), height, contrast))
    print("| capital letters of ... pixels | " + " | ".join(f"contrast {contrast}" for contrast in CONTRASTS) + " |")
    print("| --- " * (1 + len(CONTRASTS)) + "|")
    for height in HEIGHTS:
        shares = " | ".join(f"{found[height, contrast] / len(rounds):.0%}" for contrast in CONTRASTS)
        print(f"| {height} | {shares} |")


def written(picture: Picture, text: str, corner: str, height: int, contrast: int) -> Picture:
    """The picture with a text in a corner, in the font that Pillow brings."""
    font = ImageFont.load_default(round(height / 0.7))
    width, depth = (round(end) for end in font.getbbox(text)[2:])
    rows, columns = picture.shape
    x = 5 if "left" in corner else max(0, columns - width - 5)
    y = 5 if "top" in corner else max(0, rows - depth - 5)
    behind = int(np.median(picture[y : y + depth, x : x + width]))
    grey = behind + contrast if behind + contrast <= 255 or behind < 128 else behind - contrast
    image = Image.fromarray(picture)
    ImageDraw.Draw(image).text((x, y), text, fill=int(np.clip(grey, 0, 255)), font=font)
    return np.asarray(image)


if __name__ == "__main__":
    main()
