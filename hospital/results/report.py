"""The Comprehensive 3D SR by TID 1500 (PS3.16): a group for each box, or one for the whole image without a box."""

from collections.abc import Sequence

import numpy as np
import pydicom
from highdicom.sr import (
    AlgorithmIdentification,
    CodeContentItem,
    CodedConcept,
    Comprehensive3DSR,
    ContainerContentItem,
    ContentSequence,
    DeviceObserverIdentifyingAttributes,
    FindingSite,
    GraphicTypeValues,
    ImageContentItem,
    ImageRegion,
    Measurement,
    MeasurementReport,
    NumContentItem,
    ObservationContext,
    ObserverContext,
    PlanarROIMeasurementsAndQualitativeEvaluations,
    QualitativeEvaluation,
    RelationshipTypeValues,
    SourceImageForRegion,
    TrackingIdentifier,
)
from pydicom.sr.codedict import codes

from hospital.results.equipment import finish
from hospital.results.uids import derived_uid
from hospital.results.version import NOT_A_DIAGNOSIS, Edition, Made, View
from serving.http.schemas import Box

ROLE = "report"
_WHOLE = Box(x0=0, y0=0, x1=1, y1=1, strength=0)


def _code(value: str, scheme: str, meaning: str) -> CodedConcept:
    return CodedConcept(value=value, scheme_designator=scheme, meaning=meaning)


_FRACTURE = _code("125605004", "SCT", "Fracture of bone")
_JUDGEMENTS = {
    "high": _code("52101004", "SCT", "Present"),
    "possible": _code("373068000", "SCT", "Undetermined"),
    "none": _code("272519000", "SCT", "Absent"),
}
_SITES = {
    "hand": _code("85562004", "SCT", "Hand"),
    "leg": _code("30021000", "SCT", "Lower leg"),
    "hip": _code("24136001", "SCT", "Hip joint"),
    "shoulder": _code("16982005", "SCT", "Shoulder region"),
}
"""Finding sites of the regions that images are told apart by (`serving.scope.REGIONS`)."""


def make(edition: Edition) -> Made:
    """The report of a version, as an object that is ready to be written."""
    evidence = [view.source.header for view in edition.views]
    content = MeasurementReport(
        observation_context=ObservationContext(observer_device_context=_observer(edition)),
        procedure_reported=_code("363679005", "SCT", "Imaging procedure"),
        imaging_measurements=[group for view in edition.views for group in _groups(edition, view)],
        title=codes.DCM.ImagingMeasurementReport,
    )
    _add_library(content[0], evidence)
    report = Comprehensive3DSR(
        evidence=evidence,
        content=content[0],
        series_instance_uid=edition.uid("report series"),
        series_number=edition.settings.series_number,
        sop_instance_uid=edition.uid(ROLE),
        instance_number=1,
        manufacturer=edition.settings.manufacturer,
        is_complete=True,
        is_final=False,
        is_verified=False,
        previous_versions=list(edition.predecessors) or None,
        content_date=edition.made_at.date(),
        content_time=edition.made_at.time(),
        content_qualification="RESEARCH",
        specific_character_set="ISO_IR 192",
    )
    return Made(ROLE, finish(report, edition, "Fracture report"))


def _observer(edition: Edition) -> ObserverContext:
    device = DeviceObserverIdentifyingAttributes(
        uid=edition.device_uid,
        name=edition.settings.station,
        manufacturer_name=edition.settings.manufacturer,
        model_name=edition.model.name,
        serial_number=edition.model.digest[:16],
    )
    return ObserverContext(observer_type=codes.DCM.Device, observer_identifying_attributes=device)


def _groups(edition: Edition, view: View) -> list[PlanarROIMeasurementsAndQualitativeEvaluations]:
    return [_group(edition, view, number, box) for number, box in enumerate(view.boxes or (_WHOLE,), 1)]


