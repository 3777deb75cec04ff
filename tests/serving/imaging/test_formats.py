"""What is no image that is read is named, with what to do."""

import io
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from serving.errors import ImageError
from serving.imaging import decode, formats


def saved(kind: str) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (32, 32)).save(buffer, kind)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (saved("GIF"), "a GIF picture"),
        (saved("AVIF"), "an AVIF picture"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "a HEIC picture"),
        (b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic", "a HEIF picture"),
        (b"\0\0\0\x18ftypisom\0\0\0\0isomavc1", "a video"),
        (saved("PDF"), "a PDF document"),
        (b"<?xml version='1.0'?>\n<svg xmlns='http://www.w3.org/2000/svg'/>", "an SVG drawing"),
        (b"\xef\xbb\xbf <SVG/>", "an SVG drawing"),
        (b"<!DOCTYPE html><html></html>", "a web page"),
        (saved("JPEG2000"), "a JPEG 2000 picture"),
        (b"\xff\x4f\xff\x51\0\x29", "a JPEG 2000 picture"),
        (saved("ICO"), "an icon"),
        (b"PK\3\4\x14\0", "a ZIP archive"),
        (b"\x1f\x8b\x08\0", "compressed with gzip"),
        (b"RIFF\x24\0\0\0WAVEfmt ", "a sound or a video"),
        (b"II*\0" + bytes(100), "a TIFF file of an unusual kind"),
    ],
)
def test_a_file_that_is_not_read_is_named_with_what_to_do(content: bytes, kind: str) -> None:
    with pytest.raises(ImageError) as caught:
        decode.inspect(content)
    assert caught.value.code == "unsupported_format"
    assert caught.value.message.startswith(f"the file is {kind}")
    assert "which is not read; " in caught.value.message


def test_a_file_of_no_known_kind_is_told_what_is_read() -> None:
    assert formats.refusal(b"This is not a radiograph.") == "the file is no JPEG, PNG, WebP, BMP, TIFF or DICOM image"


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_deflate", "packbits"])
@pytest.mark.parametrize("share", [0.1, 0.4, 0.9, 0.99])
def test_a_tiff_whose_directory_was_cut_off_is_told_to_be_cut_short(
    compression: str, share: float, draw: Callable[[int], npt.NDArray[np.uint8]], encode: Callable[..., bytes]
) -> None:
    content = encode(draw(1), "TIFF", compression=compression)
    with pytest.raises(ImageError, match="cut short; send it again whole") as caught:
        decode.inspect(content[: int(share * int.from_bytes(content[4:8], "little"))])
    assert caught.value.code == "undecodable"


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"II*\0\x08\0\0\0\1\0" + bytes(16), False),
        (b"II*\0\x08\0\0\0\2\0" + bytes(16), True),
        (b"MM\0*\0\0\0\x08\0\1" + bytes(16), False),
        (b"MM\0*\0\0\1\0" + bytes(16), True),
        (b"II+\0\x08\0\0\0\x10" + bytes(7) + b"\1" + bytes(27), False),
        (b"II+\0\x08\0\0\0\x10" + bytes(7) + b"\1" + bytes(26), True),
        (b"MM\0+\0\x08\0\0" + bytes(6) + b"\1\0", True),
        (b"II+\0\x08\0\0\0" + b"\xff" * 8, True),
        (b"II*", False),
        (b"\x89PNG", False),
    ],
)
def test_a_tiff_is_cut_short_where_its_directory_is_not_all_there(content: bytes, expected: bool) -> None:
    assert formats.is_tiff_cut_short(content) is expected


def test_a_tiff_of_doubles_is_refused_with_what_to_do(encode: Callable[..., bytes]) -> None:
    content = encode(np.zeros((4, 4), np.float32), "TIFF")
    # Bits per sample (tag 258) from 32 to 64, which Pillow has no mode for.
    doubles = content.replace(b"\x02\x01\x03\0\x01\0\0\0\x20\0", b"\x02\x01\x03\0\x01\0\0\0\x40\0")
    assert doubles != content
    with pytest.raises(ImageError, match="TIFF file of an unusual kind"):
        decode.inspect(doubles)
