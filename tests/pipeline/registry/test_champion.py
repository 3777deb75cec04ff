"""Champion and challenger on a real MLflow registry."""

import json

import pytest

from pipeline.errors import InputError
from pipeline.registry import champion, promotion
from pipeline.registry.mlflow import Registry
from pipeline.registry.promotion import CHALLENGER, CHAMPION
from tests.pipeline.registry.conftest import Model


def test_the_challenger_is_promoted_by_default(model: Model) -> None:
    move = champion.promote(model.registry, model.name, None)
    found = model.registry.version_by_alias(model.name, CHAMPION)
    assert found is not None
    assert found.version == move.version == "2"


def test_who_promoted_what_when_from_which_version_and_why_is_kept_in_tags(model: Model) -> None:
    champion.promote(model.registry, model.name, "1", reason="first")
    champion.promote(model.registry, model.name, "2", reason="better on legs")
    tags = model.registry.version(model.name, "2").tags
    assert tags["promotion_reason"] == "better on legs"
    assert tags["promotion_previous"] == "1"
    assert tags["promotion_by"]
    assert tags["promotion_at"].startswith("20")


def test_a_version_that_failed_its_gates_is_refused(model: Model) -> None:
    with pytest.raises(InputError, match=r"failed: AUROC 0\.5 .*--force"):
        champion.promote(model.registry, model.name, "3")
    assert model.registry.version_by_alias(model.name, CHAMPION) is None


def test_a_forced_promotion_is_recorded_and_passes_the_check_of_consumers(model: Model) -> None:
    champion.promote(model.registry, model.name, "3", force=True, reason="study")
    found = champion.observe(model.registry, model.name)
    assert found is not None
    assert found.tags["promotion_forced"] == "True"
    promotion.require_fit(found)


def test_a_move_in_the_ui_is_recorded_when_first_seen_and_its_gates_are_checked(model: Model) -> None:
    champion.promote(model.registry, model.name, "1")
    model.registry.set_alias(model.name, CHAMPION, "3")
    found = champion.observe(model.registry, model.name)
    assert found is not None
    assert "outside fracture" in found.tags["promotion_by"]
    last = champion.history(model.registry, model.name)[-1]
    assert (last.version, last.previous) == ("3", "1")
    with pytest.raises(InputError, match="failed: AUROC"):
        promotion.require_fit(found)


def test_an_observed_champion_is_recorded_once(model: Model) -> None:
    model.registry.set_alias(model.name, CHAMPION, "1")
    champion.observe(model.registry, model.name)
    champion.observe(model.registry, model.name)
    assert len(champion.history(model.registry, model.name)) == 1


def test_promoting_the_champion_again_changes_nothing(model: Model) -> None:
    first = champion.promote(model.registry, model.name, "1", reason="first")
    assert champion.promote(model.registry, model.name, "1", reason="again") == first
    assert len(champion.history(model.registry, model.name)) == 1


def test_two_rollbacks_go_two_champions_back_and_no_further(model: Model) -> None:
    champion.promote(model.registry, model.name, "1")
    champion.promote(model.registry, model.name, "2")
    champion.promote(model.registry, model.name, "3", force=True, reason="study")
    assert [champion.rollback(model.registry, model.name).version for _ in range(2)] == ["2", "1"]
    found = model.registry.version_by_alias(model.name, CHAMPION)
    assert found is not None
    assert found.version == "1"
    with pytest.raises(InputError, match="no previous champion"):
        champion.rollback(model.registry, model.name)


def test_rollback_without_a_champion_says_so(model: Model) -> None:
    with pytest.raises(InputError, match="no previous champion"):
        champion.rollback(model.registry, model.name)


def test_an_unknown_version_is_named_with_the_known_ones(model: Model) -> None:
    with pytest.raises(InputError, match=r"no version 9; registered versions: 1, 2, 3"):
        champion.promote(model.registry, model.name, "9")


def test_a_model_without_challenger_says_what_to_do(model: Model) -> None:
    model.client.delete_registered_model_alias(model.name, CHALLENGER)
    with pytest.raises(InputError, match=r"no challenger; its newest version, 3, failed: AUROC .*; name a version"):
        champion.promote(model.registry, model.name, None)


def test_a_model_that_does_not_exist_has_no_champion(registry: Registry) -> None:
    assert champion.observe(registry, "nothing-of-this-name") is None


def test_a_model_that_does_not_exist_has_no_version_to_promote(registry: Registry) -> None:
    with pytest.raises(InputError, match="run `dvc repro` to register a version"):
        champion.promote(registry, "nothing-of-this-name", None)


@pytest.mark.parametrize(
    ("which", "number"),
    [("@challenger", "2"), ("@champion", "1"), ("/3", "3")],
    ids=["challenger", "champion", "number"],
)
def test_an_address_names_a_version_by_alias_or_number(model: Model, which: str, number: str) -> None:
    champion.promote(model.registry, model.name, "1")
    assert champion.find_address(model.registry, f"models:/{model.name}{which}").version == number


def test_the_history_is_readable_json(model: Model) -> None:
    champion.promote(model.registry, model.name, "1")
    assert json.loads(model.registry.model_tags(model.name)["champion_history"])[0]["version"] == "1"
