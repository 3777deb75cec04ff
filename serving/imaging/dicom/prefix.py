"""What tells a DICOM file from others, without pydicom."""

from serving.imaging.dicom.bare import data_set_start

PREAMBLE = 128
"""Bytes of anything before the prefix (PS3.10, 7.1)."""


def is_dicom(content: bytes) -> bool:
    """Whether the bytes are a DICOM file, or a bare data set without preamble and prefix.

    The first 2 KiB of a file are enough to tell.
    """
    return start_of(content) is not None


def start_of(content: bytes) -> int | None:
    """Where the meta information or the data set begins, None where the bytes are no DICOM object."""
    if content[PREAMBLE : PREAMBLE + 4] == b"DICM":
        return PREAMBLE + 4
    return data_set_start(content)
