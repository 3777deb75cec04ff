"""The exported page in Firefox: the service's answers, and without a network."""

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydicom.uid import JPEG2000Lossless

from benchmarks.web import parity
from benchmarks.web.browser import served
from benchmarks.web.firefox import firefox
from benchmarks.web.parity import Compared, File
from pipeline.files import project_root
from pipeline.packaging import web
from serving import bundle
from serving.bundle import Bundle
from serving.predictor import Predictor
from tests.serving.imaging.dicom.builders import coded, radiograph

pytestmark = [pytest.mark.firefox, pytest.mark.node, pytest.mark.slow]

ROOT = Path(__file__).parents[3]
OFFLINE = "without the server"


def _files(released: Bundle) -> Iterator[File]:
    """The samples, one of them in other formats, and what is refused."""
    samples = [(released.folder / name).read_bytes() for name in released.manifest.samples]
    for name, content in zip(released.manifest.samples, samples, strict=True):
        yield File("answered", name, content)
    picture = Image.open(io.BytesIO(samples[1])).convert("L")
    for kind in ("JPEG", "WEBP"):
        buffer = io.BytesIO()
        picture.save(buffer, kind, quality=90)
        yield File("answered", kind, buffer.getvalue())
    deep = np.asarray(picture, np.int64) * 16
    yield File("answered", "DICOM", coded(deep, JPEG2000Lossless, 12, BodyPartExamined="HAND"))
    yield File("refused", "text", b"no image")
    yield File("refused", "chest", radiograph(deep, BodyPartExamined="CHEST"))


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> list[Compared]:
    """Ask the service and the page in Firefox about the same files, and about the last answered one with no server."""
    released = bundle.read(sorted(ROOT.glob("models/*/bundle"))[0])
    folder = tmp_path_factory.mktemp("page") / "page"
    web.write_page(released, web.install_runtime(project_root(ROOT) / ".cache/web-runtime"), folder)
    predictor, files = Predictor(released), list(_files(released))
    with firefox() as device:
        with served(folder) as address:
            device.open_page(address)
            found = list(parity.compare(predictor, device, files))
        device.open_page(address)
        found += parity.compare(predictor, device, [File(OFFLINE, files[0].name, files[0].content)])
    return found


def test_firefox_answers_as_the_service_does(compared: list[Compared]) -> None:
    answered = [one for one in compared if one.group == "answered"]
    assert all(one.answered for one in answered)
    assert max(one.difference for one in answered) <= parity.CLOSE
    assert [(one.file.name, one.differing) for one in answered if one.differing] == []


def test_firefox_refuses_what_the_service_refuses(compared: list[Compared]) -> None:
    refused = [one.codes for one in compared if one.group == "refused"]
    assert refused == [(code, code) for code in ("unsupported_format", "out_of_scope")]


def test_the_page_in_firefox_answers_after_the_server_is_gone(compared: list[Compared]) -> None:
    (found,) = [one for one in compared if one.group == OFFLINE]
    assert found.answered, found.device
