"""Compressed pixels without what is no pixel."""

import io
import struct
from typing import Any

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import (
    JPEG2000,
    UID,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from serving.imaging import decode
from serving.imaging.dicom.deidentify.confidential import RefusedError, deidentify
from tests.serving.imaging.dicom.builders import FRAMES, coded, picture, segment
from tests.serving.imaging.dicom.deidentify.planted import KEY, NAME, ROOT, marks_in

MARK = NAME.encode()


def written(syntax: UID, change: Any, bits: int = 12, **elements: Any) -> bytes:
    """The export of an object whose frame was changed."""
    content = coded(
        picture(bits), syntax, bits, lambda frame: encapsulate([change(frame)]),
        StudyInstanceUID=ROOT, SOPInstanceUID=ROOT, **elements,
    )  # fmt: skip
    assert MARK in content
    result = deidentify(content, KEY).content
    np.testing.assert_array_equal(decode.decode(result).pixels, decode.decode(content).pixels)
    return result


def after_start(marker: int) -> Any:
    return lambda frame: frame[:2] + segment(marker, MARK) + frame[2:]


def before_end(frame: bytes) -> bytes:
    end = frame.rfind(b"\xff\xd9")
    return frame[:end] + segment(0xFE, MARK) + frame[end:]


@pytest.mark.parametrize("syntax", [JPEGBaseline8Bit, JPEGLosslessSV1, JPEGLSLossless], ids=lambda syntax: syntax.name)
@pytest.mark.parametrize("marker", [0xE0, 0xE1, 0xEF, 0xFE])
def test_a_jpeg_stream_loses_application_segments_and_comments(syntax: UID, marker: int) -> None:
    bits = 8 if syntax == JPEGBaseline8Bit else 12
    assert marks_in(written(syntax, after_start(marker), bits)) == []


@pytest.mark.parametrize("syntax", [JPEGBaseline8Bit, JPEGLosslessSV1], ids=lambda syntax: syntax.name)
def test_a_jpeg_stream_loses_a_comment_after_its_scan(syntax: UID) -> None:
    assert marks_in(written(syntax, before_end, 8 if syntax == JPEGBaseline8Bit else 12)) == []


@pytest.mark.parametrize(
    "syntax", [JPEGBaseline8Bit, JPEGLosslessSV1, JPEGLSLossless, JPEG2000Lossless], ids=lambda s: s.name
)
def test_bytes_after_the_end_of_a_stream_are_left_out(syntax: UID) -> None:
    bits = 8 if syntax == JPEGBaseline8Bit else 12
    assert marks_in(written(syntax, lambda frame: frame + MARK, bits)) == []


def commented_2000(frame: bytes) -> bytes:
    """A JPEG 2000 stream with a comment in its main header and one in that of its tile-part."""
    tile = frame.index(b"\xff\x90\x00\x0a")
    start = frame.index(b"\xff\x93", tile)
    comment = segment(0x64, b"\0\1" + MARK)
    (length,) = struct.unpack_from(">L", frame, tile + 6)
    head = frame[tile : tile + 6] + struct.pack(">L", length and length + len(comment)) + frame[tile + 10 : start]
    return frame[:tile] + comment + head + comment + frame[start:]


def test_a_jpeg_2000_stream_loses_comments_in_both_headers() -> None:
    assert marks_in(written(JPEG2000Lossless, commented_2000)) == []


def test_boxes_around_a_jpeg_2000_stream_are_left_out() -> None:
    box = struct.pack(">L4s", 8 + len(MARK), b"xml ") + MARK
    signature = b"\0\0\0\x0cjP  \r\n\x87\n"
    assert marks_in(written(JPEG2000, lambda frame: signature + box + frame)) == []


def test_a_compressed_stream_is_not_encoded_again() -> None:
    content = coded(picture(12), JPEGLSLossless, 12, StudyInstanceUID=ROOT, SOPInstanceUID=ROOT)
    result = pydicom.dcmread(io.BytesIO(deidentify(content, KEY).content))
    frame = FRAMES[JPEGLSLossless](picture(12).astype(np.uint16), 12)
    assert next(generate_frames(result.PixelData)).rstrip(b"\0") == frame.rstrip(b"\0")


def test_rle_becomes_uncompressed_so_that_nothing_lies_between_its_segments() -> None:
    found = pydicom.dcmread(io.BytesIO(written(RLELossless, lambda frame: frame + MARK + b" ")))
    assert found.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian


def test_a_lossy_stream_is_declared_lossy() -> None:
    found = pydicom.dcmread(io.BytesIO(written(JPEGBaseline8Bit, after_start(0xFE), 8)))
    assert found.LossyImageCompression == "01"


@pytest.mark.parametrize("share", [0.3, 0.9])
@pytest.mark.parametrize("syntax", [JPEGBaseline8Bit, JPEGLosslessSV1, JPEGLSLossless, JPEG2000Lossless, RLELossless])
def test_a_stream_cut_short_is_refused(syntax: UID, share: float) -> None:
    bits = 8 if syntax == JPEGBaseline8Bit else 12
    content = coded(
        picture(bits), syntax, bits, lambda frame: encapsulate([frame[: int(len(frame) * share) & ~1]]),
        StudyInstanceUID=ROOT, SOPInstanceUID=ROOT,
    )  # fmt: skip
    with pytest.raises(RefusedError) as caught:
        deidentify(content, KEY)
    assert caught.value.code in {"broken", "changed"}


def test_a_grey_jpeg_in_colours_keeps_its_grey_levels() -> None:
    buffer = io.BytesIO()
    grey = Image.fromarray((picture(8)).astype(np.uint8))
    grey.convert("RGB").save(buffer, "JPEG", quality=95, comment=MARK)
    content = coded(
        picture(8), JPEGBaseline8Bit, 8, lambda _: encapsulate([buffer.getvalue()]), SamplesPerPixel=3,
        PlanarConfiguration=0, PhotometricInterpretation="YBR_FULL_422", StudyInstanceUID=ROOT, SOPInstanceUID=ROOT,
    )  # fmt: skip
    result = deidentify(content, KEY).content
    assert marks_in(result) == []
    np.testing.assert_array_equal(decode.decode(result).pixels, decode.decode(content).pixels)
