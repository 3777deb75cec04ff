"""TIFF without what identifies a person."""

import io
import struct

import pytest
from PIL import Image

from pipeline.data.deidentify import deidentify
from pipeline.errors import InputError
from tests.pipeline.data.deidentify.builders import NAME, picture, pixels, saved


@pytest.mark.parametrize("compression", ["raw", "tiff_lzw", "tiff_deflate", "packbits", "jpeg"])
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_a_tiff_keeps_its_pixels_and_loses_its_tags(mode: str, compression: str) -> None:
    tags = {270: NAME.decode(), 315: NAME.decode(), 305: NAME.decode()}
    source = saved(picture(mode), "TIFF", compression=compression, tiffinfo=tags)
    content = deidentify(source, ".tif")
    assert NAME in source
    assert NAME not in content
    assert pixels(content) == pixels(source)


def test_a_tiff_of_16_bit_keeps_its_pixels() -> None:
    source = saved(picture("I;16"), "TIFF")
    assert pixels(deidentify(source, ".tif")) == pixels(source)


def test_every_page_of_a_tiff_is_kept() -> None:
    source = saved(picture(), "TIFF", save_all=True, append_images=[picture("RGB")])
    with Image.open(io.BytesIO(deidentify(source, ".tif"))) as image:
        image.seek(1)
        assert image.tobytes() == picture("RGB").tobytes()


@pytest.mark.parametrize("content", [b"II*\0", b"MM\0*\xff\xff\xff\xff"])
def test_a_tiff_without_its_directory_is_told_to_be_cut_short(content: bytes) -> None:
    with pytest.raises(InputError, match=r"cut short; copy it again whole$"):
        deidentify(content, ".tif")


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_deflate"])
def test_a_tiff_cut_in_its_pixels_is_told_to_be_cut_short(compression: str) -> None:
    source = saved(picture(), "TIFF", compression=compression)
    with pytest.raises(InputError, match=r"cut short; copy it again whole$"):
        deidentify(source[: len(source) // 2], ".tif")


@pytest.mark.parametrize("content", [b"II*\0\x08\0\0\0\0\0\0\0\0\0"])
def test_a_broken_tiff_is_refused(content: bytes) -> None:
    with pytest.raises(InputError, match="broken TIFF"):
        deidentify(content, ".tif")


def test_a_tiff_whose_pages_run_in_a_circle_is_refused() -> None:
    source = bytearray(saved(picture(), "TIFF"))
    start = struct.unpack_from("<I", source, 4)[0]
    (count,) = struct.unpack_from("<H", source, start)
    struct.pack_into("<I", source, start + 2 + 12 * count, start)
    with pytest.raises(InputError, match="broken TIFF"):
        deidentify(bytes(source), ".tif")
