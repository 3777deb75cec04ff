"""Frames of RLE Lossless (PS3.5, annex G)."""

import struct

from pydicom.encaps import encapsulate
from pydicom.uid import RLELossless

from tests.serving.imaging.dicom.builders import coded, peak, picture


def test_run_lengths_are_read_up_to_the_last_pixel_only() -> None:
    runs = struct.pack("<16L", 1, 64, *[0] * 14) + b"\x81\0" * (1 << 20)  # 128 MiB
    content = coded(picture(8), RLELossless, 8, lambda _: encapsulate([runs]))
    assert peak(content) < 20 << 20
