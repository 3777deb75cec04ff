"""Only a version that `fracture promote` let in may be a canary."""

import pytest

from pipeline.cloud.canary.gate import require_promoted
from pipeline.errors import InputError
from pipeline.registry.promotion import unrecorded_move
from pipeline.registry.records import ModelVersion

PASSED = {"gates": "passed", "promotion_by": "somebody"}


def _version(**tags: str) -> ModelVersion:
    return ModelVersion("bone-fracture", "3", "run", {**PASSED, **tags})


def test_a_promoted_version_may_be_a_canary() -> None:
    assert require_promoted(_version()) == "bone-fracture/3"


def test_one_that_was_forced_with_a_reason_may_be_one() -> None:
    assert require_promoted(_version(gates="failed: AUROC", promotion_forced="True")) == "bone-fracture/3"


def test_one_that_failed_its_gates_may_not() -> None:
    with pytest.raises(InputError, match="version 3 of bone-fracture failed: AUROC"):
        require_promoted(_version(gates="failed: AUROC"))


def test_one_that_nobody_promoted_may_not() -> None:
    with pytest.raises(InputError, match="became champion without `fracture promote`"):
        require_promoted(_version(promotion_by=""))


def test_one_that_became_champion_in_the_ui_may_not() -> None:
    move = unrecorded_move(_version(), [], "2026-11-27")
    assert move is not None
    with pytest.raises(InputError, match="fracture rollback, then fracture promote 3"):
        require_promoted(_version(**move.tags()))
