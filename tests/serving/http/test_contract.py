"""A contract tester finds no answer that the description does not announce."""

from pathlib import Path
from typing import Any

import cv2
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry
from schemathesis.specs.openapi.checks import positive_data_acceptance

from pipeline.data.sources import synthetic
from serving import bundle
from serving.http.admission import Engine
from serving.http.app import create_app
from serving.http.openapi import description
from serving.http.settings import Settings

BENTOML_ROUTES = {"/livez", "/readyz"}  # answered by BentoML, which is not in front of the application here
OPERATIONS = [
    (path, method)
    for path, methods in description(("normal", "fractured"), Settings())["paths"].items()
    for method in methods
    if path not in BENTOML_ROUTES
]
# A schema cannot say which bytes are a picture, so the tester sends others too and would have them accepted.
BYTES_ARE_NO_PICTURE: list[Any] = [positive_data_acceptance]
PICTURE = cv2.imencode(".png", synthetic.render(1, "hand", "frontal").pixels)[1].tobytes()

schemathesis.openapi.media_type("image/png", st.sampled_from([PICTURE, PICTURE[:2000], b""]))


@pytest.fixture(scope="module")
def api(bundle_folder: Path) -> schemathesis.BaseSchema:
    """Load the description from the running application."""
    app = create_app()
    app.state.engine = Engine(bundle.read(bundle_folder), Settings(timeout=5), CollectorRegistry())
    return schemathesis.openapi.from_asgi("/openapi.json", app)


@pytest.mark.parametrize(("path", "method"), OPERATIONS)
def test_every_answer_is_one_that_the_description_announces(
    api: schemathesis.BaseSchema, path: str, method: str
) -> None:
    @given(case=api[path][method.upper()].as_strategy())
    @settings(max_examples=25, suppress_health_check=list(HealthCheck))
    def ask(case: schemathesis.Case) -> None:
        case.call_and_validate(excluded_checks=BYTES_ARE_NO_PICTURE)

    ask()
