"""How service and page are compared: what counts as the same, and what is counted apart."""

from typing import Any

import pytest

from benchmarks.web import parity
from benchmarks.web.parity import Compared, File

ANSWER = {"probability": 0.4, "suspicion": "possible", "label": "normal"}


def _refused(code: str, message: str = "") -> dict[str, Any]:
    return {"error": {"code": code, "message": message}}


def _compared(service: dict[str, Any], device: dict[str, Any]) -> Compared:
    return Compared(File("files", "one", b""), service, device, 0.1, (0.1, 0.2))


def _answered(**other: Any) -> Compared:
    return _compared({"answer": ANSWER}, {"answer": {**ANSWER, **other}})


@pytest.mark.parametrize(
    "message", ["the file is a TIFF file, which is not read", "JPEG with 12 bits is not read here"]
)
def test_a_file_that_the_page_refuses_by_name_is_counted_apart(message: str) -> None:
    apart = _compared({"answer": ANSWER}, _refused("unsupported_format", message))
    assert apart.group == parity.LEFT_OUT
    assert parity.summary([apart])[0].startswith("| all but those left out: 0, 0 answered | 0 of 0 ")


def test_another_refusal_than_the_services_is_listed() -> None:
    row, listed = parity.summary([_compared({"answer": ANSWER}, _refused("blank"))])
    assert row.startswith("| all but those left out: 1, 0 answered | 0 of 1 ")
    assert listed == "files one: ('', 'blank') "


def test_an_answer_that_is_far_from_the_services_is_in_neither_column_of_close_ones() -> None:
    (row,) = parity.rows([_answered(probability=0.45)])
    assert row == "| files: 1, 1 answered | 1 of 1 | 1 of 1 | 0 of 1 | 0 of 1 | 0.050000 | 0 of 1 |"


def test_the_last_digits_of_a_number_make_no_other_answer() -> None:
    assert _answered(probability=0.4001).differing == []
    assert _answered(label="fractured").differing == ["label"]
