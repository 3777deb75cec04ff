"""A radiograph as an object of the Basic Application Level Confidentiality Profile (PS3.15, annex E), dates shifted."""

import io
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pydicom
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import PYDICOM_IMPLEMENTATION_UID

from serving.errors import ImageError
from serving.imaging import dicom
from serving.imaging.dicom.dataset import identifier
from serving.imaging.dicom.deidentify import burned_in, profile
from serving.imaging.dicom.deidentify.frames import rewritten_pixels
from serving.imaging.dicom.deidentify.pseudonyms import Key
from serving.imaging.dicom.display import grey_levels
from serving.imaging.dicom.stored import GREY, stored_values
from serving.scope import region_of

_MAX_PIXEL_BYTES = 512 << 20
_MOST_PIXELS = 100_000_000
_LOSSY = frozenset(
    ("1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51", "1.2.840.10008.1.2.4.81", "1.2.840.10008.1.2.4.91")
)
_PROBLEMS = {
    "undecodable": "its header or its pixels are broken",
    "unsupported_dicom": "its transfer syntax or its kind of pixels is not supported",
    "no_pixels": "it holds no image",
    "colour_photograph": "it is a picture in colour",
}


class RefusedError(Exception):
    """Why an object is not exported: `code` is stable, the message are words that follow a file's name.

    `not_a_radiograph` (documents, graphics, derived and other images), `broken`, `no_uid`, `burned_in` (text that
    nobody has looked at) or `changed` (its pixels would look different). No message repeats a value of the object.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


@dataclass(frozen=True)
class Identity:
    """Whose and which image an object is, as its source names it; none of this leaves a private table."""

    patient_id: str
    study_instance_uid: str
    sop_instance_uid: str

    @property
    def patient(self) -> str:
        """What stands for the patient: the Patient ID, or without one the study."""
        return self.patient_id or f"\0{self.study_instance_uid}"


@dataclass(frozen=True)
class Exported:
    """A de-identified object as the bytes of a DICOM file, and whose image it was.

    `region` is one of `scope.REGIONS` and `view` a View Position (AP, LL, ...); empty where none is known.
    """

    content: bytes
    sop_instance_uid: str
    identity: Identity
    region: str
    view: str


def identify(content: bytes) -> Identity:
    """The identity of a radiograph; RefusedError `broken`, `not_a_radiograph` or `no_uid`. Pixels are not touched."""
    return _identity(_header(content))


def deidentify(content: bytes, key: Key, reviewed: Collection[str] = (), patient: str = "") -> Exported:
    """The radiograph without what identifies a person; the same content, key and patient give the same bytes.

    `reviewed` holds SOP Instance UIDs of images whose text a person has read and found to identify nobody. Pseudonym
    and dates follow from `patient`: whom the image's patient was merged into, by default `Identity.patient`. Pixels are
    the source's: compressed ones stay as they are but for comments, RLE and deflated ones become uncompressed.
    Raises RefusedError.
    """
    header = _header(content)
    identity = _identity(header)
    is_reviewed = identity.sop_instance_uid in reviewed
    with _reading():
        if not is_reviewed and str(header.get("BurnedInAnnotation") or "").strip().upper() == "YES":
            raise RefusedError("burned_in", "declares text burned into its pixels, which nobody has reviewed")
        facts = dicom.inspect(content)
        if facts["width"] * facts["height"] > _MOST_PIXELS:
            raise RefusedError("broken", f"has more than {_MOST_PIXELS // 1_000_000} million pixels")
        region = region_of(facts["body_part"])
        shown = dicom.decode(content)
        if shown.truncated:
            raise RefusedError("broken", "is a broken DICOM file (its pixels are cut short)")
        body = profile.rewritten(header, key, patient or identity.patient)
        written = _written(content, body)
        again, stored = _shown(written)
    if not np.array_equal(shown.pixels, again):
        raise RefusedError("changed", "would look different without what identifies a person")
    if not is_reviewed and burned_in.shows_text(shown.pixels, stored):
        raise RefusedError("burned_in", "seems to have text burned into its pixels, which nobody has reviewed")
    return Exported(written, str(body.SOPInstanceUID), identity, region, str(body.get("ViewPosition") or ""))


def _header(content: bytes) -> Dataset:
    with _reading():
        if not dicom.is_dicom(content):
            raise RefusedError("broken", "is no DICOM file")
        return dicom.read(content)


def _identity(header: Dataset) -> Identity:
    with _reading():
        sop_class = str(header.get("SOPClassUID") or "")
        uids = [identifier(header.get(name)) for name in ("StudyInstanceUID", "SOPInstanceUID")]
        patient_id = "".join(filter(str.isprintable, str(header.get("PatientID") or ""))).strip()
    if not sop_class:
        raise RefusedError("broken", "is a broken DICOM file (it has no SOP class)")
    if sop_class not in profile.RADIOGRAPHS:
        raise RefusedError("not_a_radiograph", "is no radiograph (CR, or DX for presentation)")
    if not all(uids):
        raise RefusedError("no_uid", "has no valid Study and SOP Instance UID")
    return Identity(patient_id, *uids)


@contextmanager
def _reading() -> Iterator[None]:
    """Refuse in our own words what cannot be read: messages of decoders may repeat values, and so name the patient."""
    try:
        yield
    except RefusedError:
        raise
    except ImageError as error:
        raise RefusedError("broken", f"cannot be read ({_PROBLEMS.get(error.code, error.code)})") from None
    except Exception as error:  # noqa: BLE001  pydicom and decoders raise whatever broken bytes lead them to
        raise RefusedError("broken", f"is a broken DICOM file ({type(error).__name__})") from None


def _written(content: bytes, body: Dataset) -> bytes:
    source, element = dicom.read_whole(content, _MAX_PIXEL_BYTES)
    if element is None:
        raise RefusedError("broken", "holds no pixel data")
    pixels = rewritten_pixels(source, element)
    if pixels.is_interleaved:
        body.PlanarConfiguration = 0
    if pixels.syntax in _LOSSY:
        body.LossyImageCompression = "01"
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = pixels.syntax
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = body.SOPClassUID, body.SOPInstanceUID
    meta.ImplementationClassUID = PYDICOM_IMPLEMENTATION_UID
    meta.ImplementationVersionName = "FRACTURE"  # pydicom's own would change the bytes with its version
    target = FileDataset("", body, file_meta=meta, preamble=b"\0" * 128)
    is_wide = int(body.BitsAllocated) > 8 and not pixels.syntax.is_encapsulated
    target.add_new("PixelData", "OW" if is_wide else "OB", pixels.value)
    target["PixelData"].is_undefined_length = pixels.syntax.is_encapsulated
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, target, enforce_file_format=True)
    return buffer.getvalue()


def _shown(content: bytes) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.integer] | None]:
    """Grey levels of a whole object, and the stored values behind them, if these are grey."""
    dataset, element = dicom.read_whole(content, _MAX_PIXEL_BYTES)
    if element is None or dataset.PhotometricInterpretation not in GREY:
        return dicom.decode(content).pixels, None
    stored = stored_values(dataset, element).values
    return grey_levels(stored, dataset), stored
