"""`fracture drift`: quiet on images like those of training, not on others."""

import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import typer
from PIL import Image
from typer.testing import CliRunner, Result

from pipeline.cli.drift import drift as command
from pipeline.data.sources import synthetic
from pipeline.errors import InputError
from pipeline.monitoring import drift
from serving import bundle
from serving.bundle import Bundle
from serving.statistics import QUANTILES, shift

Change = Callable[[np.ndarray], np.ndarray]


@pytest.fixture(scope="module")
def later(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in the layout of data/ with synthetic radiographs that no model was trained on."""
    folder = tmp_path_factory.mktemp("later") / "data"
    synthetic.fill(folder, count=160, seed=77)
    return folder


@pytest.fixture(scope="module")
def opened(bundle_folder: Path) -> Bundle:
    return bundle.read(bundle_folder)


def _changed(folder: Path, target: Path, change: Change) -> Path:
    target.mkdir()
    for path in sorted(folder.glob("images/*")):
        pixels = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
        assert pixels is not None
        cv2.imwrite(str(target / f"{path.stem}.png"), change(pixels))
    return target


def _report(folder: Path, opened: Bundle) -> drift.Report:
    return drift.compare(drift.read_folder(folder, opened), opened, str(folder))


def test_new_images_of_the_same_kind_are_no_news(later: Path, opened: Bundle) -> None:
    report = _report(later / "images", opened)
    assert report.moved == []
    assert report.known == 0


@pytest.mark.parametrize(
    ("change", "statistic"),
    [
        (lambda pixels: 255 - pixels, "mean"),
        (lambda pixels: np.clip(pixels.astype(float) * 1.6 + 30, 0, 255).astype(np.uint8), "bright"),
        (lambda pixels: cv2.GaussianBlur(pixels, (0, 0), 3), "sharpness"),
    ],
    ids=["inverted", "over-exposed", "blurred"],
)
def test_other_images_are(later: Path, opened: Bundle, tmp_path: Path, change: Change, statistic: str) -> None:
    report = _report(_changed(later, tmp_path / "changed", change), opened)
    assert "refused" in report.moved or statistic in report.moved


@pytest.mark.slow
def test_one_region_alone_is_news(opened: Bundle, tmp_path: Path) -> None:
    """Of the two whose pictures differ most from the mean of all; what tells a region may be chance in a few images."""
    moved = {}
    for region in ("finger", "hand"):
        folder = tmp_path / region
        folder.mkdir()
        for number in range(drift.FEWEST + 10):
            fracture = synthetic.TYPES[number % len(synthetic.TYPES)] if number % 2 else None
            drawn = synthetic.render(80_000 + number, region, ("frontal", "lateral")[number % 2], fracture)
            (folder / f"{number}.png").write_bytes(cv2.imencode(".png", drawn.pixels)[1].tobytes())
        moved[region] = _report(folder, opened).moved
    assert any(moved.values()), moved


def test_images_of_training_are_told(trained_folder: Path, opened: Bundle) -> None:
    parts = pd.read_csv(trained_folder / "prepared/split.csv")["part"]
    report = _report(trained_folder / "data/images", opened)
    assert report.known == (parts != "test").sum()
    assert any("trained on or chosen with" in line for line in drift.text(report))


def _lines(opened: Bundle, count: int, model: str = "") -> list[str]:
    rng = np.random.default_rng(0)
    expected = drift.expectations(opened)
    lines = []
    for _ in range(count):
        drawn = {name: float(np.interp(rng.random(), QUANTILES, expected[name])) for name in drift.NAMES}
        event = {
            "event": "prediction", "probability": drawn.pop("probability"), "inputs": drawn,
            "model": {"sha256": model or opened.sha256},
        }  # fmt: skip
        lines.append(json.dumps(event))
    return lines


def test_a_log_of_the_service_is_read(opened: Bundle, tmp_path: Path) -> None:
    refusal = json.dumps({"event": "rejection", "code": "not_a_radiograph", "model": {"sha256": opened.sha256}})
    other = _lines(opened, 7, "f" * 64)
    lines = ["starting", *_lines(opened, 200), refusal, '{"event": "failure"}', *other, '{"event": "pred']
    (tmp_path / "log").write_text("\n".join(lines))
    app = typer.Typer()
    app.command()(command)
    arguments = [str(tmp_path / "log"), "--bundle", str(opened.folder), "--plot", str(tmp_path / "drift.png")]
    result = CliRunner().invoke(app, [*arguments, "--json"])
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found["moved"] == []
    assert found["statistics"]["mean"]["images"] == 200
    assert found["refused"] == {"not_a_radiograph": 1}
    assert (found["of_other_models"], found["unreadable_lines"]) == (7, 2)
    assert (tmp_path / "drift.png").read_bytes()[:4] == b"\x89PNG"
    spoken = CliRunner().invoke(app, arguments)
    assert "nothing moved" in spoken.stdout


def _run(source: Path, opened: Bundle, *options: str) -> Result:
    app = typer.Typer()
    app.command()(command)
    return CliRunner().invoke(app, [str(source), "--bundle", str(opened.folder), *options])


@pytest.fixture
def log(opened: Bundle, tmp_path: Path) -> Path:
    """Write a log in which nothing moved."""
    path = tmp_path / "log"
    path.write_text("\n".join(_lines(opened, 100)))
    return path


@pytest.mark.parametrize(("name", "start"), [("a.png", b"\x89PNG"), ("a.PNG", b"\x89PNG"), ("a.svg", b"<?xml")])
def test_a_plot_is_of_the_kind_that_its_name_says(log: Path, opened: Bundle, name: str, start: bytes) -> None:
    result = _run(log, opened, "--plot", str(log.with_name(name)))
    assert result.exit_code == 0, result.output
    assert log.with_name(name).read_bytes().startswith(start)


@pytest.mark.parametrize(
    ("name", "said"),
    [("", "--plot .*: is a folder; name a file in it"), ("x.txt", r"ends with neither \.png nor \.svg")],
)
def test_a_plot_of_another_name_is_refused_before_anything_is_read(
    log: Path, opened: Bundle, name: str, said: str
) -> None:
    before = set(log.parent.iterdir())
    with pytest.raises(InputError, match=said):
        command(str(log.with_name("nowhere")), bundle=opened.folder, plot=log.parent / name)
    assert set(log.parent.iterdir()) == before


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-1e999", "1" + "0" * 400])
@pytest.mark.parametrize("name", ["mean", "distance", "probability"])
def test_a_value_that_is_not_finite_spoils_no_mean(log: Path, opened: Bundle, name: str, value: str) -> None:
    lines = log.read_text().splitlines()
    given = json.loads(lines[0])
    (given if name == "probability" else given["inputs"])[name] = "here"
    seen = drift.read_log([*lines, json.dumps(given).replace('"here"', value)], opened, "log")
    assert seen.unreadable == 1
    assert {len(values) for values in seen.values.values()} == {100}
    assert drift.compare(seen, opened, "log").moved == []


def test_too_few_answers_name_the_lines_that_could_not_be_read(opened: Bundle) -> None:
    lines = [line.replace('"mean": ', '"mean": NaN, "was": ') for line in _lines(opened, 60)]
    with pytest.raises(InputError, match=r"holds 0 answers .*\(60 lines could not be read\)"):
        drift.compare(drift.read_log(lines, opened, "log"), opened, "log")


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_an_image_instead_of_a_folder_is_told(opened: Bundle, tmp_path: Path, kind: str) -> None:
    path = tmp_path / "x"
    Image.fromarray(np.zeros((40, 40), np.uint8)).save(path, kind)
    with pytest.raises(InputError, match="x: is an image; give a folder of images"):
        drift.read_file(path, opened)


def test_a_file_of_something_else_is_not_called_an_image(opened: Bundle, tmp_path: Path) -> None:
    (tmp_path / "x").write_text("nothing")
    with pytest.raises(InputError, match="x: holds no line that the service logged"):
        drift.read_file(tmp_path / "x", opened)


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_a_check_ends_with_3_when_something_moved(log: Path, opened: Bundle, options: list[str]) -> None:
    assert _run(log, opened, "--check", *options).exit_code == 0
    refusal = json.dumps({"event": "rejection", "code": "not_a_radiograph", "model": {"sha256": opened.sha256}})
    log.write_text("\n".join([*_lines(opened, 100), *[refusal] * 20]))
    assert _run(log, opened, *options).exit_code == 0
    result = _run(log, opened, "--check", *options)
    assert result.exit_code == 3
    assert "refused" in result.stdout


def test_many_refusals_are_news(opened: Bundle) -> None:
    refusal = json.dumps({"event": "rejection", "code": "not_a_radiograph", "model": {"sha256": opened.sha256}})
    seen = drift.read_log([*_lines(opened, 100), *[refusal] * 20], opened, "log")
    assert drift.compare(seen, opened, "log").moved == ["refused"]


@pytest.mark.parametrize(
    ("lines", "said"),
    [(["nothing"], "no line that the service logged"), ([], "no line that the service logged")],
)
def test_what_is_no_log_is_one_line(opened: Bundle, lines: list[str], said: str) -> None:
    with pytest.raises(InputError, match=said):
        drift.read_log(lines, opened, "log")


def test_too_few_answers_say_nothing(opened: Bundle) -> None:
    seen = drift.read_log([*_lines(opened, 10), *_lines(opened, 90, "f" * 64)], opened, "log")
    with pytest.raises(InputError, match=r"log: holds 10 answers .*\(90 answers are of another model"):
        drift.compare(seen, opened, "log")


def test_a_shift_is_measured_in_shares_of_images() -> None:
    expected = np.linspace(0, 1, 101)
    same = shift(expected, 2000, np.linspace(0, 1, 500))
    assert same.distance < 0.02
    assert not same.moved
    moved = shift(expected, 2000, np.linspace(0.3, 1.3, 500))
    assert moved.distance == pytest.approx(0.3, abs=0.02)
    assert moved.moved
    assert moved.outside == pytest.approx(0.3, abs=0.02)
    assert shift(np.zeros(101), 2000, np.zeros(60)).distance == 0
    assert shift(np.zeros(101), 2000, np.ones(60)).distance == 1
