"""Results delivered into Orthanc, and what OHIF draws of the report there."""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from tests.hospital.objects import encoded, radiograph
from tests.hospital.peers import ROOT
from tests.hospital.results.viewer import PAGES

pytestmark = [pytest.mark.slow, pytest.mark.orthanc, pytest.mark.browser, pytest.mark.dcmtk, pytest.mark.ohif]
_SAMPLES = sorted(Path(os.environ.get("DICOM_SAMPLES", "/nowhere")).glob("*.dcm"))
_ARCHIVE = Path(os.environ.get("FRACATLAS_ARCHIVE", "/nowhere"))
_PHOTOGRAPHED = "IMG0000019.jpg"
_FRACATLAS = ["fracatlas"] if _ARCHIVE.is_file() else []
_NAMES = ["drawn", *_FRACATLAS, *(path.stem for path in _SAMPLES)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a folder with an object of each name, and later a screenshot."""
    found = tmp_path_factory.mktemp("viewer")
    (found / "drawn.dcm").write_bytes(encoded(radiograph(PatientID="1")))
    for path in _SAMPLES:
        shutil.copy(path, found)
    for name in _FRACATLAS:
        with zipfile.ZipFile(_ARCHIVE) as archive:
            member = next(one for one in archive.namelist() if one.endswith(f"/{_PHOTOGRAPHED}"))
            with archive.open(member) as file:
                pixels = np.asarray(Image.open(file).convert("L"), np.uint8)
        (found / f"{name}.dcm").write_bytes(encoded(radiograph(pixels, sop_class="DX", PatientID="2")))
    return found


@pytest.fixture(scope="module")
def seen(folder: Path) -> dict[str, Any]:
    """Look with OHIF at the reports that a gateway made of the objects, in a network namespace of its own."""
    assert PAGES.is_dir(), "OHIF is not installed: npm ci --ignore-scripts --prefix tests/hospital/ohif"
    program = shutil.which("Orthanc", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    assert program, "Orthanc is not installed (tests/system-packages.txt)"
    flags = ["-n"] if os.geteuid() == 0 else ["-r", "-n"]
    command = ["unshare", *flags, sys.executable, "-m", "tests.hospital.results.viewer", program, str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=500)
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def on_canvas(study: dict[str, Any]) -> list[npt.NDArray[np.float64]]:
    """The report's lines where they belong on a canvas that the whole image fills, N x 2 pixels each."""
    size, (width, height) = np.array(study["image"]), study["canvas"][2:]
    scale = min(width / size[0], height / size[1])
    margin = (np.array([width, height]) - scale * size) / 2
    return [np.array(line).reshape(-1, 2) * scale + margin for line in study["report"]]


def test_viewer_has_no_complaint(seen: dict[str, Any]) -> None:
    assert seen[""] == []


@pytest.mark.parametrize("name", _NAMES)
def test_report_and_capture_lie_beside_the_image_in_orthanc(seen: dict[str, Any], name: str) -> None:
    assert {"OT", "SR"} < set(seen[name]["modalities"])


def test_presentation_state_lies_beside_a_suspicious_image_in_orthanc(seen: dict[str, Any]) -> None:
    assert seen["drawn"]["modalities"] == ["CR", "OT", "PR", "SR"]


@pytest.mark.parametrize("name", _NAMES)
def test_line_of_the_report_is_drawn_where_it_belongs(seen: dict[str, Any], name: str) -> None:
    drawn, wanted = seen[name]["drawn"], on_canvas(seen[name])
    assert len(drawn) == len(wanted)
    for right in wanted:
        assert min(np.abs(np.array(line) - right).max() for line in drawn) < 2


def test_box_is_seen_in_the_screenshot(seen: dict[str, Any], folder: Path) -> None:
    shot = np.asarray(Image.open(folder / "drawn.png").convert("RGB"), int)
    corners = on_canvas(seen["drawn"])[0] + np.array(seen["drawn"]["canvas"][:2])
    green = shot[..., 1] - shot[..., [0, 2]].max(axis=2) > 60
    for (x0, y0), (x1, y1) in pairwise(corners):
        left, right = sorted((round(x0), round(x1)))
        top, bottom = sorted((round(y0), round(y1)))
        side = green[top - 2 : bottom + 3, left - 2 : right + 3].any(axis=0 if right > left + 4 else 1)
        assert side.mean() > 0.4  # the line is dashed


def test_certainty_is_written_beside_the_box(seen: dict[str, Any]) -> None:
    assert any("Certainty of Finding" in words and "%" in words for words in seen["drawn"]["words"])
