"""De-identification as a whole."""

import pytest

from pipeline.data.deidentify import deidentify
from pipeline.errors import InputError
from tests.pipeline.data.deidentify.builders import picture, saved


@pytest.mark.parametrize("content", [b"hello", b"GIF89a", b"RIFF", b"\x00" * 200])
def test_an_unknown_format_is_refused(content: bytes) -> None:
    with pytest.raises(InputError, match=r"is no JPEG, PNG, WebP, BMP, TIFF or DICOM image|which is not read; "):
        deidentify(content, ".jpg")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "BMP"])
def test_doing_it_twice_changes_nothing_more(kind: str) -> None:
    once = deidentify(saved(picture(), kind), "")
    assert deidentify(once, "") == once


def test_a_file_that_is_no_image_is_named() -> None:
    with pytest.raises(InputError, match=r"^is a GIF picture, which is not read; save it as PNG$"):
        deidentify(b"GIF89a" + bytes(50), ".jpg")
