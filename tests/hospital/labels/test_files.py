"""`fracture hospital labels`: final reports from files."""

import json
from pathlib import Path

import pytest

from hospital.config import Config
from hospital.errors import HospitalError
from hospital.labels import files
from tests.hospital.labels.messages import coded, diagnostic_report, oru

CODES = {"NEG": "normal", "POS": "fractured"}


@pytest.mark.parametrize("form", ["hl7", "fhir"])
def test_reports_in_files_are_taken_by_the_command(form: str, tmp_path: Path) -> None:
    file = tmp_path / "report"
    file.write_bytes(oru(coded("NEG")) if form == "hl7" else json.dumps(diagnostic_report()).encode())
    config = Config.model_validate({"spool": tmp_path, "store": {"site": "north", "codes": CODES}})
    assert files.take(config, [file]) == "1 final reports: 1 no_study"


def test_code_that_means_no_class_of_the_model_is_one_line(tmp_path: Path) -> None:
    config = Config.model_validate({"spool": tmp_path, "store": {"site": "north", "codes": {"NEG": "norml"}}})
    with pytest.raises(HospitalError, match=r"^store.codes.NEG: 'norml' is none of the model's classes \(normal, "):
        files.take(config, [tmp_path / "report"])


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"{", "its JSON is broken"),
        (b'{"a":' * 100_000, "its JSON is broken"),
        (b"PID|", "does not begin with MSH"),
        (None, "cannot be read"),
    ],
)
def test_a_file_that_is_no_report_is_named(content: bytes | None, said: str, tmp_path: Path) -> None:
    file = tmp_path / "report"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(HospitalError, match=f"report: .*{said}"):
        files.read(file)
