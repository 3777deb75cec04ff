"""Remove what identifies a person from an image file and leave its pixels as they are.

JPEG, PNG and TIFF are taken apart and put together again from the parts a decoder needs, so compressed data
is never decoded or encoded; DICOM is rebuilt from a list of elements that say how pixels look. The EXIF
orientation is kept, since it is part of the picture. Text burned into the pixels stays: nothing here sees it.
"""

import hashlib
import io
import re
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pydicom
from PIL import Image, UnidentifiedImageError
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.uid import PYDICOM_IMPLEMENTATION_UID, UID, generate_uid

from pipeline.errors import InputError

ORIENTATION = 274
"""EXIF and TIFF tag of the picture's orientation: 1 upright, 3 upside down, 6 and 8 on its side, ..."""

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PNG_KEPT = {b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS", b"gAMA", b"sBIT", b"sRGB", b"cHRM"}
_XMP_ORIENTATION = re.compile(rb"""tiff:Orientation(?:\s*=\s*["']|>)\s*([1-8])""")


def sniff(content: bytes) -> str | None:
    """The suffix that goes with an image's bytes (`.jpg`, `.png`, `.bmp`, `.tif`, `.dcm`), None when unknown."""
    if content[128:132] == b"DICM":
        return ".dcm"
    signatures = {
        b"\xff\xd8\xff": ".jpg",
        _PNG_SIGNATURE: ".png",
        b"BM": ".bmp",
        b"II*\0": ".tif",
        b"MM\0*": ".tif",
    }
    return next((suffix for signature, suffix in signatures.items() if content.startswith(signature)), None)


def deidentify(content: bytes, suffix: str) -> bytes:
    """The image without identifying metadata, its pixels unchanged.

    `suffix` says what the file calls itself; the bytes decide, and the suffix only for a DICOM file without
    preamble. A file cut short comes back as far as it goes. Raises InputError when the format is none of
    JPEG, PNG, BMP, TIFF and DICOM, or the file is too broken to tell pixels from text, or it is declared to
    have text burned into its pixels.
    """
    kind = sniff(content) or (".dcm" if suffix.lower() in (".dcm", ".dicom") else None)
    rewrite = {".jpg": _jpeg, ".png": _png, ".tif": _tiff, ".bmp": _bmp, ".dcm": _dicom}.get(kind or "")
    if rewrite is None:
        raise InputError("is neither JPEG, PNG, BMP, TIFF nor DICOM")
    return rewrite(content)


def _bmp(content: bytes) -> bytes:
    """A BMP holds no metadata; what follows the length it declares is cut off."""
    declared = int.from_bytes(content[2:6], "little")
    return content[:declared] if declared > 54 else content


def _exif_orientation(tiff: bytes) -> int:
    """The orientation in an EXIF block (a little TIFF file), 1 when it says nothing usable."""
    try:
        order, entries = _TiffReader(tiff).first_directory()
    except (struct.error, ValueError):
        return 1
    entry = entries.get(ORIENTATION)
    value = int(struct.unpack(f"{order}H", entry.value[:2])[0]) if entry and len(entry.value) >= 2 else 1
    return value if 1 <= value <= 8 else 1


def _minimal_exif(orientation: int) -> bytes:
    """An EXIF block that holds nothing but the orientation."""
    return b"II*\0" + struct.pack("<IHHHIHHI", 8, 1, ORIENTATION, 3, 1, orientation, 0, 0)


def _jpeg(content: bytes) -> bytes:
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
            orientation = _exif_orientation(data[6:])
        elif marker == 0xE1 and (found := _XMP_ORIENTATION.search(data)):
            xmp_orientation = int(found[1])
        elif not (0xE0 <= marker <= 0xEF or marker == 0xFE):
            body += part
    orientation = orientation if orientation != 1 else xmp_orientation
    if orientation == 1:
        return b"\xff\xd8" + bytes(body)
    exif = b"Exif\0\0" + _minimal_exif(orientation)
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


def _png(content: bytes) -> bytes:
    """Keep the chunks that make the pixels; the orientation moves into an eXIf chunk of its own."""
    kept: list[bytes] = []
    orientation = xmp_orientation = 1
    for kind, data, chunk in _png_chunks(content):
        if kind == b"eXIf":
            orientation = _exif_orientation(data.removeprefix(b"Exif\0\0"))
        elif kind == b"iTXt" and (found := _XMP_ORIENTATION.search(data)):
            xmp_orientation = int(found[1])
        elif kind in _PNG_KEPT:
            kept.append(chunk)
    orientation = orientation if orientation != 1 else xmp_orientation
    if orientation != 1:
        kept.insert(1, _png_chunk(b"eXIf", _minimal_exif(orientation)))
    return _PNG_SIGNATURE + b"".join(kept)


def _png_chunks(content: bytes) -> Iterator[tuple[bytes, bytes, bytes]]:
    """(kind, data, whole chunk) up to IEND; of a chunk cut short only pixels are worth having."""
    at = len(_PNG_SIGNATURE)
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


_TIFF_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8}
_STRIPS, _STRIP_BYTES, _TILES, _TILE_BYTES = 273, 279, 324, 325
_JPEG_TABLES = 347
_TIFF_KEPT = {
    *(254, 256, 257, 258, 259, 262, 266, _STRIPS, ORIENTATION, 277, 278, _STRIP_BYTES, 280, 281, 282, 283, 284),
    *(292, 293, 296, 317, 320, 322, 323, _TILES, _TILE_BYTES, 338, 339, 340, 341, _JPEG_TABLES, 529, 530, 531, 532),
}
_MAX_TIFF_PAGES = 1000
_MAX_TIFF_BLOCKS = 1_000_000


