"""The DICOMweb server of Orthanc, in a network namespace of its own: it listens on every address."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from hospital import demo
from pipeline.data import layout
from pipeline.data.sources import dicom
from pipeline.data.sources.dicom.dicomweb import AUTHORIZATION
from serving.imaging.dicom.deidentify.pseudonyms import VARIABLE
from tests.pipeline.data.sources.dicom.conftest import image
from tests.serving.imaging.dicom.deidentify.planted import KEY, ROOT

PROJECT = Path(__file__).parents[5]


@pytest.mark.slow
@pytest.mark.orthanc
def test_radiographs_of_orthanc_fill_data(tmp_path: Path) -> None:
    flags = ["-n"] if os.geteuid() == 0 else ["-r", "-n"]
    command = ["unshare", *flags, sys.executable, "-m", "tests.pipeline.data.sources.dicom.test_orthanc", str(tmp_path)]
    told = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False, timeout=500)
    assert told.returncode == 0, told.stderr
    assert told.stdout.splitlines()[-1] == "3 images of 2 patients"


def fill_from_orthanc(folder: Path) -> None:
    """Start Orthanc, give it three images of two studies, and fill data/ from it."""
    demo._loopback_up()
    program = shutil.which("Orthanc", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    assert program
    with demo._running([program, str(demo._orthanc(folder, "secret"))], folder / "orthanc.log"):
        demo._until("Orthanc", lambda: demo._asked("/statistics", "secret") is not None)
        os.environ |= {AUTHORIZATION: demo._basic("secret"), VARIABLE: KEY.secret.decode()}
        for content in (image(1, Modality="CR"), image(2, Modality="CR"), image(3, 2, "Roe^Richard", Modality="CR")):
            httpx.post("http://127.0.0.1:8042/instances", content=content, auth=("demo", "secret")).raise_for_status()
        (folder / "labels.csv").write_text(
            f"sop_instance_uid,label\n{ROOT}.1.1,normal\n{ROOT}.1.2,normal\n{ROOT}.1.3,fractured\n"
        )
        dicom.fill(
            folder / "data",
            "http://127.0.0.1:8042/dicom-web",
            labels=folder / "labels.csv",
            private_dir=folder / "private",
        )
    found = layout.read(folder / "data").labels
    print(f"{len(found)} images of {found['patient_id'].nunique()} patients")


if __name__ == "__main__":
    fill_from_orthanc(Path(sys.argv[1]))
