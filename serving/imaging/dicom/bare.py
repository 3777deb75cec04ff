"""Data sets without the preamble, the prefix or the meta information of a DICOM file (PS3.10, 7.1)."""

import struct

_PREAMBLE = 128
_PREFIX = b"DICM"
_PICTURES = (b"\xff\xd8\xff", b"\x89PNG", b"BM", b"II*\0", b"MM\0*", b"RIFF", b"GIF8")
"""How pictures begin. Dark pixels that are stored as they are look like elements, so no preamble begins like this."""
_GROUPS = frozenset({0x0002, 0x0008, 0x0010, 0x0018, 0x0020, 0x0028})
"""Groups that the first element of an object may belong to: meta information, or what describes an image."""
_LOOKED_AT = 1024  # bytes
_LONGEST_FIRST, _LONGEST = 1 << 12, 1 << 28  # bytes of the first element's value, and of another one's
_UNDEFINED = 0xFFFFFFFF
_LONG_VRS = frozenset(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())
_VRS = _LONG_VRS | frozenset(b"AE AS AT CS DA DS DT FD FL IS LO LT PN SH SL SS ST TM UI UL US".split())
"""Value representations (PS3.5, 6.2), and those whose length has four bytes (7.1.2)."""


def data_set_start(content: bytes) -> int | None:
    """Where a data set begins that no prefix announces, None where the bytes are none.

    It may stand at the very start, behind a prefix without its preamble, or behind a preamble without its prefix.
    """
    if content.startswith(_PICTURES):
        return None
    places = (len(_PREFIX),) if content.startswith(_PREFIX) else (0, _PREAMBLE)
    return next((place for place in places if _is_data_set(content[place : place + _LOOKED_AT])), None)


def _is_data_set(head: bytes) -> bool:
    """Whether the bytes start with elements in ascending order, whose VRs and lengths make sense."""
    return any(_elements(head, order, explicit) for order, explicit in (("<", True), ("<", False), (">", True)))


def _elements(head: bytes, order: str, explicit: bool) -> bool:
    at = before = seen = 0
    while at + 12 <= len(head):
        group, element = struct.unpack_from(f"{order}HH", head, at)
        tag = group << 16 | element
        if before >> 16 == 2 and group != 2:
            return True  # what follows the meta information may be in another encoding
        if tag <= before or not (seen or group in _GROUPS):
            return False
        length, header = _length(head, at, order, explicit)
        if seen and length == _UNDEFINED:
            return True  # a sequence
        if length > (_LONGEST if seen else _LONGEST_FIRST):
            return False
        before, seen, at = tag, seen + 1, at + header + length
    return bool(seen)


def _length(head: bytes, at: int, order: str, explicit: bool) -> tuple[int, int]:
    """The length of a value, more than any allowed one where the VR is none, and that of what stands before it."""
    if not explicit:
        return struct.unpack_from(f"{order}L", head, at + 4)[0], 8
    vr = head[at + 4 : at + 6]
    if vr not in _VRS:
        return _LONGEST + 2, 8
    if vr in _LONG_VRS:
        return struct.unpack_from(f"{order}L", head, at + 8)[0], 12
    return struct.unpack_from(f"{order}H", head, at + 6)[0], 8
