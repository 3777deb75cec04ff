"""A real MLflow registry in a temporary SQLite file."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from pipeline.registry import promotion
from pipeline.registry.mlflow import Registry, connect
from tests.mlflow_client import mlflow_client


@dataclass(frozen=True)
class Model:
    """A registered model named after the test, and MLflow's own client beside the registry."""

    registry: Registry
    client: Any
    name: str


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    folder = tmp_path_factory.mktemp("mlflow")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder / 'mlflow.db'}")
        yield connect()


@pytest.fixture
def model(registry: Registry, request: pytest.FixtureRequest) -> Model:
    """Versions 1 and 2 passed, 3 failed, 2 is challenger."""
    name, client = request.node.name[:60], mlflow_client()
    client.create_registered_model(name)
    for gates in (promotion.PASSED, promotion.PASSED, "failed: AUROC 0.5 is below register.min_auroc 0.7"):
        version = client.create_model_version(name, source="mlflow-artifacts:/nowhere")
        registry.set_version_tags(name, str(version.version), {"gates": gates})
    registry.set_alias(name, promotion.CHALLENGER, "2")
    return Model(registry, client, name)
