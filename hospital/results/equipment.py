"""What all results say of who made them, and when."""

import pydicom
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import PYNETDICOM_IMPLEMENTATION_UID

from hospital.results.source import UTF8
from hospital.results.version import NOT_A_DIAGNOSIS, Edition


def finish(dataset: pydicom.Dataset, edition: Edition, description: str) -> pydicom.Dataset:
    """Give an object equipment, times with their zone, and the words that say what it is for."""
    made = edition.made_at
    date, time = made.strftime("%Y%m%d"), made.strftime("%H%M%S.%f")
    dataset.SpecificCharacterSet = UTF8
    dataset.TimezoneOffsetFromUTC = edition.timezone
    dataset.InstanceCreationDate, dataset.InstanceCreationTime = date, time
    dataset.SeriesDate, dataset.SeriesTime = date, time
    dataset.SeriesDescription = f"{description}; {NOT_A_DIAGNOSIS}"[:64]
    dataset.Manufacturer = edition.settings.manufacturer
    dataset.ManufacturerModelName = edition.model.name[:64]
    dataset.DeviceSerialNumber = edition.model.digest[:16]
    dataset.SoftwareVersions = edition.model.version[:64]
    dataset.StationName = edition.settings.station[:16]
    dataset.ContributingEquipmentSequence = [_contribution(edition)]
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.ImplementationClassUID = PYNETDICOM_IMPLEMENTATION_UID
    return dataset


def _contribution(edition: Edition) -> pydicom.Dataset:
    """An item of Contributing Equipment Sequence (PS3.3, C.12.1): the model as processing equipment."""
    purpose = pydicom.Dataset()
    purpose.CodeValue, purpose.CodingSchemeDesignator = "109102", "DCM"
    purpose.CodeMeaning = "Processing Equipment"
    item = pydicom.Dataset()
    item.PurposeOfReferenceCodeSequence = [purpose]
    item.Manufacturer = edition.settings.manufacturer
    item.ManufacturerModelName = edition.model.name[:64]
    item.SoftwareVersions = edition.model.version[:64]
    item.DeviceUID = edition.device_uid
    item.ContributionDateTime = edition.made_at.strftime("%Y%m%d%H%M%S.%f") + edition.timezone
    item.ContributionDescription = NOT_A_DIAGNOSIS
    return item
