"""Table E.1-1 of PS3.15, as dicom-anonymizer carries it, against what an export holds: attribute by attribute."""

import io
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pydicom
import pytest
from dicomanonymizer.dicom_anonymization_databases import dicomfields_2026c as table
from pydicom.tag import BaseTag, Tag

from serving.imaging.dicom.deidentify.confidential import deidentify
from tests.hospital.objects import encoded
from tests.hospital.objects import radiograph as drawn_radiograph
from tests.serving.imaging.dicom.deidentify.planted import KEY, marks_in, planted, radiograph

_NO_DATA_SET = {0x0000, 0x0002, 0x0004}
DATES = {Tag(keyword) for keyword in ("StudyDate", "SeriesDate", "AcquisitionDate", "ContentDate")}
"""What the Retain Longitudinal Temporal Information Modified Dates Option asks to clean (C) and an export keeps."""


def listed(*actions: str) -> set[BaseTag]:
    """Attributes of the table with one of some actions; element 0 stands for a whole repeating group."""
    rows = [row for action in actions for row in getattr(table, f"{action}_TAGS")]
    return {Tag(row[0], row[1] or 0x0010) for row in rows if row[0] not in _NO_DATA_SET}


REMOVED = listed("X", "X_Z", "X_D", "X_Z_D", "X_Z_U_STAR")
EMPTIED = listed("Z", "Z_D")
REPLACED = listed("U")
ALL = REMOVED | EMPTIED | REPLACED | listed("D")


@pytest.fixture(scope="module")
def result() -> pydicom.Dataset:
    """Export an object in which every listed attribute names the patient."""
    content = deidentify(radiograph(*map(planted, sorted(ALL))), KEY).content
    assert marks_in(content) == []
    return pydicom.dcmread(io.BytesIO(content))


def test_the_table_is_that_of_a_whole_edition() -> None:
    assert len(ALL) > 600


def test_what_the_table_removes_is_not_there(result: pydicom.Dataset) -> None:
    assert set(result.keys()) & REMOVED - DATES - {Tag("AcquisitionContextSequence")} == set()


def test_what_the_table_empties_is_empty_or_a_pseudonym(result: pydicom.Dataset) -> None:
    there = {tag: str(result[tag].value or "") for tag in set(result.keys()) & EMPTIED - DATES}
    pseudonym = KEY.patient("DOEJANE4711")
    assert {tag for tag, value in there.items() if value not in {"", pseudonym}} == set()


def test_what_the_table_replaces_are_our_own_uids(result: pydicom.Dataset) -> None:
    there = {result[tag].value for tag in set(result.keys()) & REPLACED}
    assert len(there) == 3
    assert all(uid.startswith("2.25.") for uid in there)


def test_what_needs_a_dummy_value_is_left_out(result: pydicom.Dataset) -> None:
    assert set(result.keys()) & listed("D") == set()


def test_no_private_attribute_is_there(result: pydicom.Dataset) -> None:
    assert not [tag for tag in result.keys() if tag.is_private]  # noqa: SIM118  a data set iterates over elements


def complaints(content: bytes, folder: Path) -> set[str]:
    """What dciodvfy reports as errors."""
    program = shutil.which("dciodvfy")
    assert program, "dciodvfy is not installed (tests/system-packages.txt)"
    path = folder / "object.dcm"
    path.write_bytes(content)
    told = subprocess.run([program, str(path)], capture_output=True, text=True, check=False)
    return {line for line in (told.stdout + told.stderr).splitlines() if line.startswith("Error")}


@pytest.mark.dicom3tools
@pytest.mark.parametrize("sop_class", ["CR", "DX"])
def test_an_export_has_no_error_of_dciodvfy_that_its_source_has_not(sop_class: str, tmp_path: Path) -> None:
    source = encoded(drawn_radiograph(np.arange(64, dtype=np.uint8).reshape(8, 8), sop_class=sop_class))
    assert complaints(deidentify(source, KEY).content, tmp_path) - complaints(source, tmp_path) == set()
