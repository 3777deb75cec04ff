"""What callers send as JSON is taken exactly where the description says so."""

import json
from typing import Any

import jsonschema_rs
import pytest
from pydantic import ValidationError

from serving.http import openapi, schemas
from serving.http.settings import Settings
from serving.store.records import COMMENTS

FEEDBACK = {"answer_id": "0" * 32, "feedback_token": "1", "opinion": "agree"}
BOX = {"x0": 0.1, "y0": 0.1, "x1": 0.9, "y1": 0.9}
VALUES: tuple[Any, ...] = (
    "yes",
    "true",
    "1",
    "0.5",
    0,
    1,
    0.5,
    True,
    False,
    None,
    [],
    {},
    [1],
    ["cast"],
    "cast",
    "agree",
    "0" * 32,
)


def is_taken(sent: dict[str, Any]) -> bool:
    try:
        schemas.Feedback.model_validate_json(json.dumps(sent))
    except ValidationError:
        return False
    return True


@pytest.fixture(scope="module")
def described() -> jsonschema_rs.Draft202012Validator:
    """The schema of feedback as `/openapi.json` has it."""
    parts = openapi.description(("normal", "fractured"), Settings())["components"]
    return jsonschema_rs.Draft202012Validator({"$ref": "#/components/schemas/Feedback", "components": parts})


@pytest.mark.parametrize("value", VALUES, ids=repr)
@pytest.mark.parametrize("key", schemas.Feedback.model_fields)
def test_value_is_taken_where_its_type_is_described(
    described: jsonschema_rs.Draft202012Validator, key: str, value: Any
) -> None:
    sent = {**FEEDBACK, key: value}
    assert is_taken(sent) == described.is_valid(sent)


@pytest.mark.parametrize("value", VALUES, ids=repr)
@pytest.mark.parametrize("key", BOX)
def test_side_of_a_box_is_taken_where_its_type_is_described(
    described: jsonschema_rs.Draft202012Validator, key: str, value: Any
) -> None:
    sent = {**FEEDBACK, "boxes": [{**BOX, key: value}]}
    assert is_taken(sent) == described.is_valid(sent)


@pytest.mark.parametrize("code", COMMENTS)
def test_each_comment_is_taken_once(described: jsonschema_rs.Draft202012Validator, code: str) -> None:
    for codes in ([code], [code, code], [*COMMENTS], [*COMMENTS, code]):
        sent = {**FEEDBACK, "comments": codes}
        assert is_taken(sent) == described.is_valid(sent) == (len(codes) == len(set(codes)))


@pytest.mark.parametrize("request_schema", schemas.REQUESTS)
def test_everything_that_is_taken_as_json_is_strict(request_schema: type[schemas.Request]) -> None:
    assert request_schema.model_config.get("strict")
