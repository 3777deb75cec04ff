"""The page's modules see the pixels that the service sees, to the last bit, and refuse what it refuses."""

import json
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from benchmarks.robustness import changes
from pipeline.data.sources import synthetic
from serving import guard
from serving.errors import ImageError
from serving.imaging import decode, gutter, model_input
from serving.imaging.canonical.form import HEADS, POLARITY, read_heads
from serving.imaging.canonical.polarity import INVERTED
from serving.imaging.canvas import Preprocessing, Steps
from serving.imaging.model_input import ModelInput
from serving.statistics import input_statistics, texture
from tests.serving.imaging.canonical.screens import screen
from tests.serving.imaging.deep_files import png_of
from tests.serving.imaging.dicom.builders import radiograph, table
from tests.serving.imaging.test_gutter import side_by_side
from tests.serving.web import device

pytestmark = pytest.mark.node

Encode = Callable[..., bytes]
Pixels = npt.NDArray[np.uint8]
PREPROCESSING = Preprocessing(224, "adaptive", canonical=Steps(field=True, range=True, polarity=True))
RADIOGRAPH = np.asarray(synthetic.render(3, "hand", "frontal", None).pixels, np.uint8)
LARGE = np.asarray(cv2.resize(RADIOGRAPH, (1100, 1500), interpolation=cv2.INTER_CUBIC), np.uint8)
SHIFTED = RADIOGRAPH.astype(np.uint16) * 200 + 1000
DEEP = np.asarray(SHIFTED + np.arange(RADIOGRAPH.size).reshape(RADIOGRAPH.shape) % 89, np.uint16)


