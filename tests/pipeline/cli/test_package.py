"""`fracture package`: what it prints, and one line for a model that there is not."""

import re
from pathlib import Path

import pytest

from pipeline.cli.package import champion_of, package
from pipeline.errors import InputError
from serving.scope import Terms


def test_the_last_lines_say_where_bundle_and_bento_are_and_how_to_serve_them(packaged_folder: Path) -> None:
    lines = (packaged_folder / "package.log").read_text().splitlines()
    assert any(re.fullmatch(r"bundle: .*build/bundle/bone-fracture-1", line) for line in lines)
    assert any(re.fullmatch(r"bento:  .*build/bento/bone-fracture-1 \(bone-fracture:1-\w+\)", line) for line in lines)
    assert any(line.startswith("serve it: fracture serve --bundle") for line in lines)


def test_the_champion_is_of_the_model_that_params_yaml_names(tmp_path: Path) -> None:
    text = (Path(__file__).parents[3] / "params.yaml").read_text()
    (tmp_path / "params.yaml").write_text(text.replace("model_name: bone-fracture", "model_name: wrists"))
    assert champion_of(tmp_path) == "models:/wrists@champion"


def test_a_key_of_a_page_that_is_not_packaged_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is for the page of --offline-page"):
        package(trusted_key=[tmp_path / "key.pub"])


@pytest.mark.parametrize(
    ("content", "line"),
    [("{}", "scope.json: cannot be used .intended: Field required"), ("CHEST", "cannot be used .its content: Invalid")],
)
def test_a_list_of_scope_that_cannot_be_used_is_one_line(tmp_path: Path, content: str, line: str) -> None:
    (tmp_path / "scope.json").write_text(content)
    with pytest.raises(InputError, match=line):
        package(scope_file=tmp_path / "scope.json")


def test_a_bundle_keeps_its_list_of_scope(tmp_path: Path) -> None:
    (tmp_path / "scope.json").write_text(Terms.for_regions().text())
    with pytest.raises(InputError, match="is a bundle, which carries its list already"):
        package("build/bundle/mine", scope_file=tmp_path / "scope.json")


@pytest.mark.parametrize(("name", "what"), [("bundle", "a bundle"), ("bento", "a bento")])
def test_a_folder_of_other_files_is_never_replaced(name: str, what: str, tmp_path: Path) -> None:
    (tmp_path / name).mkdir()
    (tmp_path / name / "thesis.txt").touch()
    with pytest.raises(InputError, match=f"{name}: holds something else than {what}"):
        package(output=tmp_path)


def test_a_page_needs_npm_before_anything_is_made(
    tmp_path: Path, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match="npm: not found"):
        package("nowhere", offline_page=True)


@pytest.mark.parametrize(
    ("model", "line"),
    [
        ("models:/bone-fracture@nobody", "no version of bone-fracture has the alias nobody"),
        ("models:/bone-fracture/9", "bone-fracture has no version 9; registered versions: 1"),
        ("models:/bone-fracture", "is no model address"),
        ("nowhere", "--model nowhere: is no bundle's folder"),
    ],
)
def test_a_wrong_model_is_one_line(
    packaged_folder: Path, monkeypatch: pytest.MonkeyPatch, model: str, line: str
) -> None:
    monkeypatch.chdir(packaged_folder)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{packaged_folder}/mlflow.db")
    with pytest.raises(InputError, match=line):
        package(model)
