"""A work item with priority HIGH for a study that should be read first (UPS-RS; PS3.18, 11.4, and PS3.4, CC.2.5).

One a study: its UID follows from the study's, so a server that has it answers 409, and a later version makes no second.
"""

from datetime import UTC, datetime

import httpx
import pydicom
from pydicom.uid import UID
from pynetdicom.sop_class import UnifiedProcedureStepPush  # type: ignore[attr-defined]

from hospital.delivery import Announce, Package, Promise
from hospital.delivery.settings import Ups
from hospital.errors import DeadLetterError, TryAgainError
from hospital.results.uids import derived_uid
from hospital.results.version import NOT_A_DIAGNOSIS
from hospital.unanswered import unreachable

_JSON = "application/dicom+json"
_LABEL = "Read first: AI suspects a fracture"
_INTERPRETATION = ("110005", "DCM", "Interpretation")
"""Of CID 9231, general purpose workitem definition."""
_CREATED, _EXISTS = 201, 409
_HOPELESS = (400, 401, 403, 404, 405, 410, 413, 415)
_EMPTY_SEQUENCES = (
    "ScheduledProcessingParametersSequence",
    "ScheduledStationNameCodeSequence",
    "ScheduledStationClassCodeSequence",
    "ScheduledStationGeographicLocationCodeSequence",
    "InputInformationSequence",
    "OtherPatientIDsSequence",
    "IssuerOfAdmissionIDSequence",
    "AdmittingDiagnosesCodeSequence",
    "ProcedureStepProgressInformationSequence",
    "UnifiedProcedureStepPerformedProcedureSequence",
)
"""Of type 2: nothing is known of it here."""


class UpsSender:
    """Creates work items on one server. Redirects are not followed: patients' data goes to the named address only."""

    def __init__(self, destination: Ups, authorization: str = "") -> None:
        self._destination = destination
        headers = {"content-type": _JSON, "accept": _JSON}
        if authorization:
            headers["authorization"] = authorization
        self._client = httpx.Client(headers=headers, timeout=destination.timeout_seconds, trust_env=False)

    def echo(self) -> None:
        """A search that finds nothing or one work item."""
        answer = self._asked("GET", "/workitems?limit=1")
        if answer.status_code not in {200, 204}:
            raise self._refusal(answer.status_code)

    def send(self, package: Package, _announce: Announce) -> Promise:
        """Create the study's work item; one that is there already stays as it is."""
        document = [workitem(package, self._destination.worklist).to_json_dict()]
        answer = self._asked("POST", "/workitems", document)
        if answer.status_code not in {_CREATED, _EXISTS}:
            raise self._refusal(answer.status_code)
        return Promise(kept=True)

    def _asked(self, method: str, path: str, document: object = None) -> httpx.Response:
        try:
            return self._client.request(method, self._destination.url.rstrip("/") + path, json=document)
        except httpx.HTTPError as error:
            raise unreachable(self._destination.name, error) from None

    def _refusal(self, status: int) -> TryAgainError | DeadLetterError:
        name = self._destination.name
        if status in _HOPELESS:
            return DeadLetterError(f"http_{status}", f"{name} answered {status}; check its address and authorization")
        return TryAgainError(f"http_{status}", f"{name} answered {status}")


def workitem_uid(study_uid: str) -> UID:
    """The work item of a study."""
    return derived_uid("workitem", study_uid)


def workitem(package: Package, worklist: str) -> pydicom.Dataset:
    """The data set of a request to create (PS3.4, table CC.2.5-3, column N-CREATE)."""
    patient, moment = package.patient, datetime.fromtimestamp(package.made_at, UTC).strftime("%Y%m%d%H%M%S+0000")
    made = pydicom.Dataset()
    made.SpecificCharacterSet = "ISO_IR 192"
    made.SOPClassUID, made.SOPInstanceUID = UnifiedProcedureStepPush, workitem_uid(package.study_uid)
    made.TransactionUID = ""
    made.ScheduledProcedureStepPriority = "HIGH"
    made.ScheduledProcedureStepModificationDateTime = made.ScheduledProcedureStepStartDateTime = moment
    made.ProcedureStepLabel, made.WorklistLabel = _LABEL, worklist
    made.CommentsOnTheScheduledProcedureStep = f"{package.statement} {NOT_A_DIAGNOSIS}."
    code = pydicom.Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = _INTERPRETATION
    made.ScheduledWorkitemCodeSequence = [code]
    made.InputReadinessState, made.ProcedureStepState = "READY", "SCHEDULED"
    made.PatientName, made.PatientID = patient.get("name", ""), patient.get("id", "")
    made.PatientBirthDate, made.PatientSex = patient.get("birth_date", ""), patient.get("sex", "")
    made.AdmissionID = made.AdmittingDiagnosesDescription = ""
    made.StudyInstanceUID = package.study_uid
    made.ReferencedRequestSequence = [_request(package)]
    for keyword in _EMPTY_SEQUENCES:
        setattr(made, keyword, [])
    return made


def _request(package: Package) -> pydicom.Dataset:
    """The order that the images belong to, as far as they name it."""
    made = pydicom.Dataset()
    made.StudyInstanceUID = package.study_uid
    made.AccessionNumber = package.patient.get("accession_number", "")
    made.RequestedProcedureID = made.RequestedProcedureDescription = ""
    made.IssuerOfAccessionNumberSequence, made.RequestedProcedureCodeSequence = [], []
    return made
