"""The whole way: an object in over the wire, its results out over the wire."""

from collections.abc import Iterator

import pytest

from tests.hospital.objects import radiograph
from tests.hospital.peers import Pacs, RunningGateway, dicom_destination, eventually, send

Site = tuple[RunningGateway, Pacs]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Run a gateway that delivers to one PACS."""
    with Pacs() as pacs, RunningGateway(tmp_path_factory.mktemp("site"), None, dicom_destination(pacs)) as gateway:
        pacs.report_to = gateway.port
        yield gateway, pacs


def test_radiograph_is_delivered_as_report_capture_and_presentation(site: Site) -> None:
    gateway, pacs = site
    sent = radiograph()
    assert send(gateway.port, sent) == [0x0000]
    entry = gateway.study(sent.StudyInstanceUID)
    assert entry["suspicion"] == "high"
    eventually(lambda: gateway.study(sent.StudyInstanceUID)["delivery"]["pacs"] == "done")
    results = [one for one in pacs.stored.values() if one.StudyInstanceUID == sent.StudyInstanceUID]
    assert sorted(one.Modality for one in results) == ["OT", "PR", "SR"]
