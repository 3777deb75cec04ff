"""Inventory files: the same entries as a listing, without older versions."""

import csv
import gzip
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.archive.addresses import Roots
from pipeline.archive.entries import Entry, entry
from pipeline.archive.sources.inventories import list_inventory
from pipeline.errors import InputError
from tests.pipeline.archive.scorings import damage

S3_ROWS = [
    ("pacs", "a/1.dcm", "true", "false", "10", "e1"),
    ("pacs", "a/a+b%2Bc%20d.png", "true", "false", "20", "e2-3"),
    ("pacs", "a/1.dcm", "false", "false", "9", "e0"),
    ("pacs", "a/2.dcm", "true", "true", "", ""),
    ("pacs", "a/report.pdf", "true", "false", "5", "e4"),
]
WANTED = [entry("s3://pacs/a/1.dcm", 10, "e1"), entry("s3://pacs/a/a%20b+c%20d.png", 20, "e2-3")]


def _manifest(folder: Path, name: str, **changes: Any) -> Path:
    facts = {
        "sourceBucket": "pacs",
        "destinationBucket": "arn:aws:s3:::inventories",
        "fileFormat": "CSV",
        "fileSchema": "Bucket, Key, IsLatest, IsDeleteMarker, Size, ETag",
        "files": [{"key": f"pacs/daily/data/{name}", "size": 1, "MD5checksum": "0"}],
    }
    path = folder / "manifest.json"
    path.write_text(json.dumps(facts | changes))
    return path


def _csv(folder: Path, rows: Sequence[tuple[str, ...]]) -> Path:
    with gzip.open(folder / "data.csv.gz", "wt", newline="") as file:
        csv.writer(file, quoting=csv.QUOTE_ALL).writerows(rows)
    return _manifest(folder, "data.csv.gz")


def _listed(path: Path, *roots: str) -> tuple[list[Entry], Counter[str]]:
    passed_over: Counter[str] = Counter()
    found = list(list_inventory(str(path), Roots.of(roots), lambda reason: passed_over.update([reason])))
    return found, passed_over


def test_csv_of_s3_names_the_latest_images(tmp_path: Path) -> None:
    found, passed_over = _listed(_csv(tmp_path, S3_ROWS), "s3://pacs")
    assert found == WANTED
    assert passed_over == {"an older version": 2, "no image by name": 1}


def test_parquet_of_s3_is_the_same(tmp_path: Path) -> None:
    table = pa.table(
        {
            "bucket": ["pacs", "pacs", "pacs"],
            "key": ["a/1.dcm", "a/a b+c d.png", "a/1.dcm"],
            "is_latest": [True, True, False],
            "is_delete_marker": [False, False, False],
            "size": pa.array([10, 20, 9], pa.int64()),
            "e_tag": ["e1", "e2-3", "e0"],
        }
    )
    (tmp_path / "data").mkdir()
    pq.write_table(table, tmp_path / "data/x.parquet")
    (tmp_path / "2026").mkdir()
    path = _manifest(tmp_path / "2026", "x.parquet", fileFormat="Parquet", fileSchema="message s3.inventory {}")
    assert _listed(path, "s3://pacs")[0] == WANTED


def test_csv_of_azure_names_containers(tmp_path: Path) -> None:
    (tmp_path / "r_1.csv").write_text(
        "Name,Content-Length,Etag,Snapshot\npacs/a/1.dcm,10,0x8D1,\npacs/a/1.dcm,9,0x8D0,2026-01-01\n"
        "pacs/a/ä b.png,20,0x8D2,\n"
    )
    facts = {
        "destinationContainer": "inventories",
        "ruleDefinition": {"format": "csv"},
        "files": [{"blob": "2026/11/27/r/r_1.csv", "size": 1}],
    }
    (tmp_path / "r-manifest.json").write_text(json.dumps(facts))
    found, passed_over = _listed(tmp_path / "r-manifest.json", "az://pacs")
    assert found == [entry("az://pacs/a/1.dcm", 10, "0x8D1"), entry("az://pacs/a/%C3%A4%20b.png", 20, "0x8D2")]
    assert passed_over == {"an older version": 1}


def test_an_inventory_cannot_lead_elsewhere(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"s3://pacs/a/1\.dcm: lies below none of the roots"):
        _listed(_csv(tmp_path, S3_ROWS), "s3://other")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"fileFormat": "ORC"}, "its files are ORC; make the inventory as CSV or Parquet"),
        ({"fileSchema": "Bucket, Key"}, "lacks the column size, etag"),
        ({"files": [{"key": "gone.csv.gz"}]}, "lacks gone.csv.gz, which the manifest names"),
        ({"files": None}, "is no manifest of an inventory"),
        ({"fileSchema": "Bucket, Key, IsLatest, IsDeleteMarker, ETag, Size"}, "its size in the inventory is no number"),
    ],
)
def test_what_cannot_be_read_is_one_line(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    _csv(tmp_path, S3_ROWS)
    with pytest.raises(InputError, match=said):
        _listed(_manifest(tmp_path, "data.csv.gz", **changes), "s3://pacs")


def test_a_file_that_is_cut_short_is_one_line(tmp_path: Path) -> None:
    path = _csv(tmp_path, S3_ROWS)
    content = (tmp_path / "data.csv.gz").read_bytes()
    (tmp_path / "data.csv.gz").write_bytes(content[:-20])
    with pytest.raises(InputError, match="is no CSV of an inventory"):
        _listed(path, "s3://pacs")


def _parquet(folder: Path, **columns: Any) -> Path:
    pq.write_table(pa.table({"key": ["a/1.dcm"], "size": [10], "etag": ["e1"]} | columns), folder / "x.parquet")
    return _manifest(folder, "x.parquet", fileFormat="Parquet")


def test_parquet_that_is_damaged_within_is_one_line(tmp_path: Path) -> None:
    path = _parquet(tmp_path)
    damage(tmp_path / "x.parquet")
    with pytest.raises(InputError, match=r"x\.parquet: is broken \(.*\); download it again"):
        _listed(path, "s3://pacs")


def test_a_row_without_a_name_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="a row names no object"):
        _listed(_parquet(tmp_path, key=pa.array([None], pa.string())), "s3://pacs")