@dataclass(frozen=True)
class _TiffEntry:
    kind: int
    count: int
    value: bytes


class _TiffReader:
    """The directories of a classic TIFF file; struct.error or ValueError where it is cut short or broken."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        order = {b"II*\0": "<", b"MM\0*": ">"}.get(content[:4])
        if order is None:
            raise ValueError("no TIFF")
        self.order = order

    def unpack(self, layout: str, at: int) -> tuple[int, ...]:
        """Numbers at a position."""
        return struct.unpack_from(f"{self.order}{layout}", self.content, at)

    def first_directory(self) -> tuple[str, dict[int, _TiffEntry]]:
        """Byte order and entries of the first page."""
        return self.order, self.directory(self.unpack("I", 4)[0])[0]

    def pages(self) -> Iterator[dict[int, _TiffEntry]]:
        """The entries of every page."""
        at = self.unpack("I", 4)[0]
        for _ in range(_MAX_TIFF_PAGES):
            if at == 0:
                return
            entries, at = self.directory(at)
            yield entries
        raise ValueError("too many pages")

    def directory(self, at: int) -> tuple[dict[int, _TiffEntry], int]:
        """The entries of the directory at a position, and the position of the next one (0: none)."""
        (count,) = self.unpack("H", at)
        entries = {}
        for i in range(count):
            place = at + 2 + 12 * i
            tag, kind, number = self.unpack("HHI", place)
            size = _TIFF_SIZES.get(kind, 1) * number
            start = place + 8 if size <= 4 else self.unpack("I", place + 8)[0]
            entries[tag] = _TiffEntry(kind, number, self.content[start : start + size])
        end = at + 2 + 12 * count
        following = self.unpack("I", end)[0] if end + 4 <= len(self.content) else 0
        return entries, following

    def numbers(self, entry: _TiffEntry) -> tuple[int, ...]:
        """The whole numbers of an entry of kind SHORT or LONG."""
        return struct.unpack(f"{self.order}{entry.count}{ {3: 'H', 4: 'I'}[entry.kind] }", entry.value)


def _tiff(content: bytes) -> bytes:
    """Write the pages anew with the tags that describe pixels and the strips or tiles as they are."""
    try:
        reader = _TiffReader(content)
        written = bytearray(content[:4] + b"\0\0\0\0")
        link = 4
        for entries in reader.pages():
            link = _write_page(reader, entries, written, link)
    except (struct.error, ValueError, LookupError) as error:
        raise InputError(f"is a broken TIFF file ({error})") from None
    if _decoded(content) != _decoded(bytes(written)):
        raise InputError("is a TIFF file whose pixels need more than the baseline tags")
    return bytes(written)


def _write_page(reader: _TiffReader, entries: dict[int, _TiffEntry], written: bytearray, link: int) -> int:
    """Append one page, enter its position at `link`, and return where the next page's position goes."""
    kept = {tag: entry for tag, entry in sorted(entries.items()) if tag in _TIFF_KEPT}
    for offsets, sizes in ((_STRIPS, _STRIP_BYTES), (_TILES, _TILE_BYTES)):
        if offsets in kept and sizes in kept:
            kept[offsets], kept[sizes] = _copy_blocks(reader, kept, offsets, sizes, written)
    if not {_STRIPS, _TILES} & kept.keys():
        raise ValueError("no pixels")
    if _JPEG_TABLES in kept:
        tables = _jpeg(kept[_JPEG_TABLES].value)
        kept[_JPEG_TABLES] = _TiffEntry(7, len(tables), tables)
    rows = bytearray(struct.pack(f"{reader.order}H", len(kept)))
    for tag, entry in kept.items():
        field = entry.value.ljust(4, b"\0")
        if len(entry.value) > 4:
            written += b"\0" * (len(written) % 2)
            field = struct.pack(f"{reader.order}I", len(written))
            written += entry.value
        rows += struct.pack(f"{reader.order}HHI", tag, entry.kind, entry.count) + field
    written += b"\0" * (len(written) % 2)
    struct.pack_into(f"{reader.order}I", written, link, len(written))
    written += rows + b"\0\0\0\0"
    return len(written) - 4


