"""A bundle's model and data set as a CycloneDX document."""

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.cloud.image import ml_bom_path
from pipeline.packaging import ml_bom
from serving import bundle
from tests.deploy import checkers

RELEASE = sorted((checkers.ROOT / "models").glob("*/bundle"))[-1]
_VALIDATE = """
import pathlib, sys
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
print(JsonStrictValidator(SchemaVersion.V1_6).validate_str(pathlib.Path(sys.argv[1]).read_text()))
"""


@pytest.fixture(scope="module")
def described() -> dict[str, Any]:
    """Describe the release."""
    return ml_bom.document(bundle.read(RELEASE), "2026-11-27T12:00:00+00:00")


def test_it_is_valid_by_the_schema_of_cyclonedx(described: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "model.json"
    path.write_text(json.dumps(described))
    answer = checkers.run("python", "-c", _VALIDATE, path)
    assert (answer.returncode, answer.stdout.strip()) == (0, "None"), answer.stdout + answer.stderr


def test_the_model_is_the_networks_hash_with_its_metrics_and_limits(described: dict[str, Any]) -> None:
    opened = bundle.read(RELEASE)
    model, data = described["components"]
    assert model["hashes"] == [{"alg": "SHA-256", "content": opened.sha256}]
    auroc = opened.manifest.quality["test"]["auroc"]
    assert {
        "type": "auroc", "value": str(auroc["value"]), "slice": "test set",
        "confidenceInterval": {"lowerBound": str(auroc["low"]), "upperBound": str(auroc["high"])},
    } in model["modelCard"]["quantitativeAnalysis"]["performanceMetrics"]  # fmt: skip
    assert opened.manifest.intended.not_for in model["modelCard"]["considerations"]["technicalLimitations"]
    assert model["modelCard"]["modelParameters"]["datasets"] == [{"ref": data["bom-ref"]}]


def test_the_data_set_is_named_with_its_licence(described: dict[str, Any]) -> None:
    data = described["components"][1]
    assert (data["type"], data["name"], data["version"]) == ("data", "FracAtlas", "2023")
    assert data["licenses"] == [{"license": {"name": "CC BY 4.0"}}]


def test_a_model_without_metrics_has_none(bundle_folder: Path) -> None:
    opened = bundle.read(bundle_folder)
    bare = bundle.Bundle(**{**vars(opened), "manifest": opened.manifest.model_copy(update={"quality": {}})})
    model = ml_bom.document(bare, "2026-11-27T12:00:00+00:00")["components"][0]
    assert model["modelCard"]["quantitativeAnalysis"]["performanceMetrics"] == []


def test_what_is_not_known_is_no_property() -> None:
    opened = bundle.read(RELEASE)
    unknown = opened.manifest.origin.model_copy(update={"test_hash": ""})
    bare = bundle.Bundle(**{**vars(opened), "manifest": opened.manifest.model_copy(update={"origin": unknown})})
    _, data = ml_bom.document(bare, "2026-11-27T12:00:00+00:00")["components"]
    assert [one["name"] for one in data["properties"]] == [
        "org.bone-fracture.data-hash",
        "org.bone-fracture.split-hash",
    ]


def test_it_lies_beside_the_list_of_parts() -> None:
    assert ml_bom_path("bone-fracture:1").name == "bone-fracture-1.ml.cdx.json"
