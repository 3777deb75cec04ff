"""Which engine reads the images of a stage."""

from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.data import engine
from pipeline.data.engine import Engine
from pipeline.data.images import FolderImages
from pipeline.data.layout import Dataset
from pipeline.errors import InputError


def test_a_stage_reads_its_images_itself_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FRACTURE_ENGINE", "FRACTURE_RAY_ADDRESS", "FRACTURE_ACTORS"):
        monkeypatch.delenv(name, raising=False)
    assert engine.engine_of([], None) == Engine("local", "", 0)


def test_the_environment_names_the_engine_where_dvc_runs_the_stage(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FRACTURE_ENGINE", "ray")
    monkeypatch.setenv("FRACTURE_RAY_ADDRESS", "10.0.0.5:6379")
    monkeypatch.setenv("FRACTURE_ACTORS", "8")
    assert engine.engine_of([], None) == Engine("ray", "10.0.0.5:6379", 8)


def test_arguments_go_before_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FRACTURE_ENGINE", "ray")
    assert engine.engine_of(["--engine", "local", "--actors", "3"], None) == Engine("local", "", 3)


def test_the_address_of_a_cluster_is_not_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FRACTURE_ENGINE", "FRACTURE_RAY_ADDRESS"):
        monkeypatch.delenv(name, raising=False)
    for arguments in (["--address", "10.0.0.5:6379"], ["--engine", "local", "--address", "10.0.0.5:6379"]):
        with pytest.raises(InputError, match=r"--address 10\.0\.0\.5:6379: names a Ray cluster; add --engine ray"):
            engine.engine_of(arguments, None)
    monkeypatch.setenv("FRACTURE_RAY_ADDRESS", "10.0.0.5:6379")
    with pytest.raises(InputError, match="FRACTURE_RAY_ADDRESS: names a Ray cluster; set FRACTURE_ENGINE=ray too"):
        engine.engine_of([], None)
    assert engine.engine_of(["--engine", "ray"], None) == Engine("ray", "10.0.0.5:6379")
    assert engine.engine_of(["--engine", "local"], None) == Engine()


def test_processes_that_read_nothing_are_not_passed_over(
    tmp_path: Path, make_data: Callable[..., Dataset], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("FRACTURE_ENGINE", "FRACTURE_RAY_ADDRESS", "FRACTURE_ACTORS"):
        monkeypatch.delenv(name, raising=False)
    data = make_data(tmp_path / "data", {"a": {}, "b": {}})
    with (
        pytest.raises(InputError, match="--actors 4: here the stage itself reads images/; add --engine ray"),
        engine.opened(data, engine.engine_of(["--actors", "4"], None), tmp_path / "blocks"),
    ):
        pass


@pytest.mark.parametrize(("name", "value"), [("FRACTURE_ENGINE", "dask"), ("FRACTURE_ACTORS", "-1")])
def test_an_unusable_variable_is_named(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(InputError, match=f"{name}: '{value}' is n"):
        engine.engine_of([], None)


def test_images_that_lie_elsewhere_are_for_the_stages_alone(tmp_path: Path, make_data: Callable[..., Dataset]) -> None:
    data = make_data(tmp_path / "data", {"a": {}, "b": {}})
    (data.folder / "manifest.parquet").touch()
    with pytest.raises(InputError, match=r"data: its images lie elsewhere \(manifest\.parquet\), .* into images/"):
        FolderImages(data)


def test_an_engine_without_ray_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    from pipeline.archive.preparing import engines

    monkeypatch.setattr(engines.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match="--engine ray: Ray is not installed here; `make ray-setup`"):
        engines.runner_of(Engine("ray"))


@pytest.mark.parametrize("address", ["nonsense", "ray://10.0.0.5:6379"])
def test_what_is_no_address_of_a_cluster_is_named(address: str) -> None:
    from pipeline.archive.preparing import engines

    with pytest.raises(InputError, match=f"--address {address}: is no address of a Ray cluster"):
        engines.runner_of(Engine("ray", address))
