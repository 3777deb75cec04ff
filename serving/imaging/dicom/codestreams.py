"""Headers of compressed frames (ITU-T T.81, T.87, T.800), checked before a decoder sees the stream."""

import struct
from collections.abc import Iterator

from pydicom import uid

from serving.errors import ImageError
from serving.imaging.dicom.syntaxes import DECODERS, unsupported

EOI = b"\xff\xd9"
_SOT = b"\xff\x90\x00\x0a"  # start of tile-part, with the length of its segment (ISO 15444-1, A.4.2)
_FEW = 0.01  # share of a JPEG 2000 stream that may be missing
_MAX_SEGMENTS = 256  # of a JPEG stream, up to its scan


def misfit(rows: int, columns: int) -> ImageError:
    """The error for pixels that do not match the size their object declares."""
    return ImageError("undecodable", f"the DICOM pixels do not fit Rows x Columns, {rows} x {columns}")


def codestream(frame: bytes, syntax: uid.UID, rows: int, columns: int, samples: int = 1) -> bytes:
    """The coded image of a frame, checked to be `rows` x `columns`: another size would shear it or fill the memory.

    A stream without its end marker gets one. Raises ValueError for a broken stream, and ImageError `undecodable` for
    another size or `unsupported_dicom` for a JPEG of other than 8 bits.
    """
    if syntax in {uid.JPEG2000Lossless, uid.JPEG2000}:
        start = frame.find(b"\xff\x4f\xff\x51", 0, 4096)  # SOC, SIZ (ISO 15444-1, A.5.1); boxes of JP2 may come before
        if start < 0 or len(frame) < start + 45:
            raise ValueError("no JPEG 2000 codestream")
        right, bottom, left, top = struct.unpack_from(">4I", frame, start + 8)
        components, _, across, down = struct.unpack_from(">HBBB", frame, start + 40)
        if (bottom - top, right - left, components, across, down) != (rows, columns, samples, 1, 1):
            raise misfit(rows, columns)
        return _whole_jpeg_2000(frame[start:])
    for marker, payload, _ in segments(frame):
        if marker == 0xF7 or (0xC0 <= marker <= 0xCF and marker not in {0xC4, 0xC8, 0xCC}):  # SOF55 of JPEG-LS, SOFn
            precision = check_frame(payload, rows, columns, samples)
            if DECODERS[syntax] == "pyjpegls":
                return frame + EOI  # without it CharLS may search for a next bit for seconds
            if precision != 8:
                raise unsupported(syntax, f"is supported with 8 bits, not with {precision}")
            return frame if ends(frame) else frame + EOI
    raise ValueError("the stream has no frame header")


def ends(frame: bytes) -> bool:
    """Whether a JPEG or JPEG 2000 stream has its end marker, EOI or EOC, which are one; padding may follow it."""
    return frame.rfind(EOI) > frame.rfind(b"\xff\xda" if frame.startswith(b"\xff\xd8") else b"\xff\x93")  # SOS, SOD


def _whole_jpeg_2000(stream: bytes) -> bytes:
    """The stream with its end marker and the last bytes of its last tile, if these few are all that is missing.

    Zeros stand for empty packets (ISO 15444-1, B.10.3). Raises ValueError where more is missing: packets lie in an
    order of quality or resolution, so that no row of the image is whole.
    """
    if ends(stream):
        return stream
    at = stream.find(_SOT)
    while at >= 0 and len(stream) >= at + 12:
        (length,) = struct.unpack_from(">L", stream, at + 6)  # Psot (A.4.2); 0 reaches to the end
        missing = at + length - len(stream)
        if not length or missing >= 0:
            if missing > _FEW * len(stream):
                raise ValueError("the JPEG 2000 stream is cut short; send the object again whole")
            return stream + bytes(max(0, missing)) + EOI
        at += length
        if stream[at : at + 4] != _SOT:
            return stream[:at] + EOI
    raise ValueError("the stream has no tile")


def segments(frame: bytes) -> Iterator[tuple[int, bytes, int]]:
    """Marker, payload and end offset of each segment of a JPEG or JPEG-LS stream up to its scan (ITU-T T.81, B.1.1)."""
    if not frame.startswith(b"\xff\xd8"):
        raise ValueError("no JPEG stream")
    end = 2
    for _ in range(_MAX_SEGMENTS):
        while frame.startswith(b"\xff\xff", end):  # fill bytes
            end += 1
        if len(frame) < end + 4:
            raise ValueError("the stream ends before its scan")
        prefix, marker, length = struct.unpack_from(">BBH", frame, end)
        if prefix != 0xFF or length < 2:
            raise ValueError("the stream has a broken marker")
        start, end = end + 4, end + 2 + length
        yield marker, frame[start:end], end
        if marker == 0xDA:
            return
    raise ValueError("the stream has too many segments")


def check_frame(payload: bytes, rows: int, columns: int, samples: int = 1) -> int:
    """The bits per pixel that a frame header states (B.2.2); ImageError where it states another size."""
    precision, coded_rows, coded_columns, components = struct.unpack_from(">BHHB", payload)
    if (coded_rows, coded_columns, components) != (rows, columns, samples):
        raise misfit(rows, columns)
    return int(precision)
