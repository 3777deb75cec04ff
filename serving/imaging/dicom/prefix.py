"""What tells a DICOM file from others, without pydicom."""

_PREAMBLE = 128


def is_dicom(content: bytes) -> bool:
    """Whether the bytes carry the DICOM file prefix (PS3.10, 7.1)."""
    return content[_PREAMBLE : _PREAMBLE + 4] == b"DICM"
