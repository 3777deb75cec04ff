"""MLflow's own client, for what only tests do: make versions by hand, take an alias away, look at a tag."""

from typing import Any

from pipeline.registry.mlflow import connect


def mlflow_client() -> Any:
    """A client of the server that MLFLOW_TRACKING_URI names, its database made as the pipeline makes it."""
    connect()
    import mlflow

    return mlflow.MlflowClient()