def _three(pixels: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return np.stack([pixels] * 3, -1)


def _oriented(number: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x112] = number
    return exif


def _chunk(name: bytes, data: bytes) -> bytes:
    return len(data).to_bytes(4) + name + data + zlib.crc32(name + data).to_bytes(4)


def _changed(content: bytes, mark: bytes, offset: int, value: int) -> bytes:
    """Write one byte `offset` bytes behind the start of `mark`."""
    found = bytearray(content)
    found[content.index(mark) + offset] = value
    return bytes(found)


def _with_filter(png: bytes, number: int) -> bytes:
    """Store the radiograph with a filter of that number in one row, behind a third of the others."""
    rows = np.insert(RADIOGRAPH, 0, 0, axis=1)
    rows[len(rows) // 3, 0] = number
    return png[:33] + _chunk(b"IDAT", zlib.compress(rows.tobytes())) + _chunk(b"IEND", b"")


DAMAGES: Mapping[str, Callable[[bytes], bytes]] = {
    "png, its signature alone": lambda png: png[:8],
    "png that ends within its first chunk": lambda png: png[:20],
    "png that ends behind its first chunk": lambda png: png[:33],
    "png that ends within a chunk's head": lambda png: png[:37],
    "png whose first chunk was changed": lambda png: _changed(png, b"IHDR", 7, png[19] ^ 1),
    "png with a short first chunk": lambda png: png[:8] + _chunk(b"IHDR", png[16:28]) + png[33:],
    "png of a depth that is none": lambda png: png[:8] + _chunk(b"IHDR", png[16:24] + b"\x03" + png[25:29]) + png[33:],
    "png with a broken chunk": lambda png: png[:33] + _chunk(b"te*t", b"words") + png[33:],
    "png with a short chunk of gamma": lambda png: png[:33] + _chunk(b"gAMA", b"12") + png[33:],
    "png without a picture": lambda png: png[:33] + _chunk(b"IEND", b""),
    "png with a filter that is none": lambda png: _with_filter(png, 9),
    "jpeg, its first marker alone": lambda jpeg: jpeg[:4],
    "jpeg that ends within a segment": lambda jpeg: jpeg[:60],
    "jpeg that ends before its frame": lambda jpeg: jpeg[:20],
    "jpeg that ends behind its frame": lambda jpeg: jpeg[: jpeg.index(b"\xff\xc0") + 13],
    "jpeg that ends within its tables": lambda jpeg: jpeg[: jpeg.index(b"\xff\xc4") + 12],
    "jpeg with a marker that is none": lambda jpeg: _changed(jpeg, b"\xff\xdb", 1, 0x99),
    "jpeg of twelve bits": lambda jpeg: _changed(jpeg, b"\xff\xc0", 4, 12),
    "jpeg of two components": lambda jpeg: _changed(jpeg, b"\xff\xc0", 9, 2),
    "jpeg of unusual samples": lambda jpeg: _changed(jpeg, b"\xff\xc0", 11, 0xAD),
    "jpeg with too many short codes": lambda jpeg: _changed(jpeg, b"\xff\xc4", 5, 9),
    "jpeg with a difference of many bits": lambda jpeg: _changed(jpeg, b"\xff\xc4", 21, 200),
    "bmp, its first bytes alone": lambda bmp: bmp[:16],
    "bmp that ends within its header": lambda bmp: bmp[:40],
    "bmp with a header of no known size": lambda bmp: _changed(bmp, b"BM", 14, 41),
    "bmp without columns": lambda bmp: _changed(_changed(bmp, b"BM", 18, 0), b"BM", 19, 0),
    "bmp of wide rows": lambda bmp: _changed(bmp, b"BM", 21, 0x90),
    "bmp that is cut short": lambda bmp: bmp[: len(bmp) * 7 // 10],
    "bmp without a row": lambda bmp: bmp[: 14 + 40 + 1024 + 10],
}
"""What is done to a PNG, JPEG or BMP, whose kind comes first, so that its header, or what follows it, is damaged."""


def _marked(grey: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """A radiograph with a coloured banner and arrow, as viewers save them."""
    marked = _three(grey).copy()
    marked[: len(grey) // 16] = (0, 90, 200)
    marked[len(grey) // 2 :][:6, 30:90] = (255, 255, 0)
    return marked


def _files(encode: Encode) -> Mapping[str, bytes]:
    half = np.where(RADIOGRAPH > 5, 255, 100).astype(np.uint8)
    jpeg, png = encode(LARGE, "JPEG", quality=75), encode(RADIOGRAPH)
    colour = encode(_three(LARGE), "JPEG")
    coloured = np.dstack([RADIOGRAPH, np.roll(RADIOGRAPH, 60, 0), np.roll(RADIOGRAPH, 90, 1)])
    palette = Image.fromarray(RADIOGRAPH).convert("P")
    found = {
        "png": png,
        "png of 16 bits": encode(DEEP),
        "png of 8 bits in 16, shifted": encode(SHIFTED),
        "png of 8 bits in 16, with fractions of a gain": encode(np.rint(RADIOGRAPH * 2.7).astype(np.uint16)),
        "png of 8 bits in 16": encode(RADIOGRAPH.astype(np.uint16) * 257),
        "png of 8 bits in 16, as they are": encode(RADIOGRAPH.astype(np.uint16)),
        "png of 16 bits, grey in colours": png_of(_three(DEEP)),
        "png of 16 bits, tinted": png_of((_three(DEEP) * np.array([0.9, 0.95, 1])).astype(np.uint16)),
        "png of 16 bits, dark": png_of(_three(DEEP >> 4)),
        "png of 8 bits in 16, tinted": png_of((_three(RADIOGRAPH) * np.array([0.9, 0.95, 1])).astype(np.uint16) * 257),
        "png of 8 bits in 16, shifted, in colours": png_of(_three(SHIFTED)),
        "png of 8 bits in 16, shifted and tinted": png_of(np.dstack([SHIFTED, SHIFTED + 200, SHIFTED + 400])),
        "png of 16 bits with alpha": png_of(np.dstack([DEEP, half.astype(np.uint16) * 257])),
        "png of 16 bits and colours with alpha": png_of(np.dstack([_three(DEEP), half.astype(np.uint16) * 257])),
        "png of 16 bits, a grey transparent": png_of(DEEP, transparent=[int(DEEP[0, 0])]),
        "png of 16 bits, a colour transparent": png_of(_three(DEEP), transparent=[int(DEEP[0, 0])] * 3),
        "png of 16 bits, cut short": png_of(_three(DEEP))[: DEEP.nbytes],
        "colour photograph, dark png of 16 bits": png_of(coloured.astype(np.uint16) * 17),
        "png with alpha": encode(np.dstack([RADIOGRAPH, half])),
        "png of colours with alpha": encode(np.dstack([_three(RADIOGRAPH), half])),
        "png with a palette": encode(np.asarray(palette)),
        "png in black and white": encode(RADIOGRAPH > 90),
        "bmp": encode(RADIOGRAPH, "BMP"),
        "bmp of colours": encode(_three(RADIOGRAPH), "BMP"),
        "small jpeg": encode(RADIOGRAPH, "JPEG"),
        "jpeg at a reduced scale": jpeg,
        "coarse jpeg": encode(LARGE, "JPEG", quality=25),
        "progressive jpeg": encode(LARGE, "JPEG", progressive=True),
        "jpeg with restarts": encode(LARGE, "JPEG", restart_marker_rows=1),
        "jpeg of whole colours": encode(_three(LARGE), "JPEG", subsampling=0),
        "jpeg of halved colours": encode(_three(LARGE), "JPEG", subsampling=1),
        "jpeg of quartered colours": colour,
        "progressive jpeg of colours": encode(_three(LARGE), "JPEG", progressive=True),
        "jpeg in RGB": encode(_three(RADIOGRAPH), "JPEG", keep_rgb=True),
        "tinted jpeg": encode((_three(LARGE) * np.array([0.9, 0.95, 1])).astype(np.uint8), "JPEG"),
        "jpeg with a tail": jpeg + bytes(100),
        "colour photograph, jpeg": encode(coloured, "JPEG"),
        "colour photograph, png": encode(coloured),
        "colour photograph, bmp": encode(coloured, "BMP"),
        "coloured banner, jpeg": encode(_marked(LARGE), "JPEG"),
        "coloured banner, png": encode(_marked(RADIOGRAPH)),
        "two side by side": encode(side_by_side(RADIOGRAPH, 0)),
        "two side by side, white between": encode(side_by_side(RADIOGRAPH, 255)),
        "two on each other": encode(np.ascontiguousarray(side_by_side(RADIOGRAPH.T, 90).T)),
        "blank": encode(np.full((200, 200), 77, np.uint8)),
        "too small": encode(RADIOGRAPH[:20, :20]),
        "strip": encode(np.asarray(cv2.resize(RADIOGRAPH, (900, 40)), np.uint8)),
        "screen": encode(screen(LARGE, 45, 0)),
        "bright screen": encode(screen(LARGE, 225, 1), "JPEG"),
        "dicom": radiograph(DEEP, WindowCenter=20_000, WindowWidth=40_000),
        "dicom without a window": radiograph(DEEP),
        "dicom of 8 bits in 16": radiograph(SHIFTED),
        "dicom of 8 bits in 16, inverted": radiograph(SHIFTED, PhotometricInterpretation="MONOCHROME1"),
        "dicom, inverted": radiograph(DEEP.max() - DEEP, PhotometricInterpretation="MONOCHROME1"),
        "dicom cut short": radiograph(DEEP)[: DEEP.nbytes * 4 // 5],
        "most of a dicom missing": radiograph(DEEP)[: DEEP.nbytes // 3],
        "dicom of fewer rows": radiograph(DEEP, PixelData=DEEP.tobytes()[: DEEP.nbytes * 3 // 5 // 2 * 2]),
        "dicom of narrower rows": radiograph(DEEP, PixelData=DEEP[:, 40:].tobytes()),
        "dicom, window beyond its pixels": radiograph(DEEP, WindowCenter=65_000, WindowWidth=100),
        "dicom, table beyond its pixels": radiograph(DEEP, VOILUTSequence=[table(0, 8, [0, 255])]),
        "gif": encode(RADIOGRAPH, "GIF"),
        "text": b"hello",
        "nothing": b"",
    }
    for share in (0.2, 0.7, 0.95):
        found |= {
            f"{share} of a jpeg": jpeg[: int(share * len(jpeg))],
            f"{share} of a png": png[: int(share * len(png))],
        }
        found[f"{share} of a jpeg of colours"] = colour[: int(share * len(colour))]
    for number in range(1, 9):
        exif = _oriented(number)
        found[f"jpeg, orientation {number}"] = encode(LARGE, "JPEG", exif=exif)
        found[f"png, orientation {number}"] = encode(RADIOGRAPH, exif=exif)
    for name in changes.CHANGES:
        if (done := changes.change(name, RADIOGRAPH, np.zeros((0, 4)), 0)) is not None:
            found[f"radiograph, {name}"] = encode(done[0])
    return found


NAMES = (*_files(lambda *_, **__: b""), *DAMAGES)


@dataclass(frozen=True)
class Seen:
    """What the page's modules made of a file."""

    told: dict[str, Any]
    canvas: Pixels
    picture: Pixels


@pytest.fixture(scope="module")
def files(encode: Encode) -> Mapping[str, bytes]:
    whole = {kind: encode(RADIOGRAPH, kind.upper()) for kind in ("png", "jpeg", "bmp")}
    damaged = {name: damage(whole[name.split()[0].strip(",")]) for name, damage in DAMAGES.items()}
    return {**_files(encode), **damaged}


@pytest.fixture(scope="module")
def seen(files: Mapping[str, bytes], tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Seen]:
    """Run the modules on all files, once."""
    folder = tmp_path_factory.mktemp("device")
    order = {
        "preprocessing": PREPROCESSING.to_dict(), "polarity": json.loads((HEADS / POLARITY).read_text()),
        "files": device.write(files.values(), folder),
    }  # fmt: skip
    everything = device.run("prepare.mjs", device.lay_out(folder), order, folder)
    found = {}
    for number, (name, told) in enumerate(zip(files, everything, strict=True)):
        nothing = np.zeros((0, 0), np.uint8)
        if "error" in told:
            found[name] = Seen(told, nothing, nothing)
            continue
        canvas = np.fromfile(folder / f"found.{number}.canvas", np.uint8).reshape(PREPROCESSING.image_size, -1)
        picture = np.fromfile(folder / f"found.{number}.picture", np.uint8).reshape(told["height"], told["width"])
        found[name] = Seen(told, canvas, picture)
    return found


def _of_service(content: bytes) -> ModelInput | ImageError:
    """The model's input as the service makes it, or its refusal."""
    heads, _ = read_heads(HEADS, PREPROCESSING.canonical)
    try:
        header = decode.inspect(content)
        guard.check_header(header, 1)
        guard.check_colours(content, header)
        given = model_input.prepare(content, PREPROCESSING, heads)
        decode.check_complete(given.decoded)
        guard.check_contrast(given.picture)
    except ImageError as error:
        return error
    return given


@pytest.mark.parametrize("name", NAMES)
def test_the_device_sees_what_the_service_sees(name: str, files: Mapping[str, bytes], seen: Mapping[str, Seen]) -> None:
    found, given = seen[name], _of_service(files[name])
    if isinstance(given, ImageError):
        assert found.told["error"] == given.code
        # Of broken and foreign files either says what its own decoders do, and the service here takes larger ones.
        own_words = {"undecodable", "unsupported_format", "too_many_pixels"}
        assert found.told["message"] == given.message or given.code in own_words
        return
    assert "error" not in found.told
    np.testing.assert_array_equal(found.picture, given.picture)
    np.testing.assert_array_equal(found.canvas, given.pixels)
    assert found.told["box"] == pytest.approx(given.placement.view.box, abs=1e-6)
    assert found.told["inverted"] == (given.canonical is not None and given.canonical.inverted >= INVERTED)
    assert found.told["smoothed"] == given.smoothed
    assert found.told["divided"] == (given.canonical is not None and gutter.is_divided(given.canonical.pixels))
    assert found.told["truncated"] == given.decoded.truncated
    assert found.told["texture"] == pytest.approx(texture(given.pixels), abs=1e-9)
    assert found.told["inputs"] == pytest.approx(input_statistics(given.pixels), abs=1e-9)
