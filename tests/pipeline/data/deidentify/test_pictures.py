"""JPEG, PNG and BMP without what identifies a person."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageFile, PngImagePlugin

from pipeline.data.deidentify import ORIENTATION, deidentify
from serving.imaging import decode
from tests.pipeline.data.deidentify.builders import NAME, exif, picture, pixels, saved, with_segment


@pytest.mark.parametrize("marker", [0xE1, 0xE2, 0xED, 0xEF, 0xFE])
def test_a_jpeg_loses_application_segments_and_comments(marker: int) -> None:
    plain = saved(picture(), "JPEG")
    assert deidentify(with_segment(plain, marker, NAME), ".jpg") == plain


def test_a_jpeg_without_metadata_stays_byte_for_byte() -> None:
    plain = saved(picture("RGB"), "JPEG", progressive=True)
    assert deidentify(plain, ".jpg") == plain


def test_a_jpeg_with_restart_markers_keeps_its_scan() -> None:
    plain = saved(picture("RGB", (64, 64)), "JPEG", restart_marker_blocks=1)
    assert deidentify(plain, ".jpg") == plain


def test_the_thumbnail_of_a_jfif_header_is_removed() -> None:
    plain = saved(picture(), "JPEG")
    header = b"JFIF\0\x01\x01\0\0\x01\0\x01\x01\x01" + b"abc"
    assert plain[6:11] == b"JFIF\0"
    content = with_segment(b"\xff\xd8" + plain[20:], 0xE0, header)
    assert deidentify(content, ".jpg") == plain


def test_a_jpeg_keeps_the_adobe_header_that_says_how_its_colours_are_coded() -> None:
    source = saved(Image.merge("CMYK", [picture()] * 4), "JPEG")
    assert b"Adobe" in source
    assert pixels(deidentify(source, ".jpg")) == pixels(source)


def test_what_follows_the_end_of_a_jpeg_is_removed() -> None:
    plain = saved(picture(), "JPEG")
    assert deidentify(plain + NAME, ".jpg") == plain


def test_a_truncated_jpeg_is_kept_as_far_as_it_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    source = saved(picture(size=(64, 64)), "JPEG", exif=exif())[:-500]
    content = deidentify(source, ".jpg")
    assert NAME not in content
    assert pixels(content) == pixels(source)


def test_a_png_loses_its_text_and_time() -> None:
    notes = PngImagePlugin.PngInfo()
    notes.add_text("Patient", NAME.decode())
    notes.add_itxt("Patient", NAME.decode())
    notes.add_text("Patient", NAME.decode(), zip=True)
    notes.add(b"tIME", bytes(7))
    assert deidentify(saved(picture(), "PNG", pnginfo=notes), ".png") == saved(picture(), "PNG")


def test_a_png_of_16_bit_keeps_its_pixels() -> None:
    source = saved(picture("I;16"), "PNG")
    assert pixels(deidentify(source, ".png")) == pixels(source)


def test_a_truncated_png_is_kept_as_far_as_it_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    source = saved(picture(size=(64, 64)), "PNG", exif=exif())[:-1500]
    content = deidentify(source, ".png")
    assert NAME not in content
    assert pixels(content) == pixels(source)


def test_a_bmp_stays_as_it_is() -> None:
    source = saved(picture(), "BMP")
    assert deidentify(source, ".bmp") == source


def test_what_follows_the_end_of_a_bmp_is_removed() -> None:
    source = saved(picture(), "BMP")
    assert deidentify(source + NAME, ".bmp") == source


def test_a_chunk_after_the_end_of_a_png_is_removed() -> None:
    plain = saved(picture(), "PNG")
    chunk = struct.pack(">I", len(NAME)) + b"tEXt" + NAME + struct.pack(">I", zlib.crc32(b"tEXt" + NAME))
    assert deidentify(plain + chunk, ".png") == plain


@pytest.mark.parametrize("orientation", [1, 6])
@pytest.mark.parametrize("lossless", [True, False])
def test_a_webp_file_loses_its_metadata_and_keeps_pixels_and_orientation(orientation: int, lossless: bool) -> None:
    exif = Image.Exif()
    exif[ORIENTATION], exif[0x010E] = orientation, NAME.decode()
    buffer = io.BytesIO()
    xmp = b"<x:xmpmeta>" + NAME + b"</x:xmpmeta>"
    picture("RGB").save(buffer, "WEBP", lossless=lossless, exif=exif, xmp=xmp, icc_profile=NAME * 20)
    content = buffer.getvalue()
    result = deidentify(content + b"tail" + NAME, ".webp")
    assert NAME not in result
    assert decode.inspect(result) == decode.inspect(content)
    np.testing.assert_array_equal(decode.decode(result).pixels, decode.decode(content).pixels)


def test_a_webp_file_without_metadata_is_kept_as_it_is() -> None:
    buffer = io.BytesIO()
    picture("L").save(buffer, "WEBP")
    assert deidentify(buffer.getvalue(), ".webp") == buffer.getvalue()
