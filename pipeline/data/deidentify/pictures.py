"""JPEG, PNG, WebP and BMP without what identifies a person: taken apart and put together from what a decoder needs."""

import struct
import zlib
from collections.abc import Iterator

from pipeline.data.deidentify.exif import XMP_ORIENTATION, exif_orientation, minimal_exif
from pipeline.data.deidentify.kind import PNG_SIGNATURE

_WEBP_KEPT = {b"VP8 ", b"VP8L", b"ALPH", b"ANIM", b"ANMF"}
_WEBP_EXIF, _WEBP_METADATA = 0x08, 0x2C  # flags of VP8X: Exif; colour profile, Exif or XMP
_PNG_KEPT = {b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS", b"gAMA", b"sBIT", b"sRGB", b"cHRM"}


def rewrite_webp(content: bytes) -> bytes:
    """Keep the chunks that make the pixels (RFC 9649); of the rest the orientation, in an Exif chunk of its own."""
    kept: list[tuple[bytes, bytes]] = []
    orientation = xmp_orientation = 1
    for kind, data in _webp_chunks(content):
        if kind == b"EXIF":
            orientation = exif_orientation(data.removeprefix(b"Exif\0\0"))
        elif kind == b"XMP " and (found := XMP_ORIENTATION.search(data)):
            xmp_orientation = int(found[1])
        elif kind in _WEBP_KEPT:
            kept.append((kind, data))
        elif kind == b"VP8X" and len(data) >= 10:
            kept.insert(0, (kind, bytes([data[0] & ~_WEBP_METADATA]) + data[1:10]))
    orientation = orientation if orientation != 1 else xmp_orientation
    if orientation != 1 and kept and kept[0][0] == b"VP8X":
        kept[0] = (b"VP8X", bytes([kept[0][1][0] | _WEBP_EXIF]) + kept[0][1][1:])
        kept.append((b"EXIF", minimal_exif(orientation)))
    body = b"WEBP" + b"".join(kind + struct.pack("<I", len(data)) + data + bytes(len(data) % 2) for kind, data in kept)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def _webp_chunks(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """(kind, data) of each chunk; that of a file cut short ends where the file does."""
    at = 12
    while at + 8 <= len(content):
        length = int.from_bytes(content[at + 4 : at + 8], "little")
        yield content[at : at + 4], content[at + 8 : at + 8 + length]
        at += 8 + length + length % 2


def rewrite_bmp(content: bytes) -> bytes:
    """A BMP holds no metadata; what follows the length it declares is cut off."""
    declared = int.from_bytes(content[2:6], "little")
    return content[:declared] if declared > 54 else content


def rewrite_jpeg(content: bytes) -> bytes:
    """Keep tables, frames and scans; of the rest a bare JFIF or Adobe header and the orientation."""
    body = bytearray()
    orientation = xmp_orientation = 1
    for marker, part in _jpeg_parts(content):
        data = part[4:]
        if marker == 0xE0 and data.startswith(b"JFIF\0") and len(data) >= 14:
            body += b"\xff\xe0\x00\x10" + data[:12] + b"\0\0"  # the last two: no thumbnail
        elif marker == 0xEE and data.startswith(b"Adobe") and len(data) >= 12:
            body += b"\xff\xee\x00\x0e" + data[:12]
        elif marker == 0xE1 and data.startswith(b"Exif\0\0") and orientation == 1:
            orientation = exif_orientation(data[6:])
        elif marker == 0xE1 and (found := XMP_ORIENTATION.search(data)):
            xmp_orientation = int(found[1])
        elif not (0xE0 <= marker <= 0xEF or marker == 0xFE):
            body += part
    orientation = orientation if orientation != 1 else xmp_orientation
    if orientation == 1:
        return b"\xff\xd8" + bytes(body)
    exif = b"Exif\0\0" + minimal_exif(orientation)
    return b"\xff\xd8\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + bytes(body)


def _jpeg_parts(content: bytes) -> Iterator[tuple[int, bytes]]:
    """(marker, bytes with the marker) of every segment after SOI; a scan's data belongs to its SOS segment.

    Ends after EOI (what follows is no part of the picture) or where a file is cut short; bytes between
    segments, which decoders skip, are left out.
    """
    at = 2
    while (start := content.find(b"\xff", at)) >= 0:
        at = start + 1
        while content[at : at + 1] == b"\xff":
            at += 1
        if at >= len(content):
            return
        marker = content[at]
        at += 1
        if marker == 0xD9:
            yield marker, b"\xff\xd9"
            return
        if marker in (0x00, 0x01, 0xD8) or 0xD0 <= marker <= 0xD7:
            continue
        length = int.from_bytes(content[at : at + 2], "big")
        end = at + length
        if length < 2 or end > len(content):
            return
        if marker == 0xDA:
            end = _scan_end(content, end)
        yield marker, b"\xff" + bytes([marker]) + content[at:end]
        at = end


def _scan_end(content: bytes, at: int) -> int:
    """Where the entropy-coded data that starts at `at` ends: before the next marker that is no restart."""
    while (at := content.find(b"\xff", at)) >= 0:
        following = content[at + 1 : at + 2]
        if following not in {b"", b"\0", b"\xff"} and not 0xD0 <= following[0] <= 0xD7:
            return at
        at += 1 if following == b"\xff" else 2
    return len(content)


def rewrite_png(content: bytes) -> bytes:
    """Keep the chunks that make the pixels; the orientation moves into an eXIf chunk of its own."""
    kept: list[bytes] = []
    orientation = xmp_orientation = 1
    for kind, data, chunk in _png_chunks(content):
        if kind == b"eXIf":
            orientation = exif_orientation(data.removeprefix(b"Exif\0\0"))
        elif kind == b"iTXt" and (found := XMP_ORIENTATION.search(data)):
            xmp_orientation = int(found[1])
        elif kind in _PNG_KEPT:
            kept.append(chunk)
    orientation = orientation if orientation != 1 else xmp_orientation
    if orientation != 1:
        kept.insert(1, _png_chunk(b"eXIf", minimal_exif(orientation)))
    return PNG_SIGNATURE + b"".join(kept)


def _png_chunks(content: bytes) -> Iterator[tuple[bytes, bytes, bytes]]:
    """(kind, data, whole chunk) up to IEND; of a chunk cut short only pixels are worth having."""
    at = len(PNG_SIGNATURE)
    while at + 8 <= len(content):
        length = int.from_bytes(content[at : at + 4], "big")
        kind = content[at + 4 : at + 8]
        end = at + 12 + length
        if end <= len(content) or kind == b"IDAT":
            yield kind, content[at + 8 : end - 4], content[at:end]
        if kind == b"IEND":
            return
        at = end


def _png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
