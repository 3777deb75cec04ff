"""Secondary captures: each image with heatmap and boxes drawn in, and words that say what it is."""

import base64
import textwrap

import cv2
import numpy as np
import numpy.typing as npt
import pydicom
from pydicom.uid import SecondaryCaptureImageStorage

from hospital.results.equipment import finish
from hospital.results.source import laterality
from hospital.results.version import NOT_A_DIAGNOSIS, Edition, Made, View
from serving import saliency

ROLE = "capture"
_COPIED = (
    "PatientName",
    "PatientID",
    "IssuerOfPatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyInstanceUID",
    "StudyDate",
    "StudyTime",
    "StudyID",
    "AccessionNumber",
    "ReferringPhysicianName",
    "BodyPartExamined",
)
"""No window, rescale or spacing of the source: they mean nothing for an image in colour."""
_LONGEST_SIDE = 1024
_BOX = (80, 220, 255)  # BGR
_WHITE = (255, 255, 255)


def make(edition: Edition) -> list[Made]:
    """One capture for each view."""
    return [_capture(edition, view, number) for number, view in enumerate(edition.views, 1)]


def _capture(edition: Edition, view: View, number: int) -> Made:
    header = view.source.header
    pixels = draw(view)
    made = pydicom.Dataset()
    for keyword in _COPIED:
        if keyword in header:
            made[keyword] = header[keyword]
    made.SOPClassUID = SecondaryCaptureImageStorage
    made.SOPInstanceUID = edition.uid(f"{ROLE} {header.SOPInstanceUID}")
    made.SeriesInstanceUID = edition.uid("capture series")
    made.SeriesNumber, made.InstanceNumber = edition.settings.series_number + 1, number
    made.Modality, made.ConversionType = "OT", "WSD"
    made.PatientOrientation = header.get("PatientOrientation", "")
    made.Laterality = laterality(header)
    made.ImageType = ["DERIVED", "SECONDARY"]
    made.DerivationDescription = NOT_A_DIAGNOSIS
    made.ContentDate = made.DateOfSecondaryCapture = edition.made_at.strftime("%Y%m%d")
    made.ContentTime = made.TimeOfSecondaryCapture = edition.made_at.strftime("%H%M%S.%f")
    made.ContentQualification = "RESEARCH"
    made.SourceImageSequence = [_reference(header)]
    made.BurnedInAnnotation = "YES"
    made.SamplesPerPixel, made.PhotometricInterpretation, made.PlanarConfiguration = 3, "RGB", 0
    made.Rows, made.Columns = pixels.shape[:2]
    made.BitsAllocated, made.BitsStored, made.HighBit, made.PixelRepresentation = 8, 8, 7, 0
    raw = pixels.tobytes()
    made.add_new("PixelData", "OB", raw + b"\0" * (len(raw) % 2))
    return Made(ROLE, finish(made, edition, "Fracture capture"))


def draw(view: View) -> npt.NDArray[np.uint8]:
    """The picture, RGB uint8 of at most 1024 pixels a side, above a band with the words."""
    pixels = view.source.pixels
    scale = min(1.0, _LONGEST_SIDE / max(pixels.shape))
    if scale < 1:
        pixels = np.asarray(cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA), np.uint8)
    shown = _evidence(view) if view.boxes else None
    picture = saliency.overlay(pixels, shown) if shown is not None else cv2.cvtColor(pixels, cv2.COLOR_GRAY2BGR)
    height, width = pixels.shape
    thick = max(1, round(max(height, width) / 400))
    for box in view.boxes:
        first = (round(box.x0 * width), round(box.y0 * height))
        cv2.rectangle(picture, first, (round(box.x1 * width), round(box.y1 * height)), _BOX, thick)
    band = _band(width, [sentence(view), f"{view.answer.statement}", f"{NOT_A_DIAGNOSIS}."])
    return np.ascontiguousarray(np.vstack([picture, band])[..., ::-1], np.uint8)


def sentence(view: View) -> str:
    """The first words below a capture."""
    answer = view.answer
    # Not the label: it says "Normal" below the threshold, beside boxes and the suspicion "possible".
    return f"Suspicion {answer.suspicion}; probability of a fracture {answer.probability:.0%}"


def _evidence(view: View) -> saliency.Map | None:
    """The strength that a heatmap's opacity stands for (`saliency.layer`), float32 in [0, 1]."""
    explanation = view.answer.explanation
    if explanation is None:
        return None
    raw = np.frombuffer(base64.b64decode(explanation.heatmap.data), np.uint8)
    layer = cv2.imdecode(raw, cv2.IMREAD_UNCHANGED)
    if layer is None or layer.ndim != 3 or layer.shape[2] != 4:
        return None
    return np.asarray(layer[..., 3], np.float32) / np.float32(255 * 1.5)


def _band(width: int, lines: list[str]) -> npt.NDArray[np.uint8]:
    """White words on black, as large as the width allows and never cut off."""
    size = max(0.35, min(1.2, width / 900))
    per_line = max(12, int(width / (19 * size)))
    wrapped = [part for line in lines for part in textwrap.wrap(line, per_line)]
    step = round(34 * size)
    band = np.zeros((step * len(wrapped) + step // 2, width, 3), np.uint8)
    for number, line in enumerate(wrapped, 1):
        cv2.putText(
            band, line, (6, step * number), cv2.FONT_HERSHEY_SIMPLEX, size, _WHITE, max(1, round(size)), cv2.LINE_AA
        )
    return band


def _reference(header: pydicom.Dataset) -> pydicom.Dataset:
    item = pydicom.Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = header.SOPClassUID, header.SOPInstanceUID
    return item
