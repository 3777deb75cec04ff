"""Grey levels as independent programs show them: DCMTK, and GDCM for JPEG 2000; within 2 of 255."""

import io
import itertools
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    JPEG2000,
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

from serving.imaging import decode
from tests.serving.imaging.dicom.builders import coded, name, table

pytestmark = [pytest.mark.dcmtk]

NATIVE = [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian]
OF_DCMTK = [RLELossless, JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLossless, JPEGLosslessSV1]
OF_DCMTK_JPEG_LS = [JPEGLSLossless, JPEGLSNearLossless]
MOST = 2
"""Grey levels of 255 by which programs may differ: they round in different places."""


def smooth(bits: int, signed: bool = False) -> npt.NDArray[np.int64]:
    """Shapes and noise over most of the range of `bits`, its smallest and largest value once each."""
    y, x = np.mgrid[:24, :32]
    waves = np.sin(x / 5) + np.cos(y / 6) + np.random.default_rng(bits).normal(0, 0.02, (24, 32))
    values = np.rint((waves + 2.2) / 4.4 * (2**bits - 1)).clip(0, 2**bits - 1).astype(np.int64)
    values[0, 0], values[0, 1] = 0, 2**bits - 1
    return np.asarray(values - 2 ** (bits - 1) if signed else values, np.int64)


def by_dcmtk(content: bytes, folder: Path, *options: str, program: str = "dcmj2pnm") -> npt.NDArray[np.int64]:
    """What DCMTK shows of an object, with its options for VOI windows and tables."""
    source, target = folder / "object.dcm", folder / "shown.pgm"
    source.write_bytes(content)
    subprocess.run([program, "--quiet", *options, "+op", source, target], check=True, capture_output=True)
    return np.asarray(Image.open(io.BytesIO(target.read_bytes())).convert("L"), np.int64)


def alike(content: bytes, folder: Path, *options: str, program: str = "dcmj2pnm") -> None:
    ours = decode.decode(content).pixels.astype(np.int64)
    theirs = by_dcmtk(content, folder, *options, program=program)
    assert np.abs(ours - theirs).max() <= MOST


def displayed(
    kind: str, bits: int, signed: bool = False, slope: float = 1, intercept: float = 0
) -> tuple[dict[str, Any], list[str]]:
    """Elements that show an object in a way, and DCMTK's options for it."""
    low = -(2 ** (bits - 1)) if signed else 0
    first, last = (slope * value + intercept for value in (low, low + 2**bits - 1))
    if kind == "range":
        return {}, ["+Wm"]
    if kind == "table":
        entries = [round(4095 * (place / 255) ** 1.5) for place in range(256)]
        return {"VOILUTSequence": [table(round(first) % 65536, 12, entries)]}, ["+Wl", "1"]
    window = {"WindowCenter": round((first + last) / 2), "WindowWidth": round(0.6 * (last - first))}
    return {**window, "VOILUTFunction": kind}, ["+Wi", "1"]


DEPTHS = [
    (8, 7, False),
    (10, 9, False),
    (12, 11, False),
    (12, 15, False),
    (12, 13, True),
    (12, 11, True),
    (16, 15, False),
    (16, 15, True),
]
"""Bits Stored, High Bit, sign."""
WAYS = ["range", "LINEAR", "SIGMOID", "table"]
RESCALES = [(1.0, 0.0), (2.0, -1000.0), (0.5, 10.0)]
CASES = [
    (depth, rescale, way)
    for depth, rescale, way in itertools.product(DEPTHS, RESCALES, WAYS)
    # DCMTK rounds modality values to whole ones: 3 grey levels each where they are few or the table is steep.
    if rescale[0] >= 1 or (depth[0] > 10 and way != "table")
]


@pytest.mark.parametrize(("depth", "rescale", "way"), CASES, ids=str)
def test_grey_levels_are_those_of_dcmtk(
    depth: tuple[int, int, bool], rescale: tuple[float, float], way: str, tmp_path: Path
) -> None:
    bits, high, signed = depth
    slope, intercept = rescale
    elements, options = displayed(way, bits, signed, slope, intercept)
    values = smooth(bits, signed) << (high + 1 - bits)
    cell = 8 if bits == 8 else 16
    for photometric in ("MONOCHROME1", "MONOCHROME2"):
        content = coded(
            values, ExplicitVRLittleEndian, cell, BitsStored=bits, HighBit=high, PixelRepresentation=int(signed),
            RescaleSlope=slope, RescaleIntercept=intercept, PhotometricInterpretation=photometric, **elements,
        )  # fmt: skip
        alike(content, tmp_path, *options)


