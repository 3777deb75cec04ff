"""The rules of promotion, on records: no server is needed."""

import pytest

from pipeline.errors import InputError
from pipeline.evaluation.records import Estimate, Hashes, ImageCounts, Metrics, MetricSet, OperatingPoint
from pipeline.params import RegisterParams
from pipeline.registry import promotion
from pipeline.registry.promotion import Move, Occasion
from pipeline.registry.records import ModelVersion

OPTIONS = RegisterParams(min_auroc=0.7, min_sensitivity=0.6, champion_margin=0.01)


def _metrics(auroc: float | None = 0.8, sensitivity: float = 0.9, test_hash: str = "t") -> Metrics:
    def estimate(value: float | None) -> Estimate:
        return Estimate(value=value, low=None, high=None)

    names = ("accuracy", "precision", "recall", "specificity", "f1")
    some = {name: estimate(0.5) for name in names}
    point = OperatingPoint(threshold=0.5, sensitivity=estimate(sensitivity), **some)
    return Metrics(
        test=MetricSet({"auroc": estimate(auroc), "at_high_sensitivity": point}),
        images=ImageCounts(test=1, fractured=1, validation=1),
        always_normal_accuracy=0.5,
        hashes=Hashes(data="d", split="s", test=test_hash),
        architecture="cnn",
        weights_sha256="w",
    )


def test_a_good_version_passes_its_gates() -> None:
    gates = promotion.check_gates(_metrics(), None, OPTIONS)
    assert gates.verdict == promotion.PASSED
    assert gates.comparison == "no champion yet"


@pytest.mark.parametrize(
    ("measured", "reason"),
    [
        (_metrics(auroc=0.69), "AUROC 0.69 is below register.min_auroc 0.7"),
        (_metrics(auroc=None), "AUROC None is below"),
        (_metrics(sensitivity=0.5), "sensitivity 0.5 at the high-sensitivity point"),
    ],
)
def test_a_metric_below_its_gate_is_named(measured: Metrics, reason: str) -> None:
    assert reason in promotion.check_gates(measured, None, OPTIONS).verdict


def test_a_version_behind_the_champion_on_the_same_test_set_fails() -> None:
    champion = {"test_hash": "t", "test_auroc": "0.85"}
    assert "below the champion's 0.85" in promotion.check_gates(_metrics(), champion, OPTIONS).verdict
    assert promotion.check_gates(_metrics(auroc=0.845), champion, OPTIONS).verdict == promotion.PASSED


def test_a_champion_of_another_test_set_is_not_comparable_and_absolute_gates_decide() -> None:
    champion = {"test_hash": "other", "test_auroc": "0.99"}
    gates = promotion.check_gates(_metrics(), champion, OPTIONS)
    assert gates.verdict == promotion.PASSED
    assert gates.comparison.startswith("not comparable")


NOW = Occasion("somebody", "2026-11-27T00:00:00+00:00")


def _version(number: str, gates: str = promotion.PASSED, **tags: str) -> ModelVersion:
    return ModelVersion("m", number, "run", {"gates": gates, **tags})


def _moves(*versions: str) -> list[Move]:
    previous = ("", *versions)
    return [Move(version, before, NOW.at, NOW.by, "") for before, version in zip(previous, versions, strict=False)]


def test_a_move_names_who_when_from_which_version_and_why() -> None:
    move = promotion.promotion_of(_version("2"), _version("1"), _moves("1"), NOW, "better on legs")
    assert move == Move("2", "1", NOW.at, NOW.by, "better on legs")


def test_promoting_the_champion_again_is_no_move() -> None:
    assert promotion.promotion_of(_version("1"), _version("1"), _moves("1"), NOW, "again") is None


def test_a_version_that_failed_its_gates_may_be_promoted_with_a_reason_only() -> None:
    failed = _version("3", "failed: AUROC 0.5")
    with pytest.raises(InputError, match=r"version 3 of m failed: AUROC 0\.5; promote it all the same with --force"):
        promotion.check_promotion(failed, force=False, reason="")
    with pytest.raises(InputError, match="--force needs a --reason"):
        promotion.check_promotion(failed, force=True, reason="")
    promotion.check_promotion(failed, force=True, reason="study")


def test_a_version_whose_gates_nobody_checked_is_refused() -> None:
    with pytest.raises(InputError, match="never checked"):
        promotion.check_promotion(ModelVersion("m", "1", "", {}), force=False, reason="")


def test_a_forced_move_says_so() -> None:
    move = promotion.promotion_of(_version("3", "failed"), None, [], NOW, "study")
    assert move is not None
    assert move.forced
    forced = _version("3", "failed", **move.tags())
    promotion.require_fit(forced)
    assert promotion.forced_by(forced) == {"by": NOW.by, "at": NOW.at, "reason": "study"}


def test_nobody_forced_a_version_that_passed() -> None:
    assert promotion.forced_by(_version("1")) is None


def test_a_champion_that_failed_its_gates_is_not_fit() -> None:
    with pytest.raises(InputError, match=r"choose another champion.*fracture promote 3 --force"):
        promotion.require_fit(_version("3", "failed: AUROC 0.5"))


def test_a_champion_that_no_move_names_was_moved_outside() -> None:
    move = promotion.unrecorded_move(_version("3"), _moves("1"), NOW.at)
    assert move is not None
    assert (move.version, move.previous) == ("3", "1")
    assert "outside fracture" in move.by


def test_a_recorded_champion_is_not_recorded_again() -> None:
    assert promotion.unrecorded_move(_version("1"), _moves("1"), NOW.at) is None


def test_two_rollbacks_go_two_champions_back() -> None:
    moves = _moves("1", "2", "3")
    for champion, before in (("3", "2"), ("2", "1")):
        move = promotion.rollback_of("m", _version(champion), moves, NOW, "")
        assert move.version == before
        moves.append(move)
    with pytest.raises(InputError, match="m has no previous champion"):
        promotion.rollback_of("m", _version("1"), moves, NOW, "")


def test_a_rollback_without_a_champion_is_refused() -> None:
    with pytest.raises(InputError, match="no previous champion"):
        promotion.rollback_of("m", None, [], NOW, "")


def test_the_history_comes_back_from_its_tag_as_it_was() -> None:
    moves = _moves("1", "2")
    assert promotion.read_history(dict([promotion.history_tag(moves)])) == moves


def test_the_history_keeps_the_latest_fifty_moves() -> None:
    moves = _moves(*map(str, range(60)))
    assert promotion.read_history(dict([promotion.history_tag(moves)])) == moves[10:]
