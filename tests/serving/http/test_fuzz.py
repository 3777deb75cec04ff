"""Whatever bytes come in, prediction answers or says why not; it never fails."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from serving import bundle
from serving.errors import ImageError
from serving.http.problems import PROBLEMS
from serving.predictor import Limits, Predictor

Mutations = list[tuple[float, bytes]]
MUTATIONS = st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.binary(min_size=1, max_size=6)), max_size=12)
EXAMPLES = 200


@pytest.fixture(scope="module")
def predict(bundle_folder: Path) -> Callable[[bytes], str]:
    """Give a function from bytes to the code of an error, or `answered`."""
    predictor = Predictor(bundle.read(bundle_folder), Limits(max_pixels=1_000_000))

    def ask(content: bytes) -> str:
        refused = None
        try:
            found = predictor.predict(content)
        except ImageError as error:
            refused = error
        if refused is not None:
            assert refused.code in PROBLEMS
            assert "\n" not in refused.message
            return refused.code
        assert 0 <= found.probability <= 1
        found.evidence()
        return "answered"

    return ask


def _mutated(content: bytes, mutations: Mutations, cut: float) -> bytes:
    changed = bytearray(content)
    for place, new in mutations:
        start = int(place * len(changed))
        changed[start : start + len(new)] = new
    return bytes(changed[: max(1, int(cut * len(changed)))])


def _encoded(kind: str, mode: str, picture: Path) -> bytes:
    image = Image.open(picture).convert("L").resize((120, 160))
    if mode == "I;16":
        image = Image.fromarray(np.asarray(image, np.uint16) * 256)
    elif mode != "L":
        image = image.convert(mode)
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("kind", "mode"),
    [("JPEG", "L"), ("JPEG", "RGB"), ("JPEG", "CMYK"), ("PNG", "L"), ("PNG", "P"), ("PNG", "I;16"), ("BMP", "RGB"),
     ("TIFF", "L"), ("TIFF", "I;16")],
)  # fmt: skip
def test_a_mutated_picture_is_answered_or_refused(
    predict: Callable[[bytes], str], bundle_folder: Path, kind: str, mode: str
) -> None:
    content = _encoded(kind, mode, sorted((bundle_folder / "samples").iterdir())[0])
    assert predict(content) in {"answered", "not_a_radiograph"}

    @given(mutations=MUTATIONS, cut=st.floats(0.2, 1))
    @settings(max_examples=EXAMPLES)
    def ask(mutations: Mutations, cut: float) -> None:
        predict(_mutated(content, mutations, cut))

    ask()


@given(content=st.binary(max_size=300))
def test_random_bytes_are_refused(predict: Callable[[bytes], str], content: bytes) -> None:
    assert predict(content) != "answered"


@pytest.mark.parametrize("start", [b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"BM", b"II*\x00", bytes(128) + b"DICM"])
def test_random_bytes_behind_a_known_start_are_refused(predict: Callable[[bytes], str], start: bytes) -> None:
    @given(content=st.binary(max_size=400))
    @settings(max_examples=EXAMPLES)
    def ask(content: bytes) -> None:
        assert predict(start + content) != "answered"

    ask()
