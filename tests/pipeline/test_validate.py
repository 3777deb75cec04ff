"""Stage validate: every kind of offender is found, told and handled as the parameters say."""

import json
import os
import re
import shutil
import struct
import subprocess
import sys
import zlib
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
from pipeline.data.validation import checks, expectations, tables
from pipeline.data.validation.expectations import Judge
from pipeline.data.validation.verdict import Verdict, judge_data
from pipeline.params import Offenders, ValidateParams

MakeData = Callable[..., Dataset]
Draw = Callable[..., npt.NDArray[np.uint8]]
Encode = Callable[..., bytes]

ROOT = Path(__file__).parents[2]
real_data = pytest.mark.skipif(
    not os.environ.get("FRACATLAS_ARCHIVE"), reason="FRACATLAS_ARCHIVE does not say where the published archive is"
)

OFFENDERS = {
    "missing_file": ["missing"],
    "empty_file": ["empty", "void"],
    "undecodable": ["broken"],
    "too_many_pixels": ["huge"],
    "unlabelled_file": ["copy", "stray"],
    "unknown_class": ["bruised"],
    "colour_photograph": ["colour"],
    "blank": ["blank"],
    "identical_opposite": ["same_a", "same_b"],
    "truncated": ["short"],
    "near_duplicate": ["copy", "fine_1", "near_a", "near_b", "pair_a", "pair_b", "same_a", "same_b"],
    "near_opposite": ["pair_a", "pair_b", "same_a", "same_b"],
    "conflicting_metadata": ["boxed", "noted"],
}
"""What `messy` holds of each kind."""
POLICIES = ("fail", "exclude", "keep")


def huge_png() -> bytes:
    """A file that promises 30,000 x 30,000 pixels."""
    header = b"IHDR" + struct.pack(">IIBBBBB", 30_000, 30_000, 8, 0, 0, 0, 0)
    chunks = struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header)) + struct.pack(">I4s", 0, b"IDAT")
    return b"\x89PNG\r\n\x1a\n" + chunks + struct.pack(">I", zlib.crc32(b"IDAT"))


