"""A registered model becomes a bundle, unless it failed its gates or its files are not its own."""

import json
from pathlib import Path

import pytest

from pipeline.errors import InputError
from pipeline.packaging.bundle import fetched, manifest_facts
from pipeline.registry import champion
from pipeline.registry.mlflow import connect
from serving import bundle
from serving.statistics import Reference

CHAMPION = "models:/bone-fracture@champion"


def test_the_bundle_says_where_the_model_comes_from(packaged_folder: Path) -> None:
    manifest = bundle.read(packaged_folder / "build/bundle/bone-fracture-1").manifest
    training = json.loads((packaged_folder / "build/model/training.json").read_text())
    assert manifest.origin.registry_version == manifest.version == "1"
    assert manifest.origin.data_hash == training["data_hash"]
    assert manifest.origin.weights_sha256 == training["weights_sha256"]
    assert (manifest.origin.gates, manifest.origin.forced) == ("passed", None)
    assert "hand" in manifest.intended.regions
    assert manifest.trained_on.synthetic
    assert len(manifest.samples) == 4


def test_a_champion_that_failed_its_gates_is_not_packaged_until_it_is_forced(packaged: Path) -> None:
    # What a move in the MLflow UI leaves: an alias on a version that failed, and nobody who forced it.
    connect().set_version_tags("bone-fracture", "1", {"gates": "failed: AUROC 0.5"})
    with pytest.raises(InputError, match=r"version 1 of bone-fracture failed: AUROC 0\.5"), fetched(CHAMPION):
        pass
    champion.promote(connect(), "bone-fracture", "1", True, "urgent")
    with fetched(CHAMPION) as found:
        forced = manifest_facts(found, Reference.load(found.reference))["origin"]["forced"]
    assert forced["reason"] == "urgent"


def test_weights_that_are_not_the_registered_ones_are_refused(packaged: Path) -> None:
    found = next(packaged.rglob("artifacts/package/*/decision.json"))
    found.write_text(found.read_text().replace('"threshold": 0.5', '"threshold": 0.4'))
    with pytest.raises(InputError, match="are not the ones that were registered"), fetched(CHAMPION):
        pass
