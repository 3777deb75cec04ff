"""Frames of JPEG Extended with 12 bits (ITU-T T.81, process 4)."""

import struct

from pydicom.encaps import encapsulate
from pydicom.uid import JPEGExtended12Bit

from tests.serving.imaging.dicom.builders import radiograph, refusal, segment


def test_twelve_bits_of_jpeg_extended_are_refused_by_the_uid() -> None:
    frame = b"\xff\xd8" + segment(0xC1, struct.pack(">BHHBBBB", 12, 2, 2, 1, 1, 0x11, 0)) + b"\xff\xda"
    found = refusal(radiograph(syntax=JPEGExtended12Bit, PixelData=encapsulate([frame]), BitsStored=12, HighBit=11))
    assert found.code == "unsupported_dicom"
    assert "1.2.840.10008.1.2.4.51" in found.message
    assert "not with 12" in found.message
