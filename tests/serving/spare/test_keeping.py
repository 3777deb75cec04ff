"""A folder of answered pictures, without their headers, and bounded."""

import io
import os
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from serving.errors import ImageError
from serving.spare.keeping import ImageFolder
from tests.conftest import Draw, Encode
from tests.serving.imaging.dicom import builders

ID, OTHER = "a" * 32, "b" * 32
DAY = 86_400.0


def _folder(folder: Path, **changes: float) -> ImageFolder:
    return ImageFolder(folder, **{"days": 1.0, "most_bytes": 1e6, **changes})  # type: ignore[arg-type]


def test_a_picture_is_kept_under_its_answers_id(tmp_path: Path, draw: Draw, encode: Encode) -> None:
    pixels = draw(1)
    assert _folder(tmp_path).keep(ID, encode(pixels)) == ""
    assert np.array_equal(np.asarray(Image.open(tmp_path / f"{ID}.png")), pixels)
    assert [path.name for path in tmp_path.iterdir()] == [f"{ID}.png"]


def test_only_its_owner_can_read_it(tmp_path: Path, draw: Draw, encode: Encode) -> None:
    _folder(tmp_path).keep(ID, encode(draw(1)))
    assert (tmp_path / f"{ID}.png").stat().st_mode & 0o777 == 0o600


def test_nothing_that_the_file_says_of_its_patient_is_kept(tmp_path: Path, draw: Draw, encode: Encode) -> None:
    note = PngInfo()
    note.add_text("Patient", "Doe_Jane")
    _folder(tmp_path).keep(ID, encode(draw(1), pnginfo=note))
    dicom = builders.radiograph(draw(2).astype(np.uint16) * 16, PatientName="Doe_Jane", PatientID="4711")
    _folder(tmp_path).keep(OTHER, dicom)
    kept = [path.read_bytes() for path in tmp_path.iterdir()]
    assert len(kept) == 2
    assert not any(b"Doe" in content or b"4711" in content for content in kept)


def test_a_turned_photograph_is_kept_upright(tmp_path: Path, draw: Draw) -> None:
    buffer, exif = io.BytesIO(), Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(draw(1, 40, 60)).save(buffer, "JPEG", exif=exif)
    _folder(tmp_path).keep(ID, buffer.getvalue())
    assert Image.open(tmp_path / f"{ID}.png").size == (60, 40)


def test_pixels_with_text_burned_in_are_not_kept(tmp_path: Path) -> None:
    content = builders.radiograph(BurnedInAnnotation="YES")
    assert _folder(tmp_path).keep(ID, content) == "burned_in"
    assert not list(tmp_path.iterdir())


def test_a_full_folder_takes_no_more(tmp_path: Path, draw: Draw, encode: Encode) -> None:
    folder = _folder(tmp_path, most_bytes=5000)
    content = encode(np.random.default_rng(0).integers(0, 256, (60, 60), np.uint8))
    assert [folder.keep(f"{number:032x}", content) for number in range(3)] == ["", "full", "full"]


def test_what_is_too_old_is_deleted_and_gives_its_room_back(tmp_path: Path, draw: Draw, encode: Encode) -> None:
    now = time.time()
    folder = _folder(tmp_path)
    folder.keep(ID, encode(draw(1)))
    os.utime(tmp_path / f"{ID}.png", (now - 2 * DAY, now - 2 * DAY))
    (tmp_path / f".{OTHER}.partial").touch()
    os.utime(tmp_path / f".{OTHER}.partial", (now - DAY, now - DAY))
    folder.sweep()
    assert not list(tmp_path.iterdir())


def test_somebody_elses_files_are_left_alone(tmp_path: Path) -> None:
    for name in ("holiday.png", "notes.txt", f"{ID}.jpg"):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (0, 0))
    _folder(tmp_path).sweep()
    assert len(list(tmp_path.iterdir())) == 3


def test_a_file_that_cannot_be_decoded_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ImageError):
        _folder(tmp_path).keep(ID, b"\x89PNG\r\n\x1a\n")
    assert not list(tmp_path.iterdir())
