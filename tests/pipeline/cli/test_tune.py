"""`fracture tune`: what a person gave wrong is one line."""

import importlib.util
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from pipeline import cli

SPACE = "train.dropout: [0.1, 0.2]\n"


def _tune(folder: Path, *arguments: str, text: str = SPACE) -> Result:
    (folder / "space.yaml").write_text(text)
    command = ["tune", "--space", str(folder / "space.yaml"), "--trials", "2", *arguments]
    return CliRunner().invoke(cli.assemble(command), command)


def _line(done: Result) -> str:
    assert done.exit_code == 1
    return str(done.exception)


def test_without_ray_it_says_how_to_install_it(tmp_path: Path) -> None:
    assert importlib.util.find_spec("ray") is None
    assert "Ray is not installed here; `make ray-setup` makes .venv-ray" in _line(_tune(tmp_path))


def test_a_key_that_is_none_is_named(tmp_path: Path) -> None:
    assert "space.yaml: train.droput: unknown key" in _line(_tune(tmp_path, text="train.droput: [0.1]"))


def test_one_fold_is_refused(tmp_path: Path) -> None:
    assert "--folds 1: there must be at least 2" in _line(_tune(tmp_path, "--folds", "1"))


@pytest.mark.parametrize("address", ["nonsense", "http://10.0.0.5:6379", "10.0.0.5", "10.0.0.5:x", ":6379", "a b:1"])
def test_what_is_no_address_of_a_cluster_is_named(tmp_path: Path, address: str) -> None:
    assert f"--address {address}: is no address of a Ray cluster" in _line(_tune(tmp_path, "--address", address))


@pytest.mark.parametrize("address", ["10.0.0.5:6379", "head:6379", "[2001:db8::1]:6379", "auto"])
def test_an_address_of_a_cluster_is_taken(tmp_path: Path, address: str) -> None:
    assert "Ray is not installed" in _line(_tune(tmp_path, "--address", address))


@pytest.mark.parametrize("wrong", [("--trials", "0"), ("--cpus", "0"), ("--folds", "51"), ("--gpus", "-1")])
def test_wrong_usage_ends_with_code_2(tmp_path: Path, wrong: tuple[str, str]) -> None:
    assert _tune(tmp_path, *wrong).exit_code == 2
