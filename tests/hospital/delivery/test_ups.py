"""Work items for studies to be read first, on a server that answers as a test says."""

import pydicom
import pytest

from hospital.delivery.settings import Ups
from hospital.delivery.ups import UpsSender, workitem, workitem_uid
from hospital.errors import DeadLetterError, TryAgainError
from tests.hospital.delivery.packages import package
from tests.hospital.delivery.test_stow import server
from tests.hospital.objects import PATIENT

REQUIRED = (
    "SOPClassUID", "SOPInstanceUID", "ScheduledProcedureStepPriority", "ScheduledProcedureStepModificationDateTime",
    "ProcedureStepLabel", "WorklistLabel", "ScheduledProcedureStepStartDateTime", "InputReadinessState",
    "ProcedureStepState",
)  # fmt: skip
MAY_BE_EMPTY = (
    "TransactionUID", "ScheduledProcessingParametersSequence", "ScheduledStationNameCodeSequence",
    "ScheduledStationClassCodeSequence", "ScheduledStationGeographicLocationCodeSequence",
    "ScheduledWorkitemCodeSequence", "CommentsOnTheScheduledProcedureStep", "InputInformationSequence", "PatientName",
    "PatientID", "OtherPatientIDsSequence", "PatientBirthDate", "PatientSex", "AdmissionID",
    "IssuerOfAdmissionIDSequence", "AdmittingDiagnosesDescription", "AdmittingDiagnosesCodeSequence",
    "ReferencedRequestSequence", "ProcedureStepProgressInformationSequence",
    "UnifiedProcedureStepPerformedProcedureSequence",
)  # fmt: skip
"""PS3.4, table CC.2.5-3: types 1 and 2 of a request to create."""
MUST_BE_EMPTY = (
    "TransactionUID", "ProcedureStepProgressInformationSequence", "UnifiedProcedureStepPerformedProcedureSequence",
)  # fmt: skip


def send(url: str) -> bool:
    destination = Ups(kind="ups", name="worklist", url=url, timeout_seconds=5)
    return UpsSender(destination).send(package(), lambda _: None).kept


def test_workitem_has_what_the_table_asks_for() -> None:
    made = workitem(package(), "Radiograph reading")
    assert [name for name in REQUIRED if not made.get(name)] == []
    assert [name for name in MAY_BE_EMPTY if name not in made] == []
    assert [name for name in MUST_BE_EMPTY if made.get(name)] == []


def test_workitem_is_urgent_and_says_that_it_is_no_diagnosis() -> None:
    made = workitem(package(), "Radiograph reading")
    assert (made.ScheduledProcedureStepPriority, made.ProcedureStepState) == ("HIGH", "SCHEDULED")
    assert "not for diagnostic use" in made.CommentsOnTheScheduledProcedureStep


def test_patient_survives_dicom_json() -> None:
    read = pydicom.Dataset.from_json(workitem(package(), "Radiograph reading").to_json())
    assert str(read.PatientName) == PATIENT


def test_later_version_of_a_study_has_the_same_work_item() -> None:
    first, second = (workitem(package(number=number), "").SOPInstanceUID for number in (1, 2))
    assert first == second == workitem_uid(package().study_uid)


@pytest.mark.parametrize("status", [201, 409])
def test_workitem_that_is_there_is_delivered(status: int) -> None:
    with server(status) as (url, asked):
        assert send(url)
    assert asked == ["/dicom-web/workitems"]


@pytest.mark.parametrize("status", [200, 202, 302, 503])
def test_other_answers_are_tried_again(status: int) -> None:
    with server(status) as (url, _), pytest.raises(TryAgainError, match=str(status)):
        send(url)


def test_refusal_is_a_dead_letter() -> None:
    with server(401) as (url, _), pytest.raises(DeadLetterError, match="401"):
        send(url)