def _copy_blocks(
    reader: _TiffReader, entries: dict[int, _TiffEntry], offsets: int, sizes: int, written: bytearray
) -> tuple[_TiffEntry, _TiffEntry]:
    """Append the strips or tiles and return the entries that say where they are and how long."""
    starts, lengths = reader.numbers(entries[offsets]), reader.numbers(entries[sizes])
    if len(starts) != len(lengths) or len(starts) > _MAX_TIFF_BLOCKS:
        raise ValueError("strips and their lengths do not agree")
    compression = reader.numbers(entries[259])[0] if 259 in entries else 1
    places, sums = [], []
    for start, length in zip(starts, lengths, strict=True):
        block = reader.content[start : start + length]
        if compression == 7:
            block = _jpeg(block)
        written += b"\0" * (len(written) % 2)
        places.append(len(written))
        sums.append(len(block))
        written += block
        if len(written) > 2 * len(reader.content) + 4096:
            raise ValueError("strips overlap")
    layout = f"{reader.order}{len(starts)}I"
    return (
        _TiffEntry(4, len(starts), struct.pack(layout, *places)),
        _TiffEntry(4, len(starts), struct.pack(layout, *sums)),
    )


def _decoded(content: bytes) -> tuple[str, tuple[int, int], bytes] | None:
    """What Pillow makes of the first page; None when it makes nothing of it."""
    try:
        with Image.open(io.BytesIO(content)) as image:
            return image.mode, image.size, hashlib.sha256(image.tobytes()).digest()
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, TypeError, Image.DecompressionBombError):
        return None


_DICOM_KEPT = (
    "SOPClassUID",
    "Modality",
    "PresentationIntentType",
    "BodyPartExamined",
    "ViewPosition",
    "Laterality",
    "ImageLaterality",
    "ImagerPixelSpacing",
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "PlanarConfiguration",
    "NumberOfFrames",
    "Rows",
    "Columns",
    "PixelSpacing",
    "PixelAspectRatio",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "SmallestImagePixelValue",
    "LargestImagePixelValue",
    "PixelPaddingValue",
    "PixelPaddingRangeLimit",
    "WindowCenter",
    "WindowWidth",
    "VOILUTFunction",
    "RescaleIntercept",
    "RescaleSlope",
    "RescaleType",
    "RedPaletteColorLookupTableDescriptor",
    "GreenPaletteColorLookupTableDescriptor",
    "BluePaletteColorLookupTableDescriptor",
    "RedPaletteColorLookupTableData",
    "GreenPaletteColorLookupTableData",
    "BluePaletteColorLookupTableData",
    "LossyImageCompression",
    "LossyImageCompressionRatio",
    "LossyImageCompressionMethod",
    "PresentationLUTShape",
    "PixelData",
)
_DICOM_TABLES = ("ModalityLUTSequence", "VOILUTSequence")
_DICOM_TABLE_KEPT = ("LUTDescriptor", "ModalityLUTType", "LUTData")
DICOM_BROKEN = (
    InvalidDicomError,
    BytesLengthException,
    OSError,
    EOFError,
    AttributeError,
    KeyError,
    NotImplementedError,
    TypeError,
    ValueError,
    struct.error,
)
"""What pydicom is known to raise for files that are cut short or were never DICOM."""


