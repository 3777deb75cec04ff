"""Which cluster trains, and with what of it."""

import importlib.util

import pytest

from pipeline.errors import InputError
from pipeline.training import keys
from pipeline.training.params import TrainParams
from pipeline.training.places import address_for, resources_for

FOUR = TrainParams(workers=4)
with_ray = importlib.util.find_spec("ray") is not None


@pytest.mark.parametrize("found", ["", "auto", "ray://10.0.0.1:10001", "10.0.0.1"])
def test_several_processes_need_the_address_of_a_cluster(monkeypatch: pytest.MonkeyPatch, found: str) -> None:
    monkeypatch.setenv("RAY_ADDRESS", found)
    with pytest.raises(InputError, match=r"params\.yaml: train\.workers: 4 needs a Ray cluster: its HOST:PORT"):
        address_for(FOUR, "")


@pytest.mark.skipif(with_ray, reason="Ray is installed here")
def test_without_ray_a_line_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    with pytest.raises(InputError, match=r"Ray is not installed here; `make ray-setup`"):
        address_for(FOUR, "")


def test_one_process_takes_no_notice_of_a_cluster_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    assert not address_for(TrainParams(), "")


def test_an_address_for_one_process_is_refused() -> None:
    with pytest.raises(InputError, match=r"--address 10\.0\.0\.1:6379: set train\.workers"):
        address_for(TrainParams(), "10.0.0.1:6379")


@pytest.mark.parametrize(
    ("nodes", "workers", "taken"),
    [
        ([{"CPU": 8.0}] * 4, 4, {"CPU": 8, "GPU": 0}),
        ([{"CPU": 8.0}] * 2, 4, {"CPU": 4, "GPU": 0}),
        ([{"CPU": 16.0}, {"CPU": 4.0}], 2, {"CPU": 8, "GPU": 0}),
        ([{"CPU": 8.0, "GPU": 2.0}] * 2, 4, {"CPU": 4, "GPU": 1}),
        ([{"CPU": 8.0, "GPU": 1.0}, {"CPU": 8.0}], 2, {"CPU": 8, "GPU": 0}),
        ([{"CPU": 32.0, "GPU": 1.0}, {"CPU": 8.0, "GPU": 1.0}], 2, {"CPU": 8, "GPU": 1}),
    ],
)
def test_a_process_takes_as_many_cpus_as_all_can_have(
    nodes: list[dict[str, float]], workers: int, taken: dict[str, int]
) -> None:
    assert resources_for(nodes, workers) == taken


@pytest.mark.parametrize("nodes", [[], [{"CPU": 1.0}, {"CPU": 2.0}]])
def test_a_cluster_without_room_is_refused(nodes: list[dict[str, float]]) -> None:
    with pytest.raises(InputError, match="no CPU for each of 4 processes"):
        resources_for(nodes, 4)


def test_where_a_training_runs_does_not_change_its_name() -> None:
    assert keys.section_of(FOUR) == keys.section_of(TrainParams())
