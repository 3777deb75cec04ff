"""What an image in the spool says of its patient and study, where no result has said so yet."""

import pydicom

from hospital.spool import Spool
from serving.errors import ImageError
from serving.imaging import dicom

_HEAD = 1 << 18
"""Bytes in which patient and study are looked for."""


def header_of(spool: Spool, path: str) -> pydicom.Dataset:
    """The data set of a file of the spool as far as its first bytes give it; empty where they do not."""
    if not path:
        return pydicom.Dataset()
    try:
        with spool.path(path).open("rb") as file:
            return dicom.read(file.read(_HEAD))
    except (OSError, ImageError):
        return pydicom.Dataset()
    except Exception:  # noqa: BLE001  pydicom raises whatever broken bytes lead it to
        return pydicom.Dataset()
