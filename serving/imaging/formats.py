"""What a file is that no decoder here reads, and what to do about it."""

import struct
from collections.abc import Mapping

READ = "JPEG, PNG, WebP, BMP, TIFF or DICOM"
"""What is read."""

_AS_PICTURE = "export it as JPEG or PNG"
_SIGNATURES: Mapping[bytes, tuple[str, str]] = {
    b"GIF8": ("a GIF picture", "save it as PNG"),
    b"%PDF": ("a PDF document", "export its page as PNG"),
    b"%!PS": ("a PostScript document", _AS_PICTURE),
    b"\xff\xd8\xff\xf7": ("a JPEG-LS picture", "save it as PNG, or wrap it in a DICOM object"),
    b"\xff\xd8\xff": (
        "a damaged JPEG picture or one of an unusual kind, as of 12 bits",
        "save it as PNG of 8 or 16 bits",
    ),
    b"\xff\x4f\xff\x51": ("a JPEG 2000 picture", "save it as PNG, or wrap it in a DICOM object"),
    b"\0\0\0\x0cjP  ": ("a JPEG 2000 picture", "save it as PNG, or wrap it in a DICOM object"),
    b"\xff\x0a": ("a JPEG XL picture", _AS_PICTURE),
    b"\0\0\0\x0cJXL ": ("a JPEG XL picture", _AS_PICTURE),
    b"II\xbc": ("a JPEG XR picture", _AS_PICTURE),
    b"8BPS": ("a Photoshop document", _AS_PICTURE),
    b"\0\0\1\0": ("an icon", _AS_PICTURE),
    b"PK\3\4": ("a ZIP archive or an office document", "send the image inside it"),
    b"\x1f\x8b": ("compressed with gzip", "unpack it"),
    b"Rar!": ("a RAR archive", "send the image inside it"),
    b"7z\xbc\xaf": ("a 7z archive", "send the image inside it"),
    b"NRRD": ("an NRRD volume", "send a DICOM object or a picture"),
    b"\x1a\x45\xdf\xa3": ("a video", "send one frame as a picture"),
    b"\x89HDF": ("an HDF5 file", "send a DICOM object or a picture"),
    b"SIMPLE  =": ("a FITS file", "send a DICOM object or a picture"),
}
_BRANDS: Mapping[bytes, tuple[str, str]] = {
    b"avif": ("an AVIF picture", _AS_PICTURE),
    b"avis": ("an AVIF picture", _AS_PICTURE),
    **dict.fromkeys((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx"), ("a HEIC picture", _AS_PICTURE)),
    **dict.fromkeys((b"mif1", b"msf1"), ("a HEIF picture", _AS_PICTURE)),
}
"""Of ISO base media files (ISO 14496-12, 4.3), whose other brands are videos."""
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


def is_tiff_cut_short(content: bytes) -> bool:
    """Whether a TIFF file ends before its first directory does (TIFF 6.0, section 2; BigTIFF).

    Many programs write the directory last, so that a file cut anywhere lacks it.
    """
    if not content.startswith(_TIFF):
        return False
    order = "<" if content.startswith(b"II") else ">"
    is_big = 43 in content[2:4]
    start, offset, count, entry = (8, "Q", "Q", 20) if is_big else (4, "I", "H", 12)
    try:
        (first,) = struct.unpack_from(order + offset, content, start)
        if not start <= first <= len(content):  # a larger one would not even fit struct's own integers
            return bool(first > start)
        (entries,) = struct.unpack_from(order + count, content, first)
    except struct.error:
        return True
    return bool(first + struct.calcsize(order + count) + entries * entry > len(content))


def refusal(content: bytes) -> str:
    """In one line: what the file is, and what to do about it."""
    named = _name(content)
    if named is None:
        return f"the file is no {READ} image"
    kind, remedy = named
    return f"the file is {kind}, which is not read; {remedy}"


def _name(content: bytes) -> tuple[str, str] | None:
    if content[4:8] == b"ftyp":
        brands = [content[8:12], *(content[at : at + 4] for at in range(16, min(64, len(content)), 4))]
        known = [_BRANDS[brand] for brand in brands if brand in _BRANDS]
        return known[0] if known else ("a video", "send one frame as a picture")
    if content.startswith(_TIFF):
        return "a TIFF file of an unusual kind", "save it in grey with 8 or 16 bits and no compression, or as PNG"
    if content.startswith(b"RIFF"):
        return "a sound or a video", "send a picture"
    start = content[:512].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if b"<svg" in content[:2048].lower() and start.startswith(b"<"):
        return "an SVG drawing", "export it as PNG"
    if start.startswith((b"<!doctype html", b"<html")):
        return "a web page", "save the image itself"
    return next((named for signature, named in _SIGNATURES.items() if content.startswith(signature)), None)
