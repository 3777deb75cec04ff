"""The transfer syntaxes that are read, each by one fixed decoder, so that every installation sees the same pixels."""

from typing import Literal

from pydicom import uid

from serving.errors import ImageError
from serving.imaging.dicom.dataset import identifier

DECODERS: dict[uid.UID, Literal["pydicom", "pillow", "pyjpegls", "rle", "lossless"]] = {
    uid.ImplicitVRLittleEndian: "pydicom",
    uid.ExplicitVRLittleEndian: "pydicom",
    uid.DeflatedExplicitVRLittleEndian: "pydicom",
    uid.ExplicitVRBigEndian: "pydicom",
    uid.RLELossless: "rle",
    uid.JPEGBaseline8Bit: "pillow",
    uid.JPEGExtended12Bit: "pillow",
    uid.JPEGLossless: "lossless",
    uid.JPEGLosslessSV1: "lossless",
    uid.JPEGLSLossless: "pyjpegls",
    uid.JPEGLSNearLossless: "pyjpegls",
    uid.JPEG2000Lossless: "pillow",
    uid.JPEG2000: "pillow",
}
"""What decodes a transfer syntax: a plugin of pydicom, or `rle.py` or `lossless.py` of this package.

JPEG Extended with 12 bits goes to `extended.py`; Pillow reads it with 8.
"""


def unsupported(syntax: uid.UID, problem: str) -> ImageError:
    """The error for a transfer syntax that no decoder here reads."""
    name = f"{syntax} ({syntax.name})" if syntax.is_transfer_syntax else identifier(syntax) or "missing"
    return ImageError("unsupported_dicom", f"transfer syntax {name} {problem}; send the object uncompressed")
