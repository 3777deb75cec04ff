"""TIFF without what identifies a person: pages written anew with the tags that describe pixels."""

import hashlib
import io
import struct

from PIL import Image, UnidentifiedImageError

from pipeline.data.deidentify.exif import ORIENTATION, TiffEntry, TiffReader
from pipeline.data.deidentify.pictures import rewrite_jpeg
from pipeline.errors import InputError
from serving.imaging import formats

_STRIPS, _STRIP_BYTES, _TILES, _TILE_BYTES = 273, 279, 324, 325
_JPEG_TABLES = 347
_TIFF_KEPT = {
    *(254, 256, 257, 258, 259, 262, 266, _STRIPS, ORIENTATION, 277, 278, _STRIP_BYTES, 280, 281, 282, 283, 284),
    *(292, 293, 296, 317, 320, 322, 323, _TILES, _TILE_BYTES, 338, 339, 340, 341, _JPEG_TABLES, 529, 530, 531, 532),
}
_MAX_TIFF_BLOCKS = 1_000_000


def rewrite_tiff(content: bytes) -> bytes:
    """Write the pages anew with the tags that describe pixels and the strips or tiles as they are."""
    try:
        reader = TiffReader(content)
        written = bytearray(content[:4] + b"\0\0\0\0")
        link = 4
        for entries in reader.pages():
            link = _write_page(reader, entries, written, link)
    except (struct.error, ValueError, LookupError) as error:
        if formats.is_tiff_cut_short(content):
            raise InputError("is a TIFF file that was cut short; copy it again whole") from None
        # What Python says of bytes that do not fit helps nobody.
        detail = f" ({error})" if isinstance(error, ValueError) else ""
        raise InputError(f"is a broken TIFF file{detail}") from None
    if _decoded(content) != _decoded(bytes(written)):
        raise InputError("is a TIFF file whose pixels need more than the baseline tags")
    return bytes(written)


def _write_page(reader: TiffReader, entries: dict[int, TiffEntry], written: bytearray, link: int) -> int:
    """Append one page, enter its position at `link`, and return where the next page's position goes."""
    kept = {tag: entry for tag, entry in sorted(entries.items()) if tag in _TIFF_KEPT}
    for offsets, sizes in ((_STRIPS, _STRIP_BYTES), (_TILES, _TILE_BYTES)):
        if offsets in kept and sizes in kept:
            kept[offsets], kept[sizes] = _copy_blocks(reader, kept, offsets, sizes, written)
    if not {_STRIPS, _TILES} & kept.keys():
        raise ValueError("no pixels")
    if _JPEG_TABLES in kept:
        tables = rewrite_jpeg(kept[_JPEG_TABLES].value)
        kept[_JPEG_TABLES] = TiffEntry(7, len(tables), tables)
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
    reader: TiffReader, entries: dict[int, TiffEntry], offsets: int, sizes: int, written: bytearray
) -> tuple[TiffEntry, TiffEntry]:
    """Append the strips or tiles and return the entries that say where they are and how long."""
    starts, lengths = reader.numbers(entries[offsets]), reader.numbers(entries[sizes])
    if len(starts) != len(lengths) or len(starts) > _MAX_TIFF_BLOCKS:
        raise ValueError("strips and their lengths do not agree")
    compression = reader.numbers(entries[259])[0] if 259 in entries else 1
    places, sums = [], []
    for start, length in zip(starts, lengths, strict=True):
        block = reader.content[start : start + length]
        if compression == 7:
            block = rewrite_jpeg(block)
        written += b"\0" * (len(written) % 2)
        places.append(len(written))
        sums.append(len(block))
        written += block
        if len(written) > 2 * len(reader.content) + 4096:
            raise ValueError("strips overlap")
    layout = f"{reader.order}{len(starts)}I"
    return (
        TiffEntry(4, len(starts), struct.pack(layout, *places)),
        TiffEntry(4, len(starts), struct.pack(layout, *sums)),
    )


def _decoded(content: bytes) -> tuple[str, tuple[int, int], bytes] | None:
    """What Pillow makes of the first page; None when it makes nothing of it."""
    try:
        with Image.open(io.BytesIO(content)) as image:
            return image.mode, image.size, hashlib.sha256(image.tobytes()).digest()
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, TypeError, Image.DecompressionBombError):
        return None
