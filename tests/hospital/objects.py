"""DICOM objects to send: drawn radiographs as CR and DX, and their senders."""

import io
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pydicom
from PIL import Image
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import (
    ComputedRadiographyImageStorage,
    DigitalXRayImageStorageForPresentation,
    ExplicitVRLittleEndian,
    generate_uid,
)

from serving import bundle
from serving.predictor import Predictor

BUNDLE = sorted((Path(__file__).parents[2] / "models").glob("*/bundle"))[-1]
MOST_SUSPICIOUS, LEAST_SUSPICIOUS = -1, 0
"""Samples by what the release says of them: their names tell what was drawn, not what a model answers."""
PATIENT = "Отто^Öztürk"
"""A name that no log and no file name may hold."""


@cache
def _samples() -> list[Path]:
    """The bundle's samples, the least suspicious first."""
    predictor = Predictor(bundle.read(BUNDLE))
    return sorted(BUNDLE.glob("samples/*.png"), key=lambda path: predictor.predict(path.read_bytes()).probability)


@cache
def drawn(rank: int = MOST_SUSPICIOUS) -> npt.NDArray[np.uint8]:
    """The grey pixels of one of the bundle's samples."""
    return np.asarray(Image.open(_samples()[rank]).convert("L"), np.uint8)


def radiograph(pixels: npt.NDArray[np.uint8] | None = None, *, sop_class: str = "CR", **attributes: Any) -> FileDataset:
    """A complete CR or DX object; `attributes` replace values by keyword, None removes one."""
    shown = drawn() if pixels is None else pixels
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128, is_implicit_VR=False, is_little_endian=True)
    made.SpecificCharacterSet = "ISO_IR 192"
    is_cr = sop_class == "CR"
    made.SOPClassUID = ComputedRadiographyImageStorage if is_cr else DigitalXRayImageStorageForPresentation
    made.SOPInstanceUID, made.SeriesInstanceUID, made.StudyInstanceUID = (generate_uid() for _ in range(3))
    made.PatientName, made.PatientID, made.PatientBirthDate, made.PatientSex = PATIENT, "4711", "19700101", "O"
    made.StudyDate, made.StudyTime, made.StudyID, made.AccessionNumber = "20261127", "081500", "S1", "A1"
    made.ReferringPhysicianName, made.Modality, made.BodyPartExamined = "", sop_class, "LEG"
    made.SeriesNumber, made.InstanceNumber, made.Laterality = 1, 1, "L"
    made.PatientOrientation, made.ViewPosition = ["P", "F"], "AP"
    if not is_cr:
        made.PresentationIntentType = "FOR PRESENTATION"
    made.SamplesPerPixel, made.PhotometricInterpretation, made.PixelRepresentation = 1, "MONOCHROME2", 0
    made.Rows, made.Columns = shown.shape
    made.BitsAllocated, made.BitsStored, made.HighBit = 8, 8, 7
    made.WindowCenter, made.WindowWidth = 127.5, 256
    made.PixelData = shown.tobytes() + b"\0" * (shown.size % 2)
    made["PixelData"].VR = "OB"
    for keyword, value in attributes.items():
        if value is None:
            del made[keyword]
        else:
            setattr(made, keyword, value)
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = made.SOPClassUID, made.SOPInstanceUID
    return made


def encoded(dataset: pydicom.Dataset) -> bytes:
    """The bytes of a DICOM file."""
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, dataset, enforce_file_format=True)
    return buffer.getvalue()


def uids(datasets: Sequence[pydicom.Dataset]) -> list[str]:
    """SOP Instance UIDs, sorted."""
    return sorted(str(one.SOPInstanceUID) for one in datasets)
