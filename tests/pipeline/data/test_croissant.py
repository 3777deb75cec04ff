"""Croissant metadata of a data set, read by the reference implementation."""

import hashlib
import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.data import croissant
from pipeline.data.layout import Dataset
from pipeline.files import write_json

ROOT = Path(__file__).parents[3]
PYTHON = Path(os.environ.get("CROISSANT_TOOLS") or ROOT / ".venv-croissant/bin") / "python"
LOAD = """
import json, logging, sys
import mlcroissant

told = []
logging.basicConfig(handlers=[type("Keep", (logging.Handler,), {"emit": lambda self, record: told.append(record)})()])
data = mlcroissant.Dataset(sys.argv[1])
plain = lambda value: value.decode() if isinstance(value, bytes) else getattr(value, "size", value)
found = {
    name: [{key.split("/")[1]: plain(value) for key, value in row.items()} for row in data.records(name)]
    for name in ("classes", "radiographs", "boxes")
}
print(json.dumps({"told": [record.getMessage() for record in told], "version": data.metadata.version, **found}))
"""


@pytest.fixture(scope="module")
def data(make_data: Callable[..., Dataset], tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    folder = tmp_path_factory.mktemp("described") / "data"
    box = (0.25, 0.5, 0.75, 1.0, "transverse")
    return make_data(
        folder, {"a": {"view": "lateral"}, "b": {"boxes": [box], "region": "hand"}, "c": {"suffix": ".PNG"}}
    )


def written(data: Dataset) -> Path:
    """The metadata beside data/, as a person publishes it."""
    publication = croissant.Publication("https://example.org/shapes", "2026-11-27", "Nobody")
    file = data.folder.parent / "croissant.json"
    write_json(file, croissant.describe(data, file.parent, publication))
    return file


@pytest.fixture(scope="module")
def loaded(data: Dataset) -> dict[str, Any]:
    """What mlcroissant validates and reads; its interpreter is that of `make croissant-setup`."""
    if not PYTHON.is_file():
        if os.environ.get("CI") == "true":
            pytest.fail("make croissant-setup was not run, and CI leaves nothing out")
        pytest.skip("left out: run make croissant-setup")
    done = subprocess.run([PYTHON, "-c", LOAD, written(data)], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_the_reference_implementation_finds_no_fault_and_no_omission(loaded: dict[str, Any]) -> None:
    assert loaded["told"] == []


def test_classes_are_in_order(loaded: dict[str, Any]) -> None:
    assert [row["name"] for row in loaded["classes"]] == ["normal", "fractured"]


def test_a_radiograph_is_its_row_with_its_picture(loaded: dict[str, Any], data: Dataset) -> None:
    rows = {row["image_id"]: row for row in loaded["radiographs"]}
    assert sorted(rows) == ["a", "b", "c"]
    assert (rows["b"]["file"], rows["b"]["label"], rows["b"]["region"]) == ("images/b.png", "fractured", "hand")
    assert all(len(row["picture"]) == 2 for row in rows.values())


def test_a_box_belongs_to_its_image(loaded: dict[str, Any]) -> None:
    (box,) = loaded["boxes"]
    assert (box["image_id"], box["label"]) == ("b", "transverse")
    assert [box[corner] for corner in ("x0", "y0", "x1", "y1")] == [0.25, 0.5, 0.75, 1.0]


def test_tables_carry_their_checksums(data: Dataset) -> None:
    files = {file["@id"]: file for file in croissant.describe(data, data.folder)["distribution"]}
    assert files["labels.csv"]["sha256"] == hashlib.sha256((data.folder / "labels.csv").read_bytes()).hexdigest()


def test_paths_are_relative_to_where_the_file_lies(data: Dataset) -> None:
    inside, beside = (croissant.describe(data, base)["distribution"] for base in (data.folder, data.folder.parent))
    assert [inside[0]["contentUrl"], beside[0]["contentUrl"]] == ["labels.csv", "data/labels.csv"]
    assert "data/images/*.png" in beside[2]["includes"]


def test_what_nobody_knows_is_left_out(data: Dataset) -> None:
    assert not {"url", "datePublished", "creator"} & croissant.describe(data, data.folder).keys()
