"""The table of costs, on a case that a person can follow."""

from pathlib import Path

import pytest

from benchmarks.archive import plan
from benchmarks.archive.plan import Measured
from benchmarks.archive.stand_in import StandIn, generated
from pipeline.archive import manifest
from pipeline.archive.manifest import Manifest
from pipeline.archive.places import open_place
from pipeline.archive.scoring import Observer, Request, run
from pipeline.errors import InputError
from serving import bundle
from tests.pipeline.archive.conftest import RELEASE

GIVEN = Measured(
    seconds=0.036, image_bytes=100_000, row_bytes=250, start=60, core_hour=0.05, gets_a_million=0.4, lists_a_million=5
)


def test_a_million_images_of_36_milliseconds_are_ten_core_hours() -> None:
    rows = dict(plan.rows(1_000_000, 10, GIVEN))
    assert rows["core hours; cost"] == "10.0; 0.50 USD"
    assert rows["time"] == "1:01:00 on 10 cores"
    assert rows["read in all; a second"] == "0.10 TB; 28 MB"
    assert rows["GET; cost"] == "1,000,000; 0.40 USD"
    assert rows["answers; files of shards; blocks"] == "0.25 GB; 1; 1,000"


@pytest.mark.parametrize(
    ("cores", "image_bytes", "said"),
    [(10, 100_000, "the processors"), (1000, 100_000, "S3's rate"), (10, 10_000_000, "the network: 278 MB/s a core")],
)
def test_the_bottleneck_is_what_is_short_first(cores: int, image_bytes: float, said: str) -> None:
    given = Measured(0.036, image_bytes, 250, 60, 0.05, 0.4, 5)
    assert plan.bottleneck(cores / given.seconds, given).startswith(said)


def test_seconds_and_bytes_come_from_a_scoring_that_has_ended(tmp_path: Path) -> None:
    manifest.write(tmp_path / "m.parquet", generated(20))
    asked = Request(Manifest(tmp_path / "m.parquet"), bundle.read(RELEASE))
    run(asked, open_place(str(tmp_path / "out")), StandIn(), Observer())
    seconds, row_bytes = plan.seconds_and_row_bytes(str(tmp_path / "out"))
    assert seconds == 0  # nothing was decoded
    assert row_bytes == (tmp_path / "out/answers/00000.parquet").stat().st_size / 20
    assert plan.image_bytes(tmp_path / "m.parquet") == 1_000_000


def test_a_place_without_a_scoring_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no scoring that has ended"):
        plan.seconds_and_row_bytes(str(tmp_path))