def _group(edition: Edition, view: View, number: int, box: Box) -> PlanarROIMeasurementsAndQualitativeEvaluations:
    """TID 1410 of one box; its tracking UID stays the same from version to version."""
    header, answer = view.source.header, view.answer
    width, height = int(header.Columns), int(header.Rows)
    corners = [(box.x0, box.y0), (box.x1, box.y0), (box.x1, box.y1), (box.x0, box.y1), (box.x0, box.y0)]
    source = SourceImageForRegion(header.SOPClassUID, header.SOPInstanceUID)
    region = ImageRegion(
        graphic_type=GraphicTypeValues.POLYLINE,
        graphic_data=np.array([(x * width, y * height) for x, y in corners]),
        source_image=source,
    )
    region_of = answer.region
    # Where the image shows several regions, and nobody stated one, it is not known in which the box lies.
    is_told = region_of is not None and not (region_of.source == "image" and region_of.also)
    site = _SITES.get(region_of.name) if region_of and is_told else None
    name = f"{edition.model.name} {header.SOPInstanceUID[-12:]} {number}"
    return PlanarROIMeasurementsAndQualitativeEvaluations(
        referenced_region=region,
        tracking_identifier=TrackingIdentifier(_tracking_uid(edition, view, number), name),
        finding_type=_FRACTURE,
        finding_sites=[FindingSite(site)] if site else None,
        algorithm_id=AlgorithmIdentification(
            name=edition.model.name,
            version=edition.model.version,
            family=_code("123110", "DCM", "Artificial Intelligence"),
            parameters=[f"threshold {answer.threshold:.4f}", NOT_A_DIAGNOSIS, answer.statement],
        ),
        measurements=[
            Measurement(
                name=_code("111012", "DCM", "Certainty of Finding"),
                value=round(100 * answer.probability, 1),
                unit=codes.UCUM.Percent,
            )
        ],
        qualitative_evaluations=[QualitativeEvaluation(name=_FRACTURE, value=_JUDGEMENTS[answer.suspicion])],
    )


def _tracking_uid(edition: Edition, view: View, number: int) -> str:
    return derived_uid("finding", edition.model.digest, str(view.source.header.SOPInstanceUID), str(number))


def _add_library(root: pydicom.Dataset, images: Sequence[pydicom.Dataset]) -> None:
    """TID 1600 before the measurements, by hand: highdicom's asks for attributes that radiographs lack."""
    contains, context = RelationshipTypeValues.CONTAINS, RelationshipTypeValues.HAS_ACQ_CONTEXT
    pixels = _code("{pixels}", "UCUM", "Pixels")
    library = ContainerContentItem(name=codes.DCM.ImageLibrary, relationship_type=contains)
    group = ContainerContentItem(name=codes.DCM.ImageLibraryGroup, relationship_type=contains)
    library.ContentSequence, group.ContentSequence = ContentSequence(), ContentSequence()
    for image in images:
        entry = ImageContentItem(
            name=_code("260753009", "SCT", "Source"),
            referenced_sop_class_uid=image.SOPClassUID,
            referenced_sop_instance_uid=image.SOPInstanceUID,
            relationship_type=contains,
        )
        modality = codes.DCM.ComputedRadiography if image.get("Modality") == "CR" else codes.DCM.DigitalRadiography
        entry.ContentSequence = ContentSequence(
            [
                CodeContentItem(name=codes.DCM.Modality, value=modality, relationship_type=context),
                NumContentItem(
                    name=codes.DCM.PixelDataRows, value=int(image.Rows), unit=pixels, relationship_type=context
                ),
                NumContentItem(
                    name=codes.DCM.PixelDataColumns, value=int(image.Columns), unit=pixels, relationship_type=context
                ),
            ]
        )
        group.ContentSequence.append(entry)
    library.ContentSequence.append(group)
    root.ContentSequence.insert(len(root.ContentSequence) - 1, library)
