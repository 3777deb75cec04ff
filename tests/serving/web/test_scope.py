"""The page refuses by the header what the service refuses, with the list of a bundle or without one."""

from itertools import product
from pathlib import Path

import pytest

from serving.scope import Scope, Terms
from tests.serving.test_scope import CHEST, CR, Header
from tests.serving.web import device

pytestmark = pytest.mark.node

REGIONS: tuple[tuple[str, ...], ...] = (("hand", "hip", "leg", "shoulder"), ("Hand", "chest"), ("extremities",), ())
HEADERS = (
    *(Header("DX", body_part=part) for part in ("", "HAND", "LEFT HAND", "RHEART", "MÃO", "FUSS", "CHEST", "C-SPINE")),
    *(Header("DX", body_part=part) for part in ("HEAD; NECK", "BODY", "LELBOW", "HAND; SHOULDER", "NOTHING KNOWN")),
    *(Header(modality, CR) for modality in (" ct", "MR", "XX")),
    *(Header(sop_class_uid=f"1.2.840.10008.5.1.4.1.1.{number}") for number in ("2", "2.1", "20", "1.1", "66.4.1")),
)


@pytest.mark.parametrize("terms", [None, CHEST], ids=["built in", "of the bundle"])
def test_the_page_judges_headers_as_the_service_does(terms: Terms | None, tmp_path: Path) -> None:
    cases = list(product(REGIONS, HEADERS))
    given = terms and terms.model_dump(mode="json")
    order = [
        (given, regions, {"modality": one.modality, "sopClassUid": one.sop_class_uid, "bodyPart": one.body_part})
        for regions, one in cases
    ]
    found = device.run("scope.mjs", device.lay_out(tmp_path), {"cases": order}, tmp_path)
    for (regions, header), told in zip(cases, found, strict=True):
        scope = Scope(terms, regions) if terms else Scope.for_regions(regions)
        refused = scope.check(header, warn=True)
        wanted = (scope.terms.model_dump(mode="json"), scope.region_of(header.body_part), refused)
        assert (told["terms"], told["region"], told["refused"]) == wanted