def write_messy(folder: Path, make_data: MakeData, draw: Draw, encode: Encode) -> Dataset:
    """A data set with every kind of fault among ten images that are fine."""
    near, pair, same = draw(100), draw(101), encode(draw(102))
    colours = np.dstack([draw(103), draw(104), draw(105)])
    normal, fractured = {"label": "normal"}, {"label": "fractured"}
    images: dict[str, dict[str, Any]] = {f"fine_{number}": {} for number in range(10)}
    images |= {
        "missing": {**normal, "content": b"removed below"},
        "empty": {**normal, "content": b""},
        "void": {**fractured, "content": b""},
        "broken": {**normal, "content": b"not a radiograph"},
        "huge": {**normal, "content": huge_png()},
        "bruised": normal,
        "colour": {**normal, "content": encode(colours)},
        "blank": {**normal, "content": encode(np.full((64, 48), 90, np.uint8))},
        "same_a": {**normal, "content": same},
        "same_b": {**fractured, "content": same},
        "short": {**normal, "suffix": ".jpg", "content": encode(draw(106), "JPEG")[:-20]},
        "near_a": {**normal, "content": encode(near)},
        "near_b": {**normal, "content": encode(near // 2 + 20)},
        "pair_a": {**normal, "content": encode(pair)},
        "pair_b": {**fractured, "content": encode(pair // 2 + 20)},
        "boxed": {**normal, "boxes": [(0.1, 0.1, 0.5, 0.5, "fractured")]},
        "noted": {**normal, "note": "the sources disagree"},
    }
    make_data(folder, images)
    (folder / "images" / "missing.png").unlink()
    (folder / "images" / "stray.png").write_bytes(encode(draw(107)))
    shutil.copy(folder / "images" / "fine_1.png", folder / "images" / "copy.png")
    labels = (folder / "labels.csv").read_text()
    (folder / "labels.csv").write_text(labels.replace("bruised.png,normal", "bruised.png,bruised"))
    return layout.read(folder)


def everything(policy: Any) -> ValidateParams:
    return ValidateParams(min_per_class=2, offenders=Offenders(**dict.fromkeys(OFFENDERS, policy)))


@pytest.fixture(scope="module")
def judged(
    tmp_path_factory: pytest.TempPathFactory, make_data: MakeData, draw: Draw, encode: Encode
) -> Callable[[str], Verdict]:
    """Judge the messy data set once for each policy, on demand."""
    data = write_messy(tmp_path_factory.mktemp("messy") / "data", make_data, draw, encode)
    verdicts: dict[str, Verdict] = {}

    def judge(policy: str) -> Verdict:
        if policy not in verdicts:
            limits = everything(policy)
            verdicts[policy] = judge_data(data, limits, Judge(tmp_path_factory.mktemp("gx")))
        return verdicts[policy]

    return judge


def line_of(lines: list[str], name: str) -> str:
    (line,) = [line for line in lines if line.startswith(f"{name}: ")]
    return line


def excluded(verdict: Verdict) -> dict[str, str]:
    left_out = verdict.table[verdict.table["excluded"] != ""]
    return {Path(file).stem: reason for file, reason in zip(left_out["file"], left_out["excluded"], strict=True)}


# Offenders


def test_every_offender_of_the_parameters_is_checked() -> None:
    assert {check.name for check in checks.checks(("normal", "fractured"))} == set(Offenders.model_fields)
    assert set(OFFENDERS) == set(Offenders.model_fields)


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("offender", OFFENDERS)
def test_offender_is_found(offender: str, policy: str, judged: Callable[[str], Verdict]) -> None:
    files = judged(policy).report.offenders[offender]["files"]
    assert [Path(file).stem for file in files] == OFFENDERS[offender]


@pytest.mark.parametrize("offender", OFFENDERS)
def test_under_fail_the_message_names_the_files_and_what_to_do(offender: str, judged: Callable[[str], Verdict]) -> None:
    line = line_of(judged("fail").failures, offender)
    for stem in OFFENDERS[offender][:5]:
        assert f"images/{stem}." in line
    (check,) = [check for check in checks.checks(("normal", "fractured")) if check.name == offender]
    assert check.advice in line
    assert line.endswith(f"or set validate.offenders.{offender} to exclude in params.yaml")


def test_a_message_names_five_files_and_counts_the_others(judged: Callable[[str], Verdict]) -> None:
    line = line_of(judged("fail").failures, "near_duplicate")
    assert "8 images (images/copy.png, images/fine_1.png, images/near_a.png, images/near_b.png, " in line
    assert "images/pair_a.png and 3 more)" in line


def test_under_fail_nothing_is_left_out(judged: Callable[[str], Verdict]) -> None:
    assert excluded(judged("fail")) == {}


@pytest.mark.parametrize("offender", OFFENDERS)
def test_under_exclude_the_message_says_so(offender: str, judged: Callable[[str], Verdict]) -> None:
    assert line_of(judged("exclude").warnings, offender).endswith("left out of training and evaluation")


def test_under_exclude_offenders_are_left_out_and_one_of_near_duplicates_stays(
    judged: Callable[[str], Verdict],
) -> None:
    expected = {stem: name for name in reversed(OFFENDERS) for stem in OFFENDERS[name]}
    del expected["near_a"], expected["fine_1"]
    expected["pair_a"] = "near_opposite"
    assert excluded(judged("exclude")) == expected


def test_under_exclude_nothing_fails(judged: Callable[[str], Verdict]) -> None:
    assert judged("exclude").failures == []


@pytest.mark.parametrize("offender", [name for name in OFFENDERS if name not in checks.UNUSABLE])
def test_under_keep_the_message_says_so(offender: str, judged: Callable[[str], Verdict]) -> None:
    assert line_of(judged("keep").warnings, offender).endswith("; kept")


def test_under_keep_only_what_cannot_be_used_is_left_out(judged: Callable[[str], Verdict]) -> None:
    assert excluded(judged("keep")) == {stem: name for name in checks.UNUSABLE for stem in OFFENDERS[name]}


def test_the_report_counts_what_is_left(judged: Callable[[str], Verdict]) -> None:
    report = judged("exclude").report
    assert report.images == 29
    assert report.usable == 29 - len(excluded(judged("exclude")))
    assert sum(report.classes.values()) == report.usable
    assert report.near_duplicate_groups == 4
    assert report.near_duplicate_images == 8


def test_conflicts_are_told_in_words(judged: Callable[[str], Verdict]) -> None:
    assert judged("keep").report.conflicts == {
        "images/boxed.png": "labelled normal, but has a box",
        "images/noted.png": "the sources disagree",
    }


# Groups


@pytest.fixture
def table_of(tmp_path: Path, make_data: MakeData) -> Callable[..., pd.DataFrame]:
    """Give a function that scans the images it is given and indexes their table by file name."""

    def table(images: dict[str, Any], strays: dict[str, bytes] | None = None) -> pd.DataFrame:
        make_data(tmp_path / "data", images)
        for name, content in (strays or {}).items():
            (tmp_path / "data" / "images" / name).write_bytes(content)
        found = tables.image_table(layout.read(tmp_path / "data"), 0.995)
        return found.set_index(found["file"].str.removeprefix("images/"))

    return table


def test_near_duplicates_share_a_group(table_of: Callable[..., pd.DataFrame], draw: Draw, encode: Encode) -> None:
    table = table_of({"b": {"content": encode(draw(1))}, "a": {"content": encode(draw(1) // 2)}, "c": {}})
    assert table["group"].to_dict() == {"a.png": "a", "b.png": "a", "c.png": "c"}


@pytest.mark.parametrize("column", ["patient_id", "study_id"])
def test_images_of_a_patient_or_study_share_a_group(column: str, table_of: Callable[..., pd.DataFrame]) -> None:
    table = table_of({"a": {column: "p1"}, "b": {column: "p2"}, "c": {column: "p1"}, "d": {}, "e": {}})
    assert table["group"].to_list() == ["a", "b", "a", "d", "e"]
    assert set(table["near_duplicate"]) == {"no"}


def test_groups_are_joined_through_a_common_image(
    table_of: Callable[..., pd.DataFrame], draw: Draw, encode: Encode
) -> None:
    table = table_of(
        {
            "a": {"content": encode(draw(1)), "patient_id": "p"},
            "b": {"content": encode(draw(2)), "patient_id": "p"},
            "c": {"content": encode(draw(2) // 2)},
        }
    )
    assert set(table["group"]) == {"a"}


def test_a_file_without_a_label_contradicts_no_label(
    table_of: Callable[..., pd.DataFrame], draw: Draw, encode: Encode
) -> None:
    content = encode(draw(1))
    table = table_of({"a": {"content": content}}, {"stray.png": content})
    assert set(table["identical_opposite"]) == set(table["near_opposite"]) == {"no"}


def test_a_file_named_like_an_image_is_not_taken_for_it(
    table_of: Callable[..., pd.DataFrame], draw: Draw, encode: Encode
) -> None:
    table = table_of({"a": {"boxes": [(0, 0, 1, 1, "fractured")]}}, {"a.bmp": encode(draw(50), "BMP")})
    assert table["near_duplicate"].to_dict() == {"a.bmp": "no", "a.png": "no"}
    assert table["boxes"].to_dict() == {"a.bmp": 0, "a.png": 1}


def test_a_folder_in_an_images_place_is_a_missing_file(tmp_path: Path, make_data: MakeData) -> None:
    data = make_data(tmp_path / "data", {"a": {}})
    (tmp_path / "data" / "images" / "a.png").unlink()
    (tmp_path / "data" / "images" / "a.png").mkdir()
    assert tables.image_table(data, 0.995)["decoded"].to_list() == ["missing"]


# Tables as a whole


@pytest.fixture
def judge(tmp_path: Path) -> Judge:
    return Judge(tmp_path / "gx")


def test_an_empty_table_fails(tmp_path: Path, make_data: MakeData, judge: Judge) -> None:
    verdict = judge_data(make_data(tmp_path / "data", {}), ValidateParams(), judge)
    assert verdict.failures == [f"{tmp_path / 'data'}: holds no image; fill it with `fracture data ...`"]


def test_a_class_with_too_few_images_fails(tmp_path: Path, make_data: MakeData, judge: Judge) -> None:
    data = make_data(tmp_path / "data", {"a": {}, "b": {}, "c": {}})
    verdict = judge_data(data, ValidateParams(min_per_class=2), judge)
    assert verdict.failures == [
        "min_per_class: class fractured has 1 usable images, fewer than validate.min_per_class = 2; "
        "add images, drop the class, or lower the limit in params.yaml"
    ]


def test_a_data_set_of_which_nothing_is_left_fails(tmp_path: Path, make_data: MakeData, judge: Judge) -> None:
    data = make_data(tmp_path / "data", {"a": {"content": b"no image"}, "b": {"content": b""}})
    verdict = judge_data(data, everything("exclude"), judge)
    assert [line.split(" has ")[0] for line in verdict.failures] == [
        "min_per_class: class normal",
        "min_per_class: class fractured",
    ]


def test_a_check_that_cannot_be_made_blames_no_image(judge: Judge) -> None:
    without_columns = pd.DataFrame({"file": ["images/a.png"]})
    with pytest.raises(RuntimeError, match="raised"):
        expectations.judge_images(judge, without_columns, ("normal", "fractured"), Offenders())


def table_warnings(judge: Judge, counts: pd.DataFrame, features: pd.DataFrame, **limits: Any) -> list[tuple[str, list]]:
    found = expectations.judge_rest(judge, counts, features, ValidateParams(min_per_class=2, **limits))
    return [(finding.check, finding.rows) for finding in found if finding.rows]


def test_an_imbalance_of_classes_is_found(judge: Judge) -> None:
    counts = tables.class_table(pd.DataFrame({"label": ["normal"] * 9 + ["fractured"] * 2}), ("normal", "fractured"))
    assert counts["times_smaller"].to_list() == [1, 4.5]
    none = pd.DataFrame({"feature": [], "auroc": []})
    assert table_warnings(judge, counts, none, imbalance_ratio=4) == [("class_imbalance", [1])]


def test_a_feature_that_predicts_the_label_is_found_and_named(
    tmp_path: Path, make_data: MakeData, judge: Judge
) -> None:
    images = {f"{number}": {"view": "lateral" if number % 2 else "frontal"} for number in range(8)}
    verdict = judge_data(make_data(tmp_path / "data", images), ValidateParams(min_per_class=2), judge)
    line = "shortcut: view alone predicts a fracture with AUROC 1.000; a model may learn it instead"
    assert line in verdict.warnings
    assert verdict.failures == []
    assert verdict.report.fracture_rates["view"] == "frontal: 0.000 of 4; lateral: 1.000 of 4"


def test_a_feature_at_the_limit_is_not_told(judge: Judge) -> None:
    counts = tables.class_table(pd.DataFrame({"label": ["normal", "fractured"] * 2}), ("normal", "fractured"))
    table = pd.DataFrame({"feature": ["view", "region"], "auroc": [0.65, 0.66]})
    assert table_warnings(judge, counts, table, shortcut_auroc=0.65) == [("shortcut", [1])]


def features(labels: list[str], **columns: list[Any]) -> dict[str, float]:
    measured = dict.fromkeys(tables._MEASURED, 1.0)
    found = tables.feature_table(pd.DataFrame({"label": labels, **measured, **columns}), "normal")
    return dict(zip(found["feature"], found["auroc"], strict=True))


def test_a_low_number_may_predict_a_fracture_as_well_as_a_high_one() -> None:
    labels = ["normal", "normal", "fractured", "fractured"]
    assert features(labels, width=[4, 3, 2, 1])["width"] == features(labels, width=[1, 2, 3, 4])["width"] == 1


def test_what_describes_the_fracture_is_no_feature() -> None:
    assert "fracture_count" not in features(["normal", "fractured"], fracture_count=["0", "1"])


def test_one_class_alone_has_no_features() -> None:
    assert features(["normal", "normal"]) == {}
    assert features(["fractured", "fractured"]) == {}


# The stage


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
    errors = [line for line in failed.stderr.splitlines() if "reading images" not in line]
    assert [line[:40] for line in errors] == [
        "error: empty_file: 1 image (images/20.png) in data"[:40],
        "error: undecodable: 1 image (images/21.png) in data"[:40],
    ]
    assert (project / "reports" / "images.csv").read_text() == "from an earlier run\n"
    assert not list((project / "reports").glob(".*"))


# The published data set


@pytest.fixture(scope="module")
def fracatlas(fracatlas_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Verdict:
    limits = params.load(ROOT / "params.yaml").validate_
    return judge_data(layout.read(fracatlas_data), limits, Judge(tmp_path_factory.mktemp("gx")))


@real_data
def test_fracatlas_is_fit_to_train_on(fracatlas: Verdict) -> None:
    assert fracatlas.failures == []
    assert fracatlas.report.images == fracatlas.report.usable == 3269


@real_data
def test_fracatlas_has_41_truncated_images_all_normal(fracatlas: Verdict) -> None:
    truncated = fracatlas.table[fracatlas.table["decoded"] == "truncated"]
    assert len(truncated) == 41
    assert set(truncated["label"]) == {"normal"}


@real_data
def test_fracatlas_has_73_groups_of_near_duplicates(fracatlas: Verdict) -> None:
    report = fracatlas.report
    assert (report.near_duplicate_groups, report.near_duplicate_images) == (73, 155)


@real_data
def test_fracatlas_has_7_images_that_look_like_one_with_the_other_label(fracatlas: Verdict) -> None:
    assert fracatlas.report.offenders["near_opposite"]["count"] == 7


@real_data
def test_fracatlas_contradicts_itself_on_one_image(fracatlas: Verdict) -> None:
    assert list(fracatlas.report.conflicts) == ["images/IMG0003298.jpg"]
