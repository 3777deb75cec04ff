"""`fracture data`: what it writes, what it says, how it brings data.dvc up to date."""

import json
import subprocess
import sys
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from pipeline.cli import data as command
from pipeline.data import layout
from pipeline.errors import InputError
from tests.serving.imaging.dicom.deidentify.planted import radiograph

MD5 = "outs:\n- md5: {}.dir\n  size: 3\n  path: data\n"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout without DVC, with a folder of two classes beside it."""
    root = tmp_path / "project"
    root.mkdir()
    for name in ("params.yaml", "dvc.yaml"):
        (root / name).touch()
    for i, name in enumerate(("fractured", "normal")):
        (tmp_path / "own" / name).mkdir(parents=True)
        picture(i).save(tmp_path / "own" / name / "Doe_Jane.png")
    monkeypatch.chdir(root)
    return root


@pytest.fixture
def dvc(project: Path, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """A stand-in for the dvc command: records the calls, and every call gives data.dvc another hash."""
    (project / ".dvc").mkdir()
    calls: list[list[str]] = []

    def run(arguments: list[str], **options: Any) -> SimpleNamespace:
        calls.append(arguments)
        (options["cwd"] / "data.dvc").write_text(MD5.format(len(calls)))
        return SimpleNamespace(returncode=0, stdout="", stderr="")

    monkeypatch.setattr(subprocess, "run", run)
    return calls


def picture(number: int) -> Image.Image:
    """A picture that the service would not refuse."""
    return Image.linear_gradient("L").resize((32, 32)).rotate(90 * number).point(lambda level: min(255, level + number))


def run(*arguments: str) -> str:
    """What a command prints; its errors are raised."""
    result = CliRunner().invoke(command.app, arguments)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.output


def test_dicom_objects_are_read_with_their_labels(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FRACTURE_DEIDENTIFICATION_KEY", "a secret of the tests, of 32 characters")
    (project.parent / "objects").mkdir()
    for number in (1, 2):
        rows, columns = np.mgrid[:64, :64]
        pixels = (100 * number + rows * columns).astype(np.uint16)
        content = radiograph(
            SOPInstanceUID=f"1.2.{number}", StudyInstanceUID=f"1.3.{number}",
            Rows=64, Columns=64, PixelData=pixels.tobytes(),
        )  # fmt: skip
        (project.parent / "objects" / f"IM{number}").write_bytes(content)
    (project.parent / "labels.csv").write_text("study_instance_uid,label\n1.3.1,normal\n1.3.2,fractured\n")
    output = run("dicom", "../objects", "--labels", "../labels.csv")
    assert "2 images (1 normal, 1 fractured)" in output
    assert "do not share it" in output


def test_a_folder_is_filled_and_the_next_command_named(project: Path) -> None:
    output = run("folder", "../own")
    assert "2 images (1 normal, 1 fractured), 0 boxes" in output
    assert "next: dvc repro" in output
    assert len(layout.read(project / "data").labels) == 2


def test_names_go_to_the_private_folder_of_the_project(project: Path) -> None:
    assert "Doe" not in run("folder", "../own")
    assert "Doe_Jane" in (project / "private" / "own-names.csv").read_text()


def test_a_project_without_dvc_is_told_so(project: Path) -> None:
    assert "no .dvc folder, so data/ is not tracked" in run("folder", "../own")


def test_dvc_is_run_by_the_same_python(dvc: list[list[str]]) -> None:
    assert "data.dvc is new: md5 1.dir" in run("folder", "../own")
    assert dvc == [[sys.executable, "-m", "dvc", "add", "data", "-q"]]


def test_a_changed_hash_is_announced_with_both_values(dvc: list[list[str]]) -> None:
    run("folder", "../own")
    assert "data.dvc changed: md5 1.dir -> 2.dir" in run("folder", "../own")


def test_an_unchanged_hash_is_announced(dvc: list[list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    run("folder", "../own")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: SimpleNamespace(returncode=0, stdout="", stderr=""))
    assert "data.dvc is as it was (md5 1.dir)" in run("folder", "../own")


def test_a_changed_sample_says_why_that_may_be(
    dvc: list[list[str]], monkeypatch: pytest.MonkeyPatch, project: Path
) -> None:
    from pipeline.data.sources import synthetic

    info = layout.DatasetInfo("sample", "1", "", "", "", ("normal", "fractured"))

    def fill(folder: Path, count: int, seed: int, classes: str, force: bool) -> layout.DatasetInfo:
        with layout.rebuild(folder, info, force) as building:
            building.add("a", ".png", b"", "normal")
        return info

    monkeypatch.setattr(synthetic, "fill", fill)
    (project / "data.dvc").write_text(MD5.format("old"))
    assert "its arithmetic can round to a neighbouring grey level there" in run("sample", "--count", "1")


def test_a_failing_dvc_is_one_line(dvc: list[list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    broken = SimpleNamespace(returncode=1, stdout="", stderr="a\nERROR: no cache\n")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: broken)
    with pytest.raises(InputError, match=r"`dvc add data` failed \(ERROR: no cache\)"):
        run("folder", "../own")


def test_real_dvc_records_the_data(project: Path) -> None:
    subprocess.run([sys.executable, "-m", "dvc", "init", "--no-scm", "-q"], cwd=project, check=True)
    output = run("folder", "../own")
    assert f"data.dvc is new: md5 {command.tracked_md5(project / 'data.dvc')}" in output


def test_an_archive_is_read(project: Path) -> None:
    with zipfile.ZipFile("a.zip", "w") as archive:
        archive.writestr("readme.txt", "")
    with pytest.raises(InputError, match=r"a\.zip: holds no dataset\.csv"):
        run("fracatlas", "--archive", "a.zip")


def test_force_replaces_another_data_set(project: Path) -> None:
    run("folder", "../own")
    picture(9).save("../own/normal/b.png")
    assert "3 images" in run("folder", "../own", "--force")


@pytest.mark.parametrize("name", ["sample", "fracatlas", "folder"])
def test_every_option_is_explained(name: str) -> None:
    from typer.main import get_command

    group = get_command(command.app)
    options = group.commands[name].params  # type: ignore[attr-defined]
    assert all(option.help for option in options)


def test_a_wrong_option_is_a_usage_error(project: Path) -> None:
    assert CliRunner().invoke(command.app, ["sample", "--classes", "many"]).exit_code == 2


def test_outside_a_checkout_it_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"no params\.yaml here or above"):
        run("folder", "own")


def test_a_data_set_is_described_for_others(project: Path) -> None:
    CliRunner().invoke(command.app, ["folder", "../own"])
    done = CliRunner().invoke(command.app, ["croissant", "--output", "out/croissant.json", "--published", "2026"])
    assert done.output.startswith("out/croissant.json: own")
    described = json.loads((project / "out/croissant.json").read_text())
    assert described["datePublished"] == "2026"
    assert described["distribution"][0]["contentUrl"] == "../data/labels.csv"


def test_a_date_that_is_none_is_one_line(project: Path) -> None:
    done = CliRunner().invoke(command.app, ["croissant", "--published", "yesterday"])
    assert isinstance(done.exception, InputError)
    assert str(done.exception) == "--published yesterday: write YYYY-MM-DD, or the year"
