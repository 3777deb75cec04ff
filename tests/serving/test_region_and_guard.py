"""What an answer says of region and guard, from a bundle with image heads."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from serving import bundle
from serving.errors import ImageError
from serving.http import telemetry
from serving.image_heads import GuardHead, ImageHeads, RegionHead
from serving.network import EMBEDDING
from serving.predictor import Predictor
from serving.statistics import TEXTURE

WithHeads = Callable[[float, float], Predictor]


@pytest.fixture(scope="module")
def content(bundle_folder: Path) -> bytes:
    return next((bundle_folder / bundle.SAMPLES).glob("*.png")).read_bytes()


@pytest.fixture(scope="module")
def with_heads(bundle_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> WithHeads:
    """Give a function that makes a predictor whose heads always say the same: leg, and these log odds."""
    length = len(Predictor(bundle.read(bundle_folder))._network(np.zeros((96, 96), np.uint8))[EMBEDDING][0])

    def make(log_odds: float, leg: float) -> Predictor:
        folder = tmp_path_factory.mktemp("heads") / "bundle"
        shutil.copytree(bundle_folder, folder)
        region = RegionHead(("hand", "leg"), np.zeros((2, length)), np.array([-3.0, leg]), 0.5)
        ImageHeads(region, GuardHead(np.zeros(length + TEXTURE), log_odds, -1.0, 1.0)).save(folder / bundle.IMAGE_HEADS)
        facts = bundle.read(bundle_folder).manifest.model_dump(exclude={"files", "digest", "schema_version"})
        facts["quality"]["weak_regions"] = {"leg": "3 fractured of 40"}
        bundle.write(folder, facts)
        return Predictor(bundle.read(folder))

    return make


def _codes(predictor: Predictor, content: bytes) -> set[str]:
    return {note.code for note in predictor.predict(content).warnings}


def test_the_answer_names_the_likeliest_region(with_heads: WithHeads, content: bytes) -> None:
    region = with_heads(5, 2).predict(content).answer()["region"]
    assert region["name"] == "leg"
    assert region["probability"] == pytest.approx(0.880797, abs=1e-6)


def test_a_region_the_model_is_not_shown_to_be_good_for_is_warned_of(with_heads: WithHeads, content: bytes) -> None:
    notes = {note.code: note.detail for note in with_heads(5, 2).predict(content).warnings}
    assert "3 fractured of 40" in notes["weak_region"]


def test_an_image_without_a_likely_region_is_answered_with_a_warning(with_heads: WithHeads, content: bytes) -> None:
    codes = _codes(with_heads(5, -1), content)
    assert "unknown_region" in codes
    assert "weak_region" not in codes


def test_the_region_of_the_header_wins(with_heads: WithHeads, content: bytes) -> None:
    predictor = with_heads(5, 2)
    prepared = predictor.prepare(content)
    header = replace(prepared.decoded.header, body_part="HAND")
    given = replace(prepared.given, decoded=replace(prepared.decoded, header=header))
    region = predictor.infer(replace(prepared, given=given)).region
    assert region is not None
    assert region.name == "hand"


def test_what_the_guard_takes_for_no_radiograph_gets_no_answer(with_heads: WithHeads, content: bytes) -> None:
    with pytest.raises(ImageError, match="does not look like a radiograph") as caught:
        with_heads(-2, 2).predict(content)
    assert caught.value.code == "not_a_radiograph"


def test_where_the_guard_is_unsure_the_answer_carries_a_warning(with_heads: WithHeads, content: bytes) -> None:
    assert "unusual" in _codes(with_heads(0, 2), content)
    assert "unusual" not in _codes(with_heads(2, 2), content)


def test_an_image_of_several_regions_says_so_and_counts_as_such(with_heads: WithHeads, content: bytes) -> None:
    predictor = with_heads(5, 2)
    heads = predictor.bundle.image_heads
    assert heads.region
    several = replace(heads, region=replace(heads.region, bias=np.array([1.9, 2.0])))
    predictor.bundle = replace(predictor.bundle, image_heads=several)
    prediction = predictor.predict(content)
    assert prediction.answer()["region"]["also"] == [{"name": "hand", "probability": 0.869892}]
    assert telemetry._region(prediction) == ("several", "image")


def test_a_bundle_without_heads_says_no_region(bundle_folder: Path, content: bytes) -> None:
    assert Predictor(bundle.read(bundle_folder)).predict(content).answer()["region"] is None
