"""The page says of a region what the service says."""

from itertools import product
from pathlib import Path

import pytest

from serving import region
from tests.serving.web import device

pytestmark = pytest.mark.node

INTENDED = ("hand", "shoulder", "ankle")
SHARES: tuple[dict[str, float], ...] = (
    {},
    {"hand": 0.01, "shoulder": 0.997},
    {"hand": 0.06, "shoulder": 0.95},
    {"hand": 0.2, "shoulder": 0.3},
    {"hand": 0.03, "ankle": 0.925},
    {"hand": 0.81, "shoulder": 0.97, "ankle": 0.9},
    {"hand": 0.79, "shoulder": 0.97},
)
WEAK = {
    "hand": "70 fractured of 100, AUROC 0.7",
    "shoulder": "12 fractured of 58",
    "ankle": "50 fractured of 60, AUROC 0.9",
}
CASES = tuple(product(SHARES, [0.5], [INTENDED], ["", "hand", "ankle", "elbow"], [{}, WEAK, {"hand": "odd"}]))


def test_region_and_warnings_are_those_of_the_service(tmp_path: Path) -> None:
    found = device.run("region.mjs", device.lay_out(tmp_path), {"cases": CASES}, tmp_path)
    for (shares, likely, intended, header, weak), told in zip(CASES, found, strict=True):
        ours = region.find(shares, likely, intended, caller="", header=header)
        assert told["region"] == (ours and [ours.name, ours.source, ours.probability, [list(one) for one in ours.also]])
        assert told["notes"] == [note.answer() for note in region.notes(ours, intended, weak)]
