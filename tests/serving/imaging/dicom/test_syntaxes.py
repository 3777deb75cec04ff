"""Which transfer syntaxes are read, and how the others are refused."""

import re

import pytest
from pydicom import uid
from pydicom.encaps import encapsulate
from pydicom.uid import UID

from serving.imaging import dicom
from tests.serving.imaging.dicom.builders import ROOT, name, radiograph, refusal


def test_the_documentation_lists_the_transfer_syntaxes() -> None:
    listed = re.findall(r"^\| `([\d.]+)` \|", (ROOT / "docs" / "dicom.md").read_text(), re.MULTILINE)
    assert listed == list(dicom.DECODERS)


@pytest.mark.parametrize("syntax", [uid.HTJ2KLossless, uid.MPEG4HP41, uid.JPIPHTJ2KReferenced], ids=name)
def test_another_transfer_syntax_is_refused_by_its_uid(syntax: UID) -> None:
    found = refusal(radiograph(syntax=syntax, PixelData=encapsulate([b"pixels"])))
    assert found.code == "unsupported_dicom"
    assert f"transfer syntax {syntax} ({syntax.name})" in found.message


def test_an_unknown_transfer_syntax_is_refused_by_its_uid() -> None:
    found = refusal(radiograph().replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.9.9.9\0"))
    assert found.code == "unsupported_dicom"
    assert "transfer syntax 1.2.840.10008.9.9.9 " in found.message
