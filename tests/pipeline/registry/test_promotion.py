"""Gates, champion and challenger on a real MLflow registry in a temporary SQLite file."""

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.artifacts import Estimate, Hashes, ImageCounts, Metrics, MetricSet, OperatingPoint
from pipeline.errors import InputError
from pipeline.params import RegisterParams
from pipeline.registry import mlflow as tracking
from pipeline.registry import promotion

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


def test_a_version_behind_the_champion_on_the_same_test_part_fails() -> None:
    champion = {"test_hash": "t", "test_auroc": "0.85"}
    assert "below the champion's 0.85" in promotion.check_gates(_metrics(), champion, OPTIONS).verdict
    assert promotion.check_gates(_metrics(auroc=0.845), champion, OPTIONS).verdict == promotion.PASSED


def test_a_champion_of_another_test_part_is_not_comparable_and_absolute_gates_decide() -> None:
    champion = {"test_hash": "other", "test_auroc": "0.99"}
    gates = promotion.check_gates(_metrics(), champion, OPTIONS)
    assert gates.verdict == promotion.PASSED
    assert gates.comparison.startswith("not comparable")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("mlflow")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder / 'mlflow.db'}")
        yield tracking.connect().MlflowClient()


@pytest.fixture
def client(server: Any, request: pytest.FixtureRequest) -> Any:
    """A client with a registered model named after the test: versions 1 and 2 passed, 3 failed, 2 is challenger."""
    name = request.node.name[:60]
    server.create_registered_model(name)
    for gates in (promotion.PASSED, promotion.PASSED, "failed: AUROC 0.5 is below register.min_auroc 0.7"):
        version = server.create_model_version(name, source="mlflow-artifacts:/nowhere")
        server.set_model_version_tag(name, version.version, "gates", gates)
    server.set_registered_model_alias(name, promotion.CHALLENGER, "2")
    server.name = name
    return server


def test_the_challenger_is_promoted_by_default(client: Any) -> None:
    move = promotion.promote(client, client.name, None)
    champion = promotion.version_by_alias(client, client.name, promotion.CHAMPION)
    assert champion is not None
    assert str(champion.version) == str(move.version) == "2"


def test_who_promoted_what_when_from_which_version_and_why_is_kept_in_tags(client: Any) -> None:
    promotion.promote(client, client.name, "1", reason="first")
    promotion.promote(client, client.name, "2", reason="better on legs")
    tags = client.get_model_version(client.name, "2").tags
    assert tags["promotion_reason"] == "better on legs"
    assert tags["promotion_previous"] == "1"
    assert tags["promotion_by"]
    assert tags["promotion_at"].startswith("20")


def test_a_version_that_failed_its_gates_is_refused(client: Any) -> None:
    with pytest.raises(InputError, match=r"failed: AUROC 0\.5 .*--force"):
        promotion.promote(client, client.name, "3")
    assert promotion.version_by_alias(client, client.name, promotion.CHAMPION) is None


def test_force_needs_a_reason(client: Any) -> None:
    with pytest.raises(InputError, match="--reason"):
        promotion.promote(client, client.name, "3", force=True)


def test_a_forced_promotion_is_recorded_and_passes_the_check_of_consumers(client: Any) -> None:
    promotion.promote(client, client.name, "3", force=True, reason="study")
    champion = promotion.observe(client, client.name)
    assert champion is not None
    assert champion.tags["promotion_forced"] == "True"
    promotion.require_fit(champion)


def test_a_move_in_the_ui_is_recorded_when_first_seen_and_its_gates_are_checked(client: Any) -> None:
    promotion.promote(client, client.name, "1")
    client.set_registered_model_alias(client.name, promotion.CHAMPION, "3")
    champion = promotion.observe(client, client.name)
    assert champion is not None
    last = promotion.history(client, client.name)[-1]
    assert (str(last.version), str(last.previous)) == ("3", "1")
    assert "outside fracture" in last.by
    with pytest.raises(InputError, match="failed: AUROC"):
        promotion.require_fit(champion)


def test_an_observed_champion_is_recorded_once(client: Any) -> None:
    client.set_registered_model_alias(client.name, promotion.CHAMPION, "1")
    promotion.observe(client, client.name)
    promotion.observe(client, client.name)
    assert len(promotion.history(client, client.name)) == 1


