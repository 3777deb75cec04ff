"""Headers of compressed frames are checked before a decoder sees the frame."""

import struct
import time
from functools import partial
from typing import Any

import numpy as np
import pytest
from pydicom import uid
from pydicom.encaps import encapsulate
from pydicom.uid import UID, JPEG2000Lossless, JPEGLSLossless

from serving.errors import ImageError
from serving.imaging import decode
from tests.serving.imaging.dicom.builders import COMPRESSED, coded, fault, name, picture, radiograph, refusal, segment


@pytest.mark.parametrize("syntax", COMPRESSED, ids=name)
@pytest.mark.parametrize("size", [{"Rows": 14}, {"Rows": 12}, {"Columns": 18}, {"Columns": 16}], ids=str)
def test_a_frame_of_another_size_than_its_object_says_is_undecodable(syntax: UID, size: dict[str, Any]) -> None:
    assert fault(coded(picture(8), syntax, 8, **size)) == "undecodable"


@pytest.mark.parametrize("changed", [{41: 2}, {43: 2}, {44: 2}], ids=["components", "across", "down"])
def test_jpeg_2000_with_several_or_coarser_components_is_undecodable(changed: dict[int, int]) -> None:
    def pack(frame: bytes) -> bytes:
        return encapsulate([bytes(changed.get(place, value) for place, value in enumerate(frame))])

    assert "do not fit" in refusal(coded(picture(8), JPEG2000Lossless, 8, pack)).message


@pytest.mark.parametrize("syntax", [JPEG2000Lossless, uid.JPEG2000], ids=name)
def test_a_jpeg_2000_codestream_may_stand_in_its_file_format(syntax: UID) -> None:
    def boxed(frame: bytes) -> bytes:
        return encapsulate([b"\0\0\0\x0cjP  \r\n\x87\n" + struct.pack(">L4s", 8 + len(frame), b"jp2c") + frame])

    build = partial(coded, picture(8), syntax, 8)
    np.testing.assert_array_equal(decode.decode(build(boxed)).pixels, decode.decode(build()).pixels)


@pytest.mark.parametrize(
    ("syntax", "stream"),
    [
        # SOC and SIZ: profile, width and height of the reference grid, its offsets, tiles, and the components
        (JPEG2000Lossless, "ff4fff51 0029 0000 00007530 00007530" + 24 * "00" + "0001 0f 01 01"),
        # SOI, an APP0 to step over, SOF55: 16 bits, height, width
        (JPEGLSLossless, "ffd8 ffe0 0004 abcd fff7 000b 10 7530 7530"),
    ],
)
def test_a_compressed_image_larger_than_its_object_says_is_refused(syntax: UID, stream: str) -> None:
    content = radiograph(syntax=syntax, PixelData=encapsulate([bytes.fromhex(stream)]))
    with pytest.raises(ImageError, match="do not fit Rows x Columns, 2 x 2"):
        decode.decode(content)


def test_a_jpeg_ls_stream_that_ends_within_a_code_is_not_waited_for() -> None:
    frame = b"\xff\xd8" + segment(0xF7, struct.pack(">BHHBBBB", 16, 2, 2, 1, 1, 0x11, 0))
    frame += segment(0xDA, bytes([1, 1, 0, 0, 0, 0])) + b"\x20\0"
    started = time.process_time()
    assert fault(radiograph(syntax=JPEGLSLossless, PixelData=encapsulate([frame]))) == "undecodable"
    assert time.process_time() - started < 2
