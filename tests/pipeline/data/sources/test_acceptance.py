"""Files that the service refuses before its network looks enter no data set."""

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipeline.data.sources.acceptance import Acceptance
from serving.errors import SettingsError
from serving.http.settings import Settings
from tests.serving.imaging.dicom.builders import radiograph

SLOPE = np.arange(64 * 64).reshape(64, 64)
GRADIENT = Image.linear_gradient("L")


def file(image: Image.Image = GRADIENT, kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def several(kind: str) -> bytes:
    return file(GRADIENT, kind, save_all=True, append_images=[GRADIENT.rotate(180)])


def photograph() -> bytes:
    colours = np.random.default_rng(1).integers(0, 256, (64, 64, 3), np.uint8)
    return file(Image.fromarray(colours))


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "empty"),
        (b"GIF89a" + bytes(99), "unsupported_format"),
        (file(kind="TIFF")[:300], "undecodable"),
        (file(kind="JPEG")[:500], "undecodable"),
        (file(GRADIENT.resize((31, 31))), "too_small"),
        (several("PNG"), "too_many_frames"),
        (several("TIFF"), "too_many_frames"),
        (file(Image.new("L", (64, 64), 90)), "blank"),
        (photograph(), "colour_photograph"),
        (radiograph(SLOPE, Modality="CT"), "out_of_scope"),
        (radiograph(SLOPE, BodyPartExamined="CHEST"), "out_of_scope"),
        (radiograph(PixelData=None, Rows=None), "no_pixels"),
        (radiograph(SLOPE, PhotometricInterpretation="HSV"), "unsupported_dicom"),
    ],
)
def test_what_the_service_refuses_is_not_accepted(content: bytes, code: str) -> None:
    assert Acceptance().problem(content).startswith(f"the service refuses ({code}: ")


@pytest.mark.parametrize("content", [file(), file(kind="TIFF"), radiograph(SLOPE, Modality="DX")])
def test_what_the_service_answers_is_accepted(content: bytes) -> None:
    assert Acceptance().problem(content) == ""


def test_the_limit_of_pixels_is_that_of_the_service() -> None:
    few = Acceptance(settings=Settings(max_pixels=256 * 256 - 1))
    assert "too_many_pixels" in few.problem(file())
    assert Acceptance().settings.max_pixels == Settings().max_pixels


def test_the_variables_of_the_service_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FRACTURE_SCOPE", "warn")
    assert Acceptance().problem(radiograph(SLOPE, Modality="CT")) == ""
    monkeypatch.setenv("FRACTURE_MAX_PIXELS", "many")
    with pytest.raises(SettingsError, match="FRACTURE_MAX_PIXELS"):
        Acceptance()
