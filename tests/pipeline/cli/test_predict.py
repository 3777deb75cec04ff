"""`fracture predict`: rows or JSON lines, an error for every bad file, heatmaps in their places."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import typer
from PIL import Image
from typer.testing import CliRunner, Result

from pipeline.cli import predict as command
from pipeline.errors import InputError
from serving.scoring import File
from tests.serving.imaging.dicom.builders import radiograph

ROOT = Path(__file__).parents[3]
Run = Callable[..., Result]


@pytest.fixture
def images(bundle_folder: Path, tmp_path: Path) -> Path:
    """A folder with two radiographs, one of them in a subfolder, and a broken one."""
    first, second, *_ = sorted((bundle_folder / "samples").iterdir())
    folder = tmp_path / "images"
    (folder / "sub").mkdir(parents=True)
    shutil.copy(first, folder / "b.png")
    shutil.copy(second, folder / "sub/a.png")
    (folder / "a.png").write_bytes(b"no image")
    return folder


@pytest.fixture
def run(bundle_folder: Path, monkeypatch: pytest.MonkeyPatch, images: Path) -> Run:
    """The command with the small bundle, in the folder above the images; its InputErrors are raised."""
    monkeypatch.chdir(images.parent)
    app = typer.Typer()
    app.command()(command.predict)

    def call(*arguments: str) -> Result:
        result = CliRunner().invoke(app, [*arguments, "--bundle", str(bundle_folder)])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return call


def _lines(result: Result) -> list[dict[str, Any]]:
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_every_file_has_its_line_in_order(run: Run) -> None:
    found = _lines(run("images", "--jsonl"))
    assert [line["file"] for line in found] == ["images/a.png", "images/b.png", "images/sub/a.png"]


def test_a_line_begins_with_file_label_and_probability_and_names_the_model(run: Run) -> None:
    line = _lines(run("images/b.png", "--jsonl"))[0]
    assert list(line)[:3] == ["file", "label", "probability"]
    assert {"threshold", "suspicion", "statement", "probabilities", "warnings", "input", "schema_version"} <= set(line)
    assert line["model"]["version"] == "1"


def test_a_bad_file_is_an_error_line_and_the_exit_code_is_one(run: Run) -> None:
    result = run("images", "--jsonl")
    assert set(_lines(result)[0]) == {"file", "error"}
    assert _lines(result)[0]["error"]["code"] == "unsupported_format"
    assert result.exit_code == 1


def test_a_refusal_of_the_guard_is_an_error_line(run: Run, images: Path, encode: Callable[..., bytes]) -> None:
    (images / "blank.png").write_bytes(encode(np.full((64, 64), 7, np.uint8)))
    result = run("images/blank.png", "--jsonl")
    assert _lines(result)[0]["error"]["code"] == "blank"
    assert result.exit_code == 1


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        ("--scope refuse", "out_of_scope"),
        ("--scope warn", None),
        ("=warn", None),
        ("=Warn", None),
        ("=", "out_of_scope"),
    ],
)
def test_what_the_model_is_not_meant_for_is_refused_unless_asked(
    run: Run, images: Path, monkeypatch: pytest.MonkeyPatch, asked: str, code: str | None
) -> None:
    options = asked.split() if asked.startswith("--") else []
    monkeypatch.setenv("FRACTURE_SCOPE", asked[1:] if asked.startswith("=") else "")
    picture = np.asarray(Image.open(images / "b.png").convert("L"), np.uint16) * 16
    (images / "chest.dcm").write_bytes(radiograph(picture, BitsStored=12, HighBit=11, BodyPartExamined="CHEST"))
    (line,) = _lines(run("images/chest.dcm", "--jsonl", *options))
    assert line.get("error", {}).get("code") == code
    assert code or "out_of_scope" in {note["code"] for note in line["warnings"]}


def test_without_a_bad_file_the_exit_code_is_zero(run: Run) -> None:
    assert run("images/b.png").exit_code == 0


def test_a_file_that_is_not_there_is_an_error_line(run: Run) -> None:
    assert _lines(run("nowhere.png", "images/b.png", "--jsonl"))[0]["error"]["code"] == "missing"


def test_progress_and_remarks_stay_out_of_stdout(run: Run) -> None:
    result = run("images", "--jsonl")
    assert len(result.stdout.splitlines()) == 3
    assert "3 files: " in result.stderr
    assert "3/3" in result.stderr


def test_the_table_has_a_row_a_file_with_answer_and_probability(run: Run) -> None:
    lines = run("images").stdout.splitlines()
    assert lines[0].split() == ["file", "answer", "probability", "suspicion", "remarks"]
    assert "unsupported_format" in lines[1]
    assert lines[2].startswith("images/b.png")
    assert any(label in lines[2] for label in ("Normal", "Fracture detected"))


def test_a_name_with_control_characters_moves_no_cursor(run: Run, images: Path) -> None:
    shutil.copy(images / "b.png", images / "\x1b[2Jc\n.png")
    assert "\x1b[2J" not in run(str(images / "\x1b[2Jc\n.png")).stdout


def test_a_name_that_is_no_text_is_written_all_the_same(run: Run, images: Path) -> None:
    name = os.fsdecode(b"caf\xe9.png")
    shutil.copy(images / "b.png", images / name)
    assert _lines(run(f"images/{name}", "--jsonl"))[0]["file"] == f"images/{name}"


def test_a_folder_without_images_is_one_line(run: Run, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="empty: holds no image"):
        run("empty")


def test_heatmaps_are_named_after_the_paths_in_the_folder(run: Run) -> None:
    run("images", "--heatmaps", "heat")
    found = sorted(path.relative_to("heat").as_posix() for path in Path("heat").rglob("*.png"))
    assert found == ["b.png.png", "sub/a.png.png"]


def test_a_heatmap_is_a_colour_picture_of_the_images_size(run: Run) -> None:
    line = _lines(run("images/b.png", "--jsonl", "--heatmaps", "heat"))[0]
    assert line["heatmap"] == "heat/b.png.png"
    drawn = cv2.imread("heat/b.png.png")
    assert drawn is not None
    assert drawn.shape == (line["input"]["height"], line["input"]["width"], 3)


def test_heatmaps_below_the_images_are_not_scored_the_next_time(run: Run) -> None:
    run("images", "--heatmaps", "images/heat")
    assert len(_lines(run("images", "--jsonl", "--heatmaps", "images/heat"))) == 3


def test_heatmaps_do_not_go_among_the_images(run: Run) -> None:
    with pytest.raises(InputError, match="is the folder of the images"):
        run("images", "--heatmaps", "images")


def test_a_file_in_place_of_the_folder_of_heatmaps_is_one_line(run: Run) -> None:
    with pytest.raises(InputError, match=r"--heatmaps images/b\.png: is a file"):
        run("images", "--heatmaps", "images/b.png")


def _targets(folder: Path, *relatives: str, above: str = "") -> list[str]:
    files = [File(f"{above}{number}/{name}", name, name) for number, name in enumerate(relatives)]
    return [path.relative_to(folder).as_posix() for path in command.heatmap_targets(files, folder).values()]


def test_no_heatmap_lies_over_another(tmp_path: Path) -> None:
    assert _targets(tmp_path, "a.png", "a.png", "A.png", "a.jpg") == [
        "a.png.png", "a.png-2.png", "A.png-3.png", "a.jpg.png",
    ]  # fmt: skip


def test_a_heatmap_and_a_folder_do_not_take_the_same_name(tmp_path: Path) -> None:
    assert _targets(tmp_path, "a", "a.png/b") == ["a.png", "a.png_/b.png"]


def test_a_heatmap_never_replaces_an_image(tmp_path: Path) -> None:
    files = [File(str(tmp_path / name), name, name) for name in ("a", "a.png")]
    found = [path.name for path in command.heatmap_targets(files, tmp_path).values()]
    assert found == ["a-2.png", "a.png.png"]


def test_a_very_long_name_is_shortened_without_becoming_another_files(tmp_path: Path) -> None:
    long = "ü" * 120
    found = _targets(tmp_path, f"{long}1.png", f"{long}2.png")
    assert len(set(found)) == 2
    assert all(len(name.encode()) < 200 for name in found)


def test_heatmaps_do_not_leave_their_folder_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "heat").mkdir()
    (tmp_path / "heat/sub").symlink_to(tmp_path / "outside")
    with pytest.raises(InputError, match="leads out of --heatmaps"):
        _targets(tmp_path / "heat", "sub/a.png")


def _fracture(loaded: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command in a process that ends by printing which of the given modules it has loaded."""
    code = "import sys, pipeline.cli as c\ntry: c.main()\nfinally: print(sorted({*NAMES.split()} & {*sys.modules}))"
    program = f"NAMES = {loaded!r}\n{code}"
    return subprocess.run(
        [sys.executable, "-c", program, *arguments], cwd=ROOT, capture_output=True, text=True, check=False, timeout=120
    )


def test_a_shell_gets_only_json_and_no_word_of_the_libraries(bundle_folder: Path, images: Path) -> None:
    done = _fracture(
        "tensorflow keras mlflow pandas bentoml",
        "predict", str(images), "--jsonl", "--bundle", str(bundle_folder),
    )  # fmt: skip
    assert done.returncode == 1
    assert [line[0] for line in done.stdout.splitlines()] == ["{"] * 3 + ["["]
    assert done.stdout.splitlines()[-1] == "[]"
    assert "XNNPACK" not in done.stderr


def test_a_reader_that_leaves_early_is_no_defect(bundle_folder: Path) -> None:
    fracture = Path(sys.executable).parent / "fracture"
    pipe = f"set -o pipefail; '{fracture}' predict '{bundle_folder}/samples' --jsonl --bundle '{bundle_folder}' | true"
    done = subprocess.run(["bash", "-c", pipe], cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)
    assert "Traceback" not in done.stderr
