"""What sort of image a file is, from its first bytes."""

from serving.imaging import dicom

HEAD = 2048
"""Bytes of a file that are enough for `sniff`."""
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def sniff(content: bytes) -> str | None:
    """The suffix of an image's bytes: `.jpg`, `.png`, `.webp`, `.bmp`, `.tif`, `.dcm`; None when unknown."""
    signatures = {
        b"\xff\xd8\xff": ".jpg",
        PNG_SIGNATURE: ".png",
        b"BM": ".bmp",
        b"II*\0": ".tif",
        b"MM\0*": ".tif",
    }
    if content.startswith(b"RIFF") and content[8:12] == b"WEBP":
        return ".webp"
    found = next((suffix for signature, suffix in signatures.items() if content.startswith(signature)), None)
    return found or (".dcm" if dicom.is_dicom(content) else None)