def test_promoting_the_champion_again_changes_nothing(client: Any) -> None:
    first = promotion.promote(client, client.name, "1", reason="first")
    assert promotion.promote(client, client.name, "1", reason="again") == first
    assert len(promotion.history(client, client.name)) == 1


def test_rollback_returns_to_the_champion_before(client: Any) -> None:
    promotion.promote(client, client.name, "1")
    promotion.promote(client, client.name, "2")
    assert str(promotion.rollback(client, client.name).version) == "1"
    with pytest.raises(InputError, match="no champion before"):
        promotion.rollback(client, client.name)


def test_two_rollbacks_go_two_champions_back(client: Any) -> None:
    promotion.promote(client, client.name, "1")
    promotion.promote(client, client.name, "2")
    promotion.promote(client, client.name, "3", force=True, reason="study")
    assert [str(promotion.rollback(client, client.name).version) for _ in range(2)] == ["2", "1"]


def test_rollback_without_a_champion_says_so(client: Any) -> None:
    with pytest.raises(InputError, match="no champion before"):
        promotion.rollback(client, client.name)


def test_an_unknown_version_is_named_with_the_known_ones(client: Any) -> None:
    with pytest.raises(InputError, match=r"no version 9; registered versions: 1, 2, 3"):
        promotion.promote(client, client.name, "9")


def test_a_model_without_challenger_says_what_to_do(client: Any) -> None:
    client.delete_registered_model_alias(client.name, promotion.CHALLENGER)
    with pytest.raises(InputError, match="no challenger"):
        promotion.promote(client, client.name, None)


def test_a_model_that_does_not_exist_has_no_champion(client: Any) -> None:
    assert promotion.observe(client, "nothing-of-this-name") is None


def test_the_same_content_is_found_by_its_tag(client: Any) -> None:
    client.set_model_version_tag(client.name, "2", "content_hash", "abc")
    found = promotion.version_by_tag(client, client.name, "content_hash", "abc")
    assert found is not None
    assert str(found.version) == "2"
    assert promotion.version_by_tag(client, client.name, "content_hash", "xyz") is None


def test_the_history_is_readable_json(client: Any) -> None:
    promotion.promote(client, client.name, "1")
    tags = client.get_registered_model(client.name).tags
    assert json.loads(tags["champion_history"])[0]["version"] == "1"


def test_a_tracking_server_that_is_away_costs_seconds_and_one_warning(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://user:secret@127.0.0.1:9")
    mirror = tracking.Mirror(name="cnn")
    mirror.log_metrics({"loss": 1.0}, 1)
    mirror.log_metrics({"loss": 0.9}, 2)
    printed = capsys.readouterr().out
    assert printed.count("warning: MLflow at http://***@127.0.0.1:9 does not answer") == 1
    assert "secret" not in printed
    assert mirror.run_id == ""


def test_what_needs_the_server_fails_with_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    with pytest.raises(InputError, match=r"start the server or set MLFLOW_TRACKING_URI"):
        tracking.require(lambda mlflow: mlflow.MlflowClient().search_registered_models())


def test_a_defect_of_ours_is_not_taken_for_a_server_that_is_away(server: Any) -> None:
    def broken(_mlflow: Any) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        tracking.require(broken)


def test_the_database_of_a_temporary_experiment_is_the_one_of_the_checkout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = tmp_path / ".dvc" / "tmp" / "exps" / "x"
    for folder in (tmp_path, copy):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "params.yaml").touch()
        (folder / "dvc.yaml").touch()
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(copy)
    assert tracking.tracking_uri() == f"sqlite:///{tmp_path}/mlflow.db"


def test_a_database_that_could_not_be_made_whole_is_not_left_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: Any
) -> None:
    import mlflow.store.tracking.sqlalchemy_store as store

    def full_disk(*_arguments: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    monkeypatch.setattr(store, "SqlAlchemyStore", full_disk)
    with pytest.raises(OSError, match="No space left"):
        tracking.connect()
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_database_is_said_to_be_moved_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: Any
) -> None:
    (tmp_path / "mlflow.db").write_bytes(b"garbage" * 1000)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    with pytest.raises(InputError, match=r"move mlflow\.db away and repeat: `dvc repro -sf register`"):
        tracking.require(lambda mlflow: mlflow.MlflowClient().search_registered_models())