@pytest.mark.parametrize(
    ("syntax", "photometric"), list(itertools.product([*NATIVE, *OF_DCMTK], ["MONOCHROME1", "MONOCHROME2"])), ids=name
)
def test_transfer_syntaxes_show_what_they_show_in_dcmtk(syntax: UID, photometric: str, tmp_path: Path) -> None:
    bits = 8 if syntax == JPEGBaseline8Bit else 12
    elements, options = displayed("LINEAR", bits)
    alike(coded(smooth(bits), syntax, bits, PhotometricInterpretation=photometric, **elements), tmp_path, *options)


@pytest.mark.parametrize("syntax", OF_DCMTK_JPEG_LS, ids=name)
@pytest.mark.parametrize("bits", [8, 12, 16])
def test_jpeg_ls_shows_what_it_shows_in_dcmtk(syntax: UID, bits: int, tmp_path: Path) -> None:
    elements, options = displayed("LINEAR", bits)
    alike(coded(smooth(bits), syntax, bits, **elements), tmp_path, *options, program="dcml2pnm")


@pytest.mark.gdcm
@pytest.mark.parametrize("syntax", [JPEG2000Lossless, JPEG2000], ids=name)
@pytest.mark.parametrize(("bits", "signed"), [(8, False), (12, False), (12, True), (16, False)])
def test_jpeg_2000_shows_what_it_shows_in_gdcm(syntax: UID, bits: int, signed: bool, tmp_path: Path) -> None:
    elements, options = displayed("LINEAR", bits, signed)
    content = coded(smooth(bits, signed), syntax, bits, **elements)
    source, target = tmp_path / "coded.dcm", tmp_path / "raw.dcm"
    source.write_bytes(content)
    subprocess.run(["gdcmconv", "--raw", source, target], check=True, capture_output=True)
    theirs = by_dcmtk(target.read_bytes(), tmp_path, *options)
    assert np.abs(decode.decode(content).pixels.astype(np.int64) - theirs).max() <= MOST


@pytest.mark.parametrize("photometric", ["RGB", "YBR_FULL"])
def test_grey_pixels_in_colour_are_those_of_dcmtk(photometric: str, tmp_path: Path) -> None:
    grey = smooth(8).astype(np.uint8)
    samples = np.stack([grey, grey, grey], axis=-1)
    if photometric == "YBR_FULL":
        samples[..., 1:] = 128
    content = coded(
        grey.astype(np.int64), ExplicitVRLittleEndian, 8, SamplesPerPixel=3, PlanarConfiguration=0,
        PhotometricInterpretation=photometric, PixelData=samples.tobytes(),
    )  # fmt: skip
    alike(content, tmp_path)


def test_a_modality_table_shows_what_it_shows_in_dcmtk(tmp_path: Path) -> None:
    item = table(0, 12, [4095 - value for value in range(4096)])
    item.ModalityLUTType = "US"
    content = coded(
        smooth(12), ExplicitVRLittleEndian, 12, ModalityLUTSequence=[item], WindowCenter=2000, WindowWidth=3000
    )
    alike(content, tmp_path, "+Wi", "1")


def test_a_table_for_a_part_of_the_values_repeats_its_ends_as_in_dcmtk(tmp_path: Path) -> None:
    item = table(1000, 10, [round(1023 * (place / 1999) ** 0.5) for place in range(2000)])
    alike(coded(smooth(12), ExplicitVRLittleEndian, 12, VOILUTSequence=[item]), tmp_path, "+Wl", "1")


def test_a_signed_table_shows_what_it_shows_in_dcmtk(tmp_path: Path) -> None:
    item = Dataset()
    item.add_new("LUTDescriptor", "SS", [4096, -2048, 12])
    item.add_new("LUTData", "OW", np.arange(4095, -1, -1).astype("<u2").tobytes())
    alike(coded(smooth(12, signed=True), ExplicitVRLittleEndian, 12, VOILUTSequence=[item]), tmp_path, "+Wl", "1")


def test_a_frame_in_fragments_shows_what_it_shows_in_dcmtk(tmp_path: Path) -> None:
    def split(frame: bytes) -> bytes:
        return encapsulate([frame], fragments_per_frame=3)

    content = coded(smooth(12), JPEGLossless, 12, split, WindowCenter=2048, WindowWidth=4096)
    alike(content, tmp_path, "+Wi", "1")
