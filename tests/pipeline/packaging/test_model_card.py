"""The card's metadata, of the released model: what a model hub reads."""

from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from pipeline.evaluation.records import Metrics
from pipeline.packaging import model_card
from pipeline.training.trained import newest_release
from serving import bundle

RELEASE = newest_release(Path(__file__).parents[3]).parent


def front_matter(card: str) -> dict[str, Any]:
    """What stands between the first two lines of three dashes, read as YAML."""
    start, text, _ = card.split("---\n", 2)
    assert start == ""
    found: dict[str, Any] = YAML(typ="safe").load(text)
    return found


@pytest.fixture(scope="module")
def metadata() -> dict[str, Any]:
    return front_matter((RELEASE / "MODEL_CARD.md").read_text(encoding="utf-8"))


def test_the_released_card_carries_what_its_own_files_give(metadata: dict[str, Any]) -> None:
    manifest = bundle.read(RELEASE / "bundle").manifest
    assert metadata == model_card.front_matter(RELEASE.name, manifest, Metrics.read(RELEASE / "metrics.json"))


def test_a_hub_finds_licence_library_task_and_data(metadata: dict[str, Any]) -> None:
    assert metadata["license"] == "apache-2.0"
    assert metadata["library_name"] == "keras"
    assert metadata["pipeline_tag"] == "image-classification"
    assert metadata["datasets"] == ["FracAtlas"]
    assert {"radiography", Metrics.read(RELEASE / "metrics.json").architecture.lower()} <= set(metadata["tags"])


def test_results_are_the_metrics_of_the_test_set(metadata: dict[str, Any]) -> None:
    (model,) = metadata["model-index"]
    (result,) = model["results"]
    test = Metrics.read(RELEASE / "metrics.json").test
    values = {metric["type"]: metric["value"] for metric in result["metrics"]}
    assert model["name"] == RELEASE.name
    assert result["task"]["type"] == "image-classification"
    assert result["dataset"]["split"] == "test"
    assert values["roc_auc"] == test.auroc.value
    assert values["recall"] == test.point("at_threshold").recall.value
    assert metadata["metrics"] == list(values)


def test_a_result_says_how_sure_it_is(metadata: dict[str, Any]) -> None:
    auroc = Metrics.read(RELEASE / "metrics.json").test.auroc
    names = [metric["name"] for metric in metadata["model-index"][0]["results"][0]["metrics"]]
    assert f"AUROC (95 % interval {auroc.low:.3f} to {auroc.high:.3f})" in names
