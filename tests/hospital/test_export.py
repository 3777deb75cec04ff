"""Received studies as de-identified DICOM."""

import csv
import stat
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest

from hospital import cli
from hospital import export as module
from hospital.adt.corrections import keep
from hospital.adt.messages import Told
from hospital.audit.settings import Audit
from hospital.config import Config
from hospital.errors import HospitalError
from hospital.export import KeyTable, Outcome, Request, export
from serving.errors import SettingsError
from serving.imaging.dicom.deidentify.pseudonyms import VARIABLE, Key
from tests.hospital.conftest import Site
from tests.hospital.objects import PATIENT, radiograph

KEY = Key(b"a secret of the tests, of 32 characters")


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, KEY.secret.decode())


def limb(number: int, **values: Any) -> pydicom.Dataset:
    """A small radiograph of its own."""
    pixels = np.add.outer(np.arange(40), np.arange(32) + number).astype(np.uint8)
    return radiograph(pixels, **values)


@pytest.fixture
def received(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Config:
    """Receive two images of one study and one of another; the configuration of their gateway."""
    monkeypatch.setenv("HOSPITAL_DATABASE_URL", site.parts.database.url.render_as_string())
    for number, (study, patient) in enumerate((("1.2.1", "MRN^4711"), ("1.2.1", "MRN^4711"), ("1.2.2", "MRN^0815"))):
        site.take(limb(number, StudyInstanceUID=study, PatientID=patient))
    return Config(spool=site.parts.spool.root)


@pytest.fixture
def request_(tmp_path: Path) -> Request:
    """Ask for everything."""
    return Request(tmp_path / "export", tmp_path / "secret/table.csv")


def written(request: Request) -> list[Path]:
    return sorted(request.folder.rglob("*.dcm"))


def test_every_radiograph_of_received_studies_is_written(received: Config, request_: Request) -> None:
    assert export(received, request_) == Outcome(written=3)
    assert {path.parent.name for path in written(request_)} == {KEY.study("1.2.1"), KEY.study("1.2.2")}


def test_no_byte_of_an_export_names_the_patient(received: Config, request_: Request) -> None:
    export(received, request_)
    for path in written(request_):
        content = path.read_bytes()
        assert not any(name.encode() in content for name in (*PATIENT.split("^"), "MRN^", "19700101", "20261127"))


def test_objects_are_those_of_the_profile(received: Config, request_: Request) -> None:
    export(received, request_)
    found = pydicom.dcmread(written(request_)[0])
    assert found.PatientIdentityRemoved == "YES"


def test_only_the_owner_can_read_the_table_that_leads_back(received: Config, request_: Request) -> None:
    export(received, request_)
    assert stat.S_IMODE(request_.table.stat().st_mode) == 0o600
    rows = list(csv.DictReader(request_.table.read_text().splitlines()))
    assert {row["original_patient_id"] for row in rows} == {"MRN^4711", "MRN^0815"}
    assert {row["file"] for row in rows} == {path.relative_to(request_.folder).as_posix() for path in written(request_)}


def test_a_second_export_writes_what_is_new(received: Config, request_: Request, site: Site) -> None:
    export(received, request_)
    site.take(limb(9, StudyInstanceUID="1.2.3"))
    assert export(received, request_) == Outcome(written=1, there=3)


def audited(folder: Path) -> list[str]:
    return [line for path in sorted(folder.glob("*.log")) for line in path.read_text(encoding="utf-8").splitlines()]


def test_each_study_that_leaves_is_audited_once(
    received: Config, request_: Request, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOGNAME", "jane")
    config = received.model_copy(update={"audit": Audit(folder=tmp_path / "audit")})
    for _ in range(2):
        export(config, request_)
    first, second = audited(tmp_path / "audit")
    for told in ('csd-code="110106"', 'UserID="jane"', request_.folder.as_uri(), "MRN^4711", 'NumberOfInstances="2"'):
        assert told in first
    assert '"1.2.2"' in second


def test_study_that_cannot_be_audited_stays(received: Config, request_: Request, tmp_path: Path) -> None:
    config = received.model_copy(update={"audit": Audit(folder=tmp_path / "audit")})
    (tmp_path / "audit").mkdir()
    (tmp_path / "audit" / f"audit-{datetime.now(UTC):%Y-%m-%d}.log").mkdir()
    with pytest.raises(HospitalError, match="audit"):
        export(config, request_)
    assert written(request_) == []


def test_an_interrupted_export_goes_on(received: Config, request_: Request, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(module, "_write_whole", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            export(received, request_)
    with request_.table.open("a") as table:
        table.write("half a ro")
    assert export(received, request_) == Outcome(written=3)
    assert "half" not in request_.table.read_text()


def test_chosen_studies_are_written_alone(received: Config, request_: Request) -> None:
    chosen = Request(request_.folder, request_.table, studies=("1.2.2",))
    assert export(received, chosen) == Outcome(written=1)


def test_an_unknown_study_has_one_line(received: Config, request_: Request) -> None:
    with pytest.raises(HospitalError, match=r"study 9\.9: holds nothing to export"):
        export(received, Request(request_.folder, request_.table, studies=("9.9",)))


def test_text_that_nobody_reviewed_is_left_out_and_named(
    received: Config, request_: Request, site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    declared = limb(5, StudyInstanceUID="1.2.5", BurnedInAnnotation="YES")
    site.take(declared)
    assert export(received, request_) == Outcome(written=3, left_out=1)
    assert f"left out: {declared.SOPInstanceUID}: declares text" in capsys.readouterr().err


def test_reviewed_text_is_written_until_the_review_is_taken_back(
    received: Config, request_: Request, site: Site, tmp_path: Path
) -> None:
    declared = limb(5, StudyInstanceUID="1.2.5", BurnedInAnnotation="YES")
    site.take(declared)
    (tmp_path / "reviewed").write_text(f"{declared.SOPInstanceUID}\n")
    assert export(received, Request(request_.folder, request_.table, tmp_path / "reviewed")).written == 4
    assert export(received, request_) == Outcome(there=3, left_out=1)
    assert len(written(request_)) == 3


def test_a_study_of_two_patients_is_left_out(
    received: Config, request_: Request, site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    site.take(limb(6, StudyInstanceUID="1.2.2", PatientID="MRN^4242"))
    assert export(received, request_) == Outcome(written=2, left_out=2)
    assert "4242" not in capsys.readouterr().err


def merge(site: Site, prior: str, surviving: str) -> None:
    keep(site.parts, [Told(surviving, prior_id=prior)])


def pseudonyms(request: Request) -> set[str]:
    return {str(pydicom.dcmread(path).PatientID) for path in written(request)}


def test_merged_patients_are_one_group(received: Config, request_: Request, site: Site) -> None:
    merge(site, "MRN^4711", "MRN^0815")
    export(received, request_)
    assert pseudonyms(request_) == {KEY.patient("MRN^0815")}


def test_merge_after_an_export_is_taken_over_by_the_next_one(received: Config, request_: Request, site: Site) -> None:
    export(received, request_)
    merge(site, "MRN^4711", "MRN^0815")
    assert export(received, request_) == Outcome(written=2, there=1)
    assert pseudonyms(request_) == {KEY.patient("MRN^0815")}
    assert export(received, request_) == Outcome(there=3)


def test_study_of_two_patients_who_were_merged_is_written(received: Config, request_: Request, site: Site) -> None:
    site.take(limb(6, StudyInstanceUID="1.2.2", PatientID="MRN^4242"))
    merge(site, "MRN^4242", "MRN^0815")
    assert export(received, request_) == Outcome(written=4)


def test_a_corrected_image_replaces_the_earlier_export(received: Config, request_: Request, site: Site) -> None:
    first = limb(7, StudyInstanceUID="1.2.7", SeriesInstanceUID="1.2.7.1", SOPInstanceUID="1.2.7.1.1")
    site.take(first)
    export(received, request_)
    first.PatientID = "corrected"
    site.take(first)
    assert export(received, request_) == Outcome(written=1, there=3)


def test_a_table_in_the_exported_folder_is_refused(received: Config, tmp_path: Path) -> None:
    with pytest.raises(HospitalError, match="must lie outside"):
        export(received, Request(tmp_path / "export", tmp_path / "export/table.csv"))


def test_an_export_into_the_spool_is_refused(received: Config, tmp_path: Path) -> None:
    with pytest.raises(HospitalError, match="lie in each other"):
        export(received, Request(received.spool / "export", tmp_path / "table.csv"))


def test_a_file_that_is_no_such_table_is_left_as_it_was(received: Config, request_: Request) -> None:
    request_.table.parent.mkdir()
    request_.table.write_text("something,else\n1,2\n")
    with pytest.raises(HospitalError, match="is no table of this command"):
        export(received, request_)
    assert request_.table.read_text() == "something,else\n1,2\n"


def test_two_exports_do_not_write_one_table(received: Config, request_: Request) -> None:
    with KeyTable(request_.table), pytest.raises(HospitalError, match="another export is writing it"):
        export(received, request_)


def test_without_a_key_nothing_is_written(received: Config, request_: Request, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE)
    with pytest.raises(SettingsError):
        export(received, request_)
    assert not request_.table.exists()


def test_the_command_says_what_was_done_and_what_not_to_share(
    received: Config, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "hospital.toml").write_text(f'spool = "{received.spool}"\n')
    assert cli.main(["--config", str(tmp_path / "hospital.toml"), "export", str(tmp_path / "export")]) == 0
    out = capsys.readouterr().out
    assert "3 written, 0 there already, 0 left out" in out
    assert f"{received.spool}/pseudonyms.csv leads back to the patients" in out
