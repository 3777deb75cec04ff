"""The network's file as a browser takes it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

from pipeline.packaging import web_network
from serving import bundle
from serving.bundle import Bundle
from serving.network import Network

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def released() -> Bundle:
    return bundle.read(sorted(ROOT.glob("models/*/bundle"))[0])


def test_the_network_keeps_its_answers_without_a_batch_of_any_size(released: Bundle, tmp_path: Path) -> None:
    path = tmp_path / "fixed.tflite"
    path.write_bytes(web_network.fixed_batch(released.content_of(bundle.MODEL)))
    details = Interpreter(model_path=str(path)).get_input_details()[0]
    size = released.preprocessing.image_size
    assert details["shape_signature"].tolist() == details["shape"].tolist() == [1, size, size, 1]
    pixels = np.random.default_rng(0).integers(0, 256, (size, size), np.uint8)
    ours, theirs = Network(path)(pixels), Network(released.network)(pixels)
    for name, values in theirs.items():
        np.testing.assert_array_equal(ours[name], values)


def test_rounded_weights_end_in_zeros_and_lie_next_to_the_published_ones(released: Bundle) -> None:
    published = released.content_of(bundle.MODEL)
    shorter = web_network.rounded(published, 13)
    for start, count in web_network.weights_of(published):
        before, after = (np.frombuffer(content, "<f4", count, start) for content in (published, shorter))
        assert not (after.view("<u4") & 0x3FF).any()
        np.testing.assert_allclose(after, before, rtol=2.0**-14, atol=0)


def test_nearly_all_of_the_file_is_rounded_and_the_rest_stays(released: Bundle) -> None:
    published = released.content_of(bundle.MODEL)
    shorter = bytearray(web_network.rounded(published, 13))
    weights = web_network.weights_of(published)
    assert sum(4 * count for _, count in weights) > 0.97 * len(published)
    for start, count in weights:
        shorter[start : start + 4 * count] = published[start : start + 4 * count]
    assert bytes(shorter) == published


@pytest.mark.parametrize(
    ("bits", "given", "wanted"),
    [
        (13, 0x3F800200, 0x3F800000),  # halfway, to the even one below
        (13, 0x3F800600, 0x3F800800),  # halfway, to the even one above
        (13, 0x3F800201, 0x3F800400),
        (13, 0x7F7FFFFF, 0x7F7FFFFF),  # would become infinite
        (13, 0x7F800000, 0x7F800000),
        (23, 0x3F800001, 0x3F800001),
    ],
)
def test_a_mantissa_is_rounded_to_the_nearest(bits: int, given: int, wanted: int) -> None:
    assert web_network._shortened(np.array([given], np.uint32), 23 - bits).tolist() == [wanted]


def test_planes_hold_the_bytes_of_equal_place_together() -> None:
    assert web_network.by_planes(b"abcdABCDxy") == b"aAbBcCdDxy"


def test_the_published_weights_are_taken_where_rounded_ones_answer_otherwise(
    released: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web_network, "CLOSE", -1.0)
    few = replace(released, manifest=released.manifest.model_copy(update={"files": _one_sample(released)}))
    content, weights = web_network.for_browser(few)
    assert content == web_network.fixed_batch(released.content_of(bundle.MODEL))
    assert weights.words == "float32, as published"


def _one_sample(released: Bundle) -> dict[str, str]:
    keep = released.manifest.samples[0]
    return {name: sha for name, sha in released.manifest.files.items() if name == keep or "samples/" not in name}
