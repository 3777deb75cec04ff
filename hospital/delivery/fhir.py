"""A FHIR transaction: DiagnosticReport, Observations, ImagingStudy and Device, updated by their identifiers.

A repetition changes nothing: each entry is a conditional update (FHIR, 3.1.0.4.3). Taken is a transaction whose answer
is a bundle with a success for each entry.
"""

import uuid
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import httpx

from hospital.delivery import Announce, Package, Promise
from hospital.delivery.settings import Fhir, FhirForm
from hospital.errors import DeadLetterError, TryAgainError
from hospital.results.version import NOT_A_DIAGNOSIS
from hospital.unanswered import unreachable

Resource = dict[str, Any]
_UIDS = "urn:dicom:uid"
_LOINC, _SNOMED, _DCM, _UCUM = (
    "http://loinc.org",
    "http://snomed.info/sct",
    "http://dicom.nema.org/resources/ontology/DCM",
    "http://unitsofmeasure.org",
)
_JUDGEMENTS = {
    "high": ("52101004", "Present"),
    "possible": ("373068000", "Undetermined"),
    "none": ("272519000", "Absent"),
}
_HOPELESS = (400, 401, 403, 404, 405, 410, 422)


class FhirSender:
    """Sends to one server. Redirects are not followed: patients' data goes to the named address only."""

    def __init__(self, destination: Fhir, authorization: str = "") -> None:
        self._destination = destination
        headers = {"accept": "application/fhir+json", "content-type": "application/fhir+json"}
        if authorization:
            headers["authorization"] = authorization
        self._client = httpx.Client(headers=headers, timeout=destination.timeout_seconds, trust_env=False)

    def echo(self) -> None:
        """The server's capability statement."""
        answer = self._asked("GET", "/metadata", None)
        if answer.status_code != 200:
            raise _refusal(self._destination.name, answer.status_code)

    def send(self, package: Package, _announce: Announce) -> Promise:
        """One transaction for a version."""
        bundle = transaction(package, self._destination)
        answer = self._asked("POST", "", bundle)
        if not 200 <= answer.status_code < 300:
            raise _refusal(self._destination.name, answer.status_code)
        taken = _successes(answer)
        if taken != len(bundle["entry"]):
            name = self._destination.name
            raise TryAgainError("not_confirmed", f"{name} confirmed {taken} of {len(bundle['entry'])} resources")
        return Promise(kept=True)

    def _asked(self, method: str, path: str, document: Resource | None) -> httpx.Response:
        try:
            return self._client.request(method, self._destination.url.rstrip("/") + path, json=document)
        except httpx.HTTPError as error:
            raise unreachable(self._destination.name, error) from None


def transaction(package: Package, form: FhirForm) -> Resource:
    """The bundle; references within it are by `fullUrl`."""
    device, study = _device(package), _study(package, form)
    observation = _observation(package, form, _url(device), _url(study))
    report = _report(package, form, _url(study), _url(observation))
    return {
        "resourceType": "Bundle",
        "type": "transaction",
        "entry": [_entry(resource) for resource in (device, study, observation, report)],
    }


def _device(package: Package) -> Resource:
    model = package.model
    return {
        "resourceType": "Device",
        "identifier": [_identifier("urn:ietf:rfc:3986", f"urn:sha256:{model['digest']}")],
        "status": "active",
        "manufacturer": "bone-fracture-detection",
        "modelNumber": model["name"],
        "version": [{"value": model["version"]}],
    }


def _study(package: Package, form: FhirForm) -> Resource:
    return {
        "resourceType": "ImagingStudy",
        "identifier": [_identifier(_UIDS, f"urn:oid:{package.study_uid}")],
        "status": "available",
        "subject": _subject(package, form),
    }


def _observation(package: Package, form: FhirForm, device: str, study: str) -> Resource:
    found: Resource = {
        "resourceType": "Observation",
        "identifier": [_identifier(_UIDS, f"urn:oid:{package.study_uid}", "#fracture")],
        "status": "preliminary",
        "category": [_concept("http://terminology.hl7.org/CodeSystem/observation-category", "imaging", "Imaging")],
        "code": _concept(_SNOMED, "125605004", "Fracture of bone"),
        "subject": _subject(package, form),
        "issued": _instant(package),
        "device": {"reference": device},
        "derivedFrom": [{"reference": study}],
        "note": [{"text": f"{package.statement} {NOT_A_DIAGNOSIS}."}],
    }
    if package.probability is None:
        found["dataAbsentReason"] = _concept(
            "http://terminology.hl7.org/CodeSystem/data-absent-reason", "not-performed", "Not Performed"
        )
        return found
    code, meaning = _JUDGEMENTS[package.suspicion]
    found["valueCodeableConcept"] = _concept(_SNOMED, code, meaning)
    found["component"] = [
        {
            "code": _concept(_DCM, "111012", "Certainty of Finding"),
            "valueQuantity": {
                "value": round(100 * package.probability, 1),
                "unit": "%",
                "system": _UCUM,
                "code": "%",
            },
        }
    ]
    return found


def _report(package: Package, form: FhirForm, study: str, observation: str) -> Resource:
    studies = "study" if form.release == "R5" else "imagingStudy"
    return {
        "resourceType": "DiagnosticReport",
        "identifier": [_identifier(_UIDS, f"urn:oid:{package.study_uid}", "#report")],
        "status": "preliminary",
        "code": _concept(_LOINC, "18748-4", "Diagnostic imaging study"),
        "subject": _subject(package, form),
        "issued": _instant(package),
        studies: [{"reference": study}],
        "result": [{"reference": observation}],
        "conclusion": f"{package.statement} {NOT_A_DIAGNOSIS}.",
    }


def _subject(package: Package, form: FhirForm) -> Resource:
    """The patient by the identifier that the images bear; no name leaves with it."""
    identifier = {"value": package.patient.get("id", "")}
    if form.patient_system:
        identifier["system"] = form.patient_system
    return {"type": "Patient", "identifier": identifier}


def _identifier(system: str, value: str, part: str = "") -> Resource:
    return {"system": system, "value": value + part}


def _concept(system: str, code: str, display: str) -> Resource:
    return {"coding": [{"system": system, "code": code, "display": display}]}


def _instant(package: Package) -> str:
    return datetime.fromtimestamp(package.made_at, UTC).isoformat(timespec="seconds")


def _url(resource: Resource) -> str:
    """A `fullUrl` that follows from what identifies the resource."""
    identifier = resource["identifier"][0]
    return uuid.uuid5(uuid.NAMESPACE_URL, f"{resource['resourceType']} {identifier['value']}").urn


def _entry(resource: Resource) -> Resource:
    identifier = resource["identifier"][0]
    condition = quote(f"{identifier['system']}|{identifier['value']}", safe="")
    request = {"method": "PUT", "url": f"{resource['resourceType']}?identifier={condition}"}
    return {"fullUrl": _url(resource), "resource": resource, "request": request}


def _successes(answer: httpx.Response) -> int:
    """Entries of a transaction's answer that succeeded; 0 where it is none."""
    try:
        document = answer.json()
        if document["resourceType"] != "Bundle" or document["type"] != "transaction-response":
            return 0
        return sum(str(entry["response"]["status"]).startswith("2") for entry in document["entry"])
    except (ValueError, LookupError, TypeError):
        return 0


def _refusal(name: str, status: int) -> TryAgainError | DeadLetterError:
    if status in _HOPELESS:
        return DeadLetterError(f"http_{status}", f"{name} answered {status}; check its address, release and rights")
    return TryAgainError(f"http_{status}", f"{name} answered {status}")