_ITEM = b"\xfe\xff\x00\xe0"


def _dicom(content: bytes) -> bytes:
    """Build a new data set from the elements that say what the pixels are and how they are shown."""
    try:
        source = pydicom.dcmread(io.BytesIO(content), force=True)
        if "PixelData" not in source:
            raise InputError("is a DICOM file without pixels")
        if str(source.get("BurnedInAnnotation", "")).strip().upper() == "YES":
            raise InputError("is a DICOM file that declares text burned into its pixels (Burned In Annotation YES)")
        target = _rebuilt(source)
        written = _written(target)
        readable = pydicom.dcmread(io.BytesIO(written)).PixelData == target.PixelData
    except DICOM_BROKEN as error:
        raise InputError(f"is a broken DICOM file ({type(error).__name__})") from None
    if not readable:
        raise InputError("is a broken DICOM file (its pixels cannot be written again)")
    return written


def _rebuilt(source: Dataset) -> FileDataset:
    meta = FileMetaDataset()
    syntax = UID(getattr(source, "file_meta", Dataset()).get("TransferSyntaxUID", "1.2.840.10008.1.2"))
    pixels = _even_fragments(source.PixelData) if syntax.is_encapsulated else bytes(source.PixelData)
    meta.TransferSyntaxUID = syntax
    meta.MediaStorageSOPClassUID = source.get("SOPClassUID", UID("1.2.840.10008.5.1.4.1.1.1"))
    meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=[hashlib.sha256(pixels).hexdigest()])
    meta.ImplementationClassUID = PYDICOM_IMPLEMENTATION_UID
    meta.ImplementationVersionName = "FRACTURE"  # pydicom's own would change the bytes with its version
    target = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    _copy(source, target, _DICOM_KEPT)
    for keyword in _DICOM_TABLES:
        if keyword in source:
            items = []
            for item in source[keyword].value:
                items.append(Dataset())
                _copy(item, items[-1], _DICOM_TABLE_KEPT)
            setattr(target, keyword, items)
    target.SOPClassUID = meta.MediaStorageSOPClassUID
    target.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    target["PixelData"].value = pixels
    target["PixelData"].is_undefined_length = syntax.is_encapsulated
    return target


def _even_fragments(pixels: bytes) -> bytes:
    """Encapsulated pixel data whose fragments all have even length, as the standard asks.

    Some devices write an odd last one; pydicom would add its padding outside that fragment, and the file could
    not be read any more. Unchanged when nothing is odd; offsets that padding moves are left out.
    """
    fragments = []
    at = 0
    while at + 8 <= len(pixels):
        length = int.from_bytes(pixels[at + 4 : at + 8], "little")
        if pixels[at : at + 4] != _ITEM or at + 8 + length > len(pixels):
            raise ValueError("broken fragment")
        fragments.append(pixels[at + 8 : at + 8 + length])
        at += 8 + length
    odd = [len(fragment) % 2 for fragment in fragments]
    if not any(odd):
        return pixels
    if any(odd[:-1]):
        fragments[0] = b""
    return b"".join(
        _ITEM + struct.pack("<I", len(fragment) + len(fragment) % 2) + fragment + b"\0" * (len(fragment) % 2)
        for fragment in fragments
    )


def _copy(source: Dataset, target: Dataset, keywords: tuple[str, ...]) -> None:
    for keyword in keywords:
        if keyword in source:
            target.add(source[keyword])


def _written(dataset: FileDataset) -> bytes:
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, dataset, enforce_file_format=True)
    return buffer.getvalue()


def dicom_identity(path: Path) -> dict[str, str]:
    """Patient and study of a DICOM file as it names them, to be replaced by pseudonyms; empty where unknown."""
    tags = {"patient_id": "PatientID", "study_id": "StudyInstanceUID"}
    with path.open("rb") as file:
        start = file.read(132)
    if sniff(start) != ".dcm" and path.suffix.lower() not in (".dcm", ".dicom"):
        return dict.fromkeys(tags, "")
    try:
        header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=list(tags.values()), force=True)
        return {column: str(header.get(keyword) or "").strip() for column, keyword in tags.items()}
    except DICOM_BROKEN:
        return dict.fromkeys(tags, "")
