"""Stage validate: its reports, and FracAtlas."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest

from pipeline import params, validate
from pipeline.data import layout
from pipeline.data.layout import Dataset
from pipeline.data.validation.expectations import Judge
from pipeline.data.validation.verdict import Verdict, judge_data

MakeData = Callable[..., Dataset]
Draw = Callable[..., npt.NDArray[np.uint8]]
Encode = Callable[..., bytes]


ROOT = Path(__file__).parents[2]


real_data = pytest.mark.skipif(
    not os.environ.get("FRACATLAS_ARCHIVE"), reason="FRACATLAS_ARCHIVE does not say where the published archive is"
)


@pytest.fixture(scope="module")
def published(
    tmp_path_factory: pytest.TempPathFactory, make_data: MakeData, draw: Draw, encode: Encode
) -> tuple[dict[str, bytes], dict[str, bytes]]:
    """Run the stage twice over a data set with addresses and tags in its cells and names."""
    runs = []
    for name in ("first", "second"):
        project = tmp_path_factory.mktemp(name)
        address = {"source": "https://example.org/a", "view": "<script>alert(1)</script>"}
        images: dict[str, Any] = {f"{number:02d}": address if number % 3 else {} for number in range(20)}
        make_data(project / "data", images)
        (project / "data" / "images" / "<script src=x>.png").write_bytes(encode(draw(60)))
        (project / "params.yaml").write_text("validate: {offenders: {unlabelled_file: exclude}}\n")
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(project)
            validate.main()
        reports = project / "reports"
        files = sorted(path for path in reports.rglob("*") if path.is_file())
        runs.append({path.relative_to(reports).as_posix(): path.read_bytes() for path in files})
    return runs[0], runs[1]


Published = tuple[dict[str, bytes], dict[str, bytes]]


@pytest.fixture(scope="module")
def fracatlas(fracatlas_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Verdict:
    """Judge the images from number 2600 on: all that are at fault and most families, in a third of the time of all."""
    folder = tmp_path_factory.mktemp("part") / "data"
    (folder / "images").mkdir(parents=True)
    shutil.copy(fracatlas_data / "dataset.json", folder)
    for name in ("labels.csv", "boxes.csv"):
        rows = pd.read_csv(fracatlas_data / name, dtype=str, keep_default_na=False)
        rows[rows["image_id"] >= "IMG0002600"].to_csv(folder / name, index=False)
    for file in layout.read(folder).labels["file"]:
        (folder / file).symlink_to(fracatlas_data / file)
    limits = params.load(ROOT / "params.yaml").validate_
    return judge_data(layout.read(folder), limits, Judge(tmp_path_factory.mktemp("gx")))


def test_the_first_page_shows_families(project: Path, make_data: MakeData, draw: Draw, encode: Encode) -> None:
    images: dict[str, Any] = {f"{number:02d}": {} for number in range(22)}
    make_data(project / "data", {**images, "20": {"content": encode(draw(3) // 2)}})
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(project)
        validate.main()
    docs = project / "reports" / "data_docs"
    assert '<img src="family-1.jpg" alt="images/03.png, images/20.png">' in (docs / "index.html").read_text()
    assert (docs / "family-1.jpg").is_file()


def test_the_stage_leaves_its_reports_and_nothing_else(published: Published) -> None:
    pages = {f"data_docs/{name}.html" for name in ("classes", "features", "images", "index")}
    assert set(published[0]) == {"images.csv", "validation.json", *pages}


@pytest.mark.parametrize("name", ["validation.json", "images.csv"])
def test_two_runs_write_the_same_bytes(name: str, published: Published) -> None:
    assert published[0][name] == published[1][name]


@pytest.mark.parametrize("page", ["classes", "features", "images", "index"])
def test_data_docs_load_nothing_and_run_nothing(page: str, published: Published) -> None:
    text = published[0][f"data_docs/{page}.html"].decode()
    assert "http" not in text
    assert not re.search(r"//\w", text)
    assert not re.search(r"<(script|link|img|iframe|object)|\son\w+=|@import|url\(", text, re.IGNORECASE)


def test_data_docs_tell_what_was_found(published: Published) -> None:
    assert "images/&lt;script src=x&gt;.png" in published[0]["data_docs/index.html"].decode()


def test_data_docs_show_the_expectations(published: Published) -> None:
    assert "colourfulness" in published[0]["data_docs/images.html"].decode()


def test_the_report_tells_what_was_left_out(published: Published) -> None:
    report = json.loads(published[0]["validation.json"])
    assert report["excluded"] == {"images/<script src=x>.png": "unlabelled_file"}
    assert report["usable"] == 20


def test_a_failing_stage_says_one_line_a_failure_and_leaves_the_old_table(project: Path, make_data: MakeData) -> None:
    images: dict[str, Any] = {f"{number:02d}": {} for number in range(22)}
    make_data(project / "data", {**images, "20": {"content": b""}, "21": {"content": b"no image"}})
    (project / "reports").mkdir()
    (project / "reports" / "images.csv").write_text("from an earlier run\n")
    failed = subprocess.run(
        [sys.executable, "-m", "pipeline.validate"],
        cwd=project,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert failed.returncode == 1
    assert "Traceback" not in failed.stderr
    errors = [line for line in failed.stderr.splitlines() if not line.startswith("validate: ")]
    assert [line[:40] for line in errors] == [
        "error: empty_file: 1 image (images/20.png) in data"[:40],
        "error: undecodable: 1 image (images/21.png) in data"[:40],
    ]
    assert (project / "reports" / "images.csv").read_text() == "from an earlier run\n"
    assert not list((project / "reports").glob(".*"))


@pytest.mark.slow
@real_data
def test_fracatlas_is_fit_to_train_on(fracatlas: Verdict) -> None:
    assert fracatlas.failures == []
    assert fracatlas.report.images == fracatlas.report.usable == 1233


@pytest.mark.slow
@real_data
def test_fracatlas_has_41_truncated_images_all_normal(fracatlas: Verdict) -> None:
    truncated = fracatlas.table[fracatlas.table["decoded"] == "truncated"]
    assert len(truncated) == 41
    assert set(truncated["label"]) == {"normal"}


@pytest.mark.slow
@real_data
def test_this_part_of_fracatlas_has_94_groups_of_near_duplicates(fracatlas: Verdict) -> None:
    report = fracatlas.report
    assert (report.near_duplicate_groups, report.near_duplicate_images) == (94, 191)


@pytest.mark.slow
@real_data
def test_fracatlas_has_17_images_that_look_like_one_with_the_other_label(fracatlas: Verdict) -> None:
    assert fracatlas.report.offenders["near_opposite"]["count"] == 17


@pytest.mark.slow
@real_data
def test_fracatlas_contradicts_itself_on_one_image(fracatlas: Verdict) -> None:
    assert list(fracatlas.report.conflicts) == ["images/IMG0003298.jpg"]
