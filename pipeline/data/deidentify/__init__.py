"""Remove what identifies a person from an image file and leave its pixels as they are.

JPEG, PNG and TIFF are taken apart and put together again from the parts a decoder needs, so compressed data
is never decoded or encoded; DICOM is rebuilt from a list of elements that say how pixels look. The EXIF
orientation is kept, since it is part of the picture. Text burned into the pixels stays: nothing here sees it.
"""

from pipeline.data.deidentify.exif import ORIENTATION
from pipeline.data.deidentify.kind import HEAD, sniff
from pipeline.data.deidentify.pictures import rewrite_bmp, rewrite_jpeg, rewrite_png, rewrite_webp
from pipeline.data.deidentify.tiff import rewrite_tiff
from pipeline.errors import InputError
from serving.imaging import formats
from serving.imaging.dicom.deidentify.rebuild import DicomRefusedError, dicom_identity, rebuild_dicom

__all__ = ["HEAD", "ORIENTATION", "deidentify", "dicom_identity", "sniff"]


def deidentify(content: bytes, suffix: str) -> bytes:
    """The image without identifying metadata, its pixels unchanged.

    `suffix` says what the file calls itself; the bytes decide, and the suffix only for what looks like no image.
    A file cut short comes back as far as it goes. Raises InputError when the format is none of JPEG, PNG, WebP, BMP,
    TIFF and DICOM, or the file is too broken to tell pixels from text, or it is declared to have text burned into its
    pixels.
    """
    kind = sniff(content) or (".dcm" if suffix.lower() in (".dcm", ".dicom") else None)
    rewrite = {
        ".jpg": rewrite_jpeg,
        ".png": rewrite_png,
        ".tif": rewrite_tiff,
        ".bmp": rewrite_bmp,
        ".webp": rewrite_webp,
        ".dcm": rebuild_dicom,
    }.get(kind or "")
    if rewrite is None:
        raise InputError(formats.refusal(content).replace("the file is", "is", 1))
    try:
        return rewrite(content)
    except DicomRefusedError as error:
        raise InputError(str(error)) from None
