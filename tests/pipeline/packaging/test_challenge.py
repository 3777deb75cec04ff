"""A challenger beside the champion on images that neither was trained on, with real models and a real registry."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from pipeline import cli, register
from pipeline.artifacts import Artifacts
from pipeline.data import layout
from pipeline.packaging import challenge
from pipeline.registry import champion
from pipeline.registry.evidence import Evidence
from pipeline.registry.mlflow import connect
from serving.store.database import Database
from tests.pipeline.project import Project
from tests.serving.store.rows import answer, shadow

NAME = "bone-fracture"


@pytest.fixture
def challenged(packaged: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with a second version that answers more images as fractured, and held-back images of one site."""
    decision = packaged / "build/decision.json"
    found = json.loads(decision.read_text())
    decision.write_text(json.dumps({**found, "threshold": 0.05}))
    register.register(connect(), register.Candidate.read(packaged))
    data = layout.read(packaged / "data")
    with layout.rebuild(packaged / "held_back", data.info) as building:
        for row in data.labels.head(40).to_dict("records"):
            content = (data.folder / row["file"]).read_bytes()
            building.add(row["image_id"], Path(row["file"]).suffix, content, row["label"], site="north", study_id="")
    monkeypatch.delenv("FRACTURE_STORE_URL", raising=False)
    return packaged


def _promote(*arguments: str) -> Result:
    return CliRunner().invoke(cli.assemble(["promote"]), ["promote", *arguments])


def _gather(root: Path, store: str = "") -> Evidence:
    old, new = (champion.find(connect(), NAME, number) for number in ("1", "2"))
    return challenge.gather(Artifacts(root), old, new, store)


@pytest.mark.slow
def test_both_are_measured_on_the_test_set_and_on_each_sites_held_back_images(challenged: Path) -> None:
    found = _gather(challenged)
    assert not isinstance(found.test, str)
    assert not isinstance(found.held_back, str)
    assert found.test.images == (challenged / "prepared/split.csv").read_text().count(",test,")
    assert found.held_back["north"].images == 40
    assert found.test.measures["auroc"].difference["value"] == 0.0
    assert (found.test.measures["sensitivity"].difference["value"] or 0) >= 0
    measured = json.loads((challenged / "reports/metrics.json").read_text())["test"]["auroc"]["value"]
    assert found.test.measures["auroc"].champion["value"] == pytest.approx(measured, abs=1e-4)
    assert found.shadow == "no store is named (FRACTURE_STORE_URL)"


@pytest.mark.slow
def test_another_test_set_is_no_place_to_compare(challenged: Path) -> None:
    connect().set_version_tags(NAME, "1", {"test_hash": "another"})
    assert _gather(challenged).test == "bone-fracture version 1 was measured on another test set than that of prepared/"


@pytest.mark.slow
def test_what_both_said_in_the_shadow_is_taken_from_the_store(challenged: Path) -> None:
    url = f"sqlite:///{challenged / 'a.db'}"
    database = Database(url)
    database.upgrade()
    now = datetime.now(UTC)
    database.add_answers([answer(1, at=now, model_name=NAME)])
    database.add_shadows([shadow(1, at=now, model_name=NAME, model_version="2")])
    found = _gather(challenged, url).shadow
    assert not isinstance(found, str)
    assert found.groups[0].images == 1


def test_promoting_shows_the_comparison_and_keeps_it_with_the_version(challenged: Path) -> None:
    done = _promote("--reason", "as good")
    assert done.exit_code == 0, done.exception
    assert "# bone-fracture version 2 against the champion, bone-fracture version 1" in done.output
    assert "### north" in (challenged / "reports/promotion.md").read_text()
    tags = connect().version(NAME, "2").tags
    assert tags["promotion_evidence"].startswith("against bone-fracture version 1 on the test set: AUROC +0.000")


@pytest.mark.slow
def test_a_gate_of_params_yaml_stops_the_promotion_unless_it_is_forced(challenged: Path) -> None:
    Project(challenged).change("promote", required=["shadow"])
    refused = _promote("--reason", "as good")
    assert "shadow is required (promote.required) and was not compared" in str(refused.exception)
    assert champion.observe(connect(), NAME).version == "1"  # type: ignore[union-attr]
    assert _promote("--force", "--reason", "urgent").exit_code == 0
    assert "failed: shadow is required" in connect().version(NAME, "2").tags["promotion_evidence"]
