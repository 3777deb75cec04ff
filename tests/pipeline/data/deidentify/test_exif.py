"""The orientation stays, and nothing else of a picture's metadata."""

import pytest

from pipeline.data.deidentify import ORIENTATION, deidentify
from tests.pipeline.data.deidentify.builders import NAME, exif, orientation, picture, saved, with_segment


@pytest.mark.parametrize("turned", [3, 6, 8])
def test_a_jpeg_keeps_its_orientation_and_nothing_else_of_its_exif(turned: int) -> None:
    content = deidentify(saved(picture(), "JPEG", exif=exif(turned)), ".jpg")
    assert orientation(content) == turned
    assert NAME not in content


def test_an_orientation_that_only_xmp_gives_is_kept() -> None:
    xmp = b'http://ns.adobe.com/xap/1.0/\0<x tiff:Orientation="6" who="Doe^Jane"/>'
    content = deidentify(with_segment(saved(picture(), "JPEG"), 0xE1, xmp), ".jpg")
    assert orientation(content) == 6
    assert NAME not in content


def test_a_broken_exif_block_is_removed() -> None:
    plain = saved(picture(), "JPEG")
    assert deidentify(with_segment(plain, 0xE1, b"Exif\0\0II*\0\xff\xff\xff\xff"), ".jpg") == plain


def test_a_png_keeps_its_orientation_and_nothing_else_of_its_exif() -> None:
    content = deidentify(saved(picture(), "PNG", exif=exif(6)), ".png")
    assert orientation(content) == 6
    assert NAME not in content


def test_a_tiff_keeps_its_orientation() -> None:
    assert orientation(deidentify(saved(picture(), "TIFF", tiffinfo={ORIENTATION: 6}), ".tif")) == 6
