"""FHIR transactions as files and as lines of the standard output."""

import json
import stat
from pathlib import Path

import pytest

from hospital.delivery.fhir import transaction
from hospital.delivery.fhir_file import FhirFileSender
from hospital.delivery.settings import FhirFile
from hospital.errors import TryAgainError
from tests.hospital.delivery.packages import package


def destination(path: Path | str, release: str = "R4") -> FhirFile:
    return FhirFile.model_validate({"kind": "fhir_file", "name": "files", "path": str(path), "release": release})


def send(given: FhirFile, number: int = 1) -> bool:
    return FhirFileSender(given).send(package(number=number), lambda _: None).kept


def test_each_version_is_a_file_with_what_a_server_would_be_sent(tmp_path: Path) -> None:
    given = destination(tmp_path / "fhir", "R5")
    assert all(send(given, number) for number in (1, 2, 2))
    first, second = sorted((tmp_path / "fhir").iterdir())
    assert json.loads(first.read_bytes()) == transaction(package(number=1), given)
    assert "study" in json.loads(second.read_bytes())["entry"][3]["resource"]


def test_file_is_readable_by_its_owner_alone(tmp_path: Path) -> None:
    send(destination(tmp_path / "fhir"))
    (made,) = (tmp_path / "fhir").iterdir()
    assert [stat.S_IMODE(path.stat().st_mode) for path in (made, made.parent)] == [0o600, 0o700]


def test_folder_that_cannot_be_written_to_is_tried_again(tmp_path: Path) -> None:
    (tmp_path / "fhir").write_bytes(b"")
    for ask in (lambda one: one.echo(), lambda one: one.send(package(), lambda _: None)):
        with pytest.raises(TryAgainError, match=r"files: .*fhir cannot be written to"):
            ask(FhirFileSender(destination(tmp_path / "fhir")))


def test_check_leaves_nothing_in_the_folder(tmp_path: Path) -> None:
    FhirFileSender(destination(tmp_path / "fhir")).echo()
    assert list((tmp_path / "fhir").iterdir()) == []


def test_standard_output_gets_a_line_for_each_version(capfd: pytest.CaptureFixture[str]) -> None:
    given = destination("-")
    FhirFileSender(given).echo()
    assert all(send(given, number) for number in (1, 2))
    lines = capfd.readouterr().out.splitlines()
    assert [json.loads(line) for line in lines] == [transaction(package(number=number), given) for number in (1, 2)]
