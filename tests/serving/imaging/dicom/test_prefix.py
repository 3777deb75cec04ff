"""What tells a DICOM file from others."""

import subprocess
import sys

from serving.imaging import dicom

WHEN = """
import sys
import serving.imaging.decode
from serving.imaging import dicom
dicom.is_dicom(bytes(200))
print("pydicom" in sys.modules)
dicom.load()
print("pydicom" in sys.modules)
"""


def test_the_prefix_is_looked_for_where_it_belongs() -> None:
    assert dicom.is_dicom(bytes(128) + b"DICM")
    assert not dicom.is_dicom(b"DICM")


def test_pydicom_is_loaded_when_asked_for_and_not_with_the_decoders() -> None:
    done = subprocess.run([sys.executable, "-c", WHEN], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True"]
