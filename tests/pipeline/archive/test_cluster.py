"""Scoring on a Ray cluster of two nodes on loopback: every image once, whatever breaks or is killed."""

import importlib.util
import os
import random
import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import psutil
import pytest

from deploy.ray import certificates
from pipeline.archive import manifest
from pipeline.archive.engines import LocalEngine
from pipeline.archive.manifest import Manifest, Sources
from pipeline.archive.places import open_place
from pipeline.archive.scoring import Observer, Request, run
from serving.bundle import Bundle
from tests.pipeline.archive.clusters import TOOLS, Cluster, cluster
from tests.pipeline.archive.conftest import RELEASE, ROOT, SAMPLES, fill
from tests.pipeline.archive.scorings import PROGRAM, rows

POISON = {"crash": "crashed", "kill": "out_of_memory", "hang": "timeout", "eat": "out_of_memory"}
"""What an image does to its decoder, and the code of its row."""
KILLS = int(os.environ.get("RAY_KILLS", "4"))
pytestmark = pytest.mark.timeout(900)  # seconds on a machine with nothing else to do, minutes on a busy one


@pytest.fixture(scope="module")
def two_nodes() -> Iterator[Cluster]:
    """Run a cluster."""
    with cluster() as found:
        yield found


def _run(command: list[str], environment: dict[str, str] | None = None) -> str:
    """What a command that has to succeed said."""
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_two_nodes_answer_every_image_once_as_one_machine_does(
    two_nodes: Cluster, shared_manifest: Manifest, opened: Bundle, tmp_path: Path
) -> None:
    _run(two_nodes.score(shared_manifest, tmp_path / "ray"), dict(two_nodes.environment))
    asked = Request(shared_manifest, opened)
    run(asked, open_place(str(tmp_path / "local")), LocalEngine(asked.work(), 1), Observer())
    theirs, ours = (rows(open_place(str(tmp_path / name))) for name in ("ray", "local"))
    assert [{**row, "seconds": 0} for row in theirs] == [{**row, "seconds": 0} for row in ours]


def test_images_that_were_away_are_asked_again(two_nodes: Cluster, opened: Bundle, tmp_path: Path) -> None:
    images, out = fill(tmp_path / "images"), tmp_path / "out"
    manifest.write(tmp_path / "m.parquet", Sources((str(images),)))
    listed = Manifest(tmp_path / "m.parquet")
    asked = Request(listed, opened)
    (images / "2020").rename(tmp_path / "away")
    run(asked, open_place(str(out)), LocalEngine(asked.work(), 1), Observer())
    before = rows(open_place(str(out)))
    (tmp_path / "away").rename(images / "2020")
    _run([*two_nodes.score(listed, out), "--retry", "missing"], dict(two_nodes.environment))
    after = rows(open_place(str(out)))
    assert [row["id"] for row in after] == [row["id"] for row in before]
    was_missing = [row["error_code"] == "missing" for row in before]
    assert sum(was_missing) == 2
    assert all(row["label"] for row, missing in zip(after, was_missing, strict=True) if missing)
    assert [row for row, missing in zip(after, was_missing, strict=True) if not missing] == [
        row for row, missing in zip(before, was_missing, strict=True) if not missing
    ]


@pytest.mark.slow  # Ray takes twenty seconds to find it out
def test_a_wrong_token_is_refused_in_one_line(two_nodes: Cluster, shared_manifest: Manifest, tmp_path: Path) -> None:
    command = two_nodes.score(shared_manifest, tmp_path / "out")
    wrong = {**two_nodes.environment, "RAY_AUTH_TOKEN": "0" * 64}
    done = subprocess.run(command, cwd=ROOT, env=wrong, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    (said,) = (line for line in done.stderr.splitlines() if line.startswith("error: "))
    assert said.startswith(f"error: {two_nodes.address}: ")
    assert "RAY_AUTH_TOKEN" in said
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out/answers").exists()


def _poisoned(folder: Path, images: int, poison: Sequence[str] = tuple(POISON)) -> Manifest:
    """List `images` radiographs, and among them one of each poison."""
    folder.mkdir()
    for number in range(images):
        shutil.copy(SAMPLES[number % len(SAMPLES)], folder / f"{number:03d}.png")
    for number, name in enumerate(poison):
        (folder / f"{number * images // len(poison):03d}-{name}.png").write_text(f"{name} ")
    target = folder.with_suffix(".parquet")
    manifest.write(target, Sources((str(folder),)))
    return Manifest(target)


def _assert_whole(out: Path, images: int, poison: Sequence[str] = tuple(POISON)) -> None:
    """Every image stands there once, and each poison with its code."""
    place = open_place(str(out))
    found = rows(place)
    assert len({row["id"] for row in found}) == len(found) == images + len(poison)
    wanted = Counter(POISON[name] for name in poison) + Counter({None: images})
    assert Counter(row["error_code"] for row in found) == wanted
    for row in found:
        name = Path(row["uri"]).stem.partition("-")[2]
        assert row["error_code"] == POISON.get(name)
    assert place.read("_SUCCESS") is not None


def test_an_actor_that_is_killed_costs_no_image(two_nodes: Cluster, tmp_path: Path) -> None:
    listed = _poisoned(tmp_path / "in", 16, ["crash"])
    driver = two_nodes.score_poison(listed, tmp_path / "out")
    while not (found := two_nodes.actors):
        assert driver.poll() is None
        time.sleep(0.05)
    found[0].kill()
    assert driver.wait() == 0, (tmp_path / "out.log").read_text()
    _assert_whole(tmp_path / "out", 16, ["crash"])


def _kill_an_actor(found: Cluster, _: "subprocess.Popen[str]") -> bool:
    try:
        random.choice(found.actors).kill()  # noqa: S311  no secret
    except (IndexError, psutil.NoSuchProcess):
        return False  # there is none at this moment
    return True


def _kill_a_node(found: Cluster, _: "subprocess.Popen[str]") -> bool:
    found.kill_node()
    return True


def _kill_the_driver(_: Cluster, driver: "subprocess.Popen[str]") -> bool:
    driver.kill()
    return True


@pytest.mark.slow
@pytest.mark.parametrize("kill", [_kill_an_actor, _kill_the_driver, _kill_a_node])
def test_every_image_is_answered_once_after_kills_at_random_moments(
    kill: Callable[[Cluster, "subprocess.Popen[str]"], bool], two_nodes: Cluster, tmp_path: Path
) -> None:
    images, left, outs = 60, KILLS, 0
    listed = _poisoned(tmp_path / "in", images)
    while left:  # as many scorings as the kills take
        out, outs = tmp_path / str(outs), outs + 1
        driver = two_nodes.score_poison(listed, out)
        while driver.returncode != 0:
            try:
                driver.wait(random.uniform(0.5, 12) if left else None)  # noqa: S311  no secret
            except subprocess.TimeoutExpired:
                left -= kill(two_nodes, driver)
                continue
            if driver.returncode:
                assert driver.returncode < 0, out.with_suffix(".log").read_text()
                driver = two_nodes.score_poison(listed, out)
        _assert_whole(out, images)


_ARGUMENTS = """
import sys
from pathlib import Path
from unittest.mock import patch
from pipeline.archive import cluster
from pipeline.archive.manifest import Manifest
from pipeline.archive.places import open_place
from pipeline.archive.scoring import Request
from pipeline.archive.shards import Shards
from serving import bundle

request = Request(Manifest(Path(sys.argv[1])), bundle.read(Path(sys.argv[2])))
shards = Shards.begin(open_place(sys.argv[3]), request.plan())
with (patch.object(cluster, "ray") as ray, patch.object(cluster, "joined"),
      patch.object(cluster, "run_on_actors") as run):
    with cluster.RayEngine(request.work(), 1, "host:1") as engine:
        engine.run(shards, iter([]), print)
    run.call_args.args[0]()  # starts an actor
remote = ray.remote.return_value.return_value.remote
assert ray.put.called and remote.called
print(any(argument is ray.put.return_value for argument in remote.call_args.args))
"""


def test_no_argument_of_an_actor_is_kept_in_the_object_store(
    two_nodes: Cluster, shared_manifest: Manifest, tmp_path: Path
) -> None:
    """Ray keeps the room of one for ever where the driver is killed while actors start (ray-project/ray 64627)."""
    command = [str(TOOLS / "python"), "-c", _ARGUMENTS, str(shared_manifest.path), str(RELEASE), str(tmp_path / "out")]
    assert _run(command, dict(two_nodes.environment)).strip() == "False"


@pytest.mark.slow
def test_a_cluster_that_ends_no_block_is_given_up_in_one_line(
    two_nodes: Cluster, shared_manifest: Manifest, tmp_path: Path
) -> None:
    """No actor starts and answers within a second."""
    command = [*two_nodes.score(shared_manifest, tmp_path / "out"), "--stall", "1"]
    done = subprocess.run(
        command, cwd=ROOT, env=dict(two_nodes.environment), capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    (said,) = (line for line in done.stderr.splitlines() if line.startswith("error: "))
    assert said.startswith("error: the cluster ended no block for 1 seconds (")
    assert said.endswith("run the command again: it goes on where it was")


@pytest.mark.slow
def test_a_cluster_that_vanishes_at_the_start_ends_the_command_in_one_line(
    shared_manifest: Manifest, tmp_path: Path
) -> None:
    """Without a watchdog Ray waits for it for more than ten minutes."""
    with cluster() as found:
        driver = subprocess.Popen(
            found.score(shared_manifest, tmp_path / "out"), cwd=ROOT, env=found.environment,
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        found.vanish()
        _, faults = driver.communicate(timeout=240)
    assert driver.returncode == 1
    (said,) = (line for line in faults.splitlines() if line.startswith("error: "))
    assert said.startswith(f"error: {found.address}: the head of the cluster has not answered for 60 seconds; ")
    assert "Traceback" not in faults


@pytest.mark.slow
def test_nodes_with_one_certificate_for_their_subnet_answer_over_tls(shared_manifest: Manifest, tmp_path: Path) -> None:
    certificates.make("127.0.0.0/29", tmp_path / "tls")
    files = dict(zip(("RAY_TLS_CA_CERT", "RAY_TLS_SERVER_CERT", "RAY_TLS_SERVER_KEY"), certificates.FILES, strict=True))
    variables = {"RAY_USE_TLS": "1"} | {key: str(tmp_path / "tls" / name) for key, name in files.items()}
    with cluster(**variables) as found:
        _run(found.score(shared_manifest, tmp_path / "out"), dict(found.environment))
        assert len(rows(open_place(str(tmp_path / "out")))) == 6


def test_without_an_address_ray_starts_here_whatever_the_environment_names(
    two_nodes: Cluster, shared_manifest: Manifest, tmp_path: Path
) -> None:
    command = [
        str(TOOLS / "fracture"), "score", "--engine", "ray", "--actors", "1", "--manifest", str(shared_manifest.path),
        "--out", str(tmp_path / "out"), "--bundle", str(RELEASE),
    ]  # fmt: skip
    _run(command, os.environ | {"RAY_ADDRESS": "127.0.0.9:1", "RAY_raylet_start_wait_time_s": "300"})
    assert len(rows(open_place(str(tmp_path / "out")))) == 6


@pytest.mark.skipif(importlib.util.find_spec("ray") is not None, reason="Ray is installed here")
def test_without_ray_the_command_says_how_to_install_it(shared_manifest: Manifest, tmp_path: Path) -> None:
    command = [
        PROGRAM,
        "score",
        "--engine",
        "ray",
        "--manifest",
        str(shared_manifest.path),
        "--out",
        str(tmp_path / "out"),
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "Ray is not installed here; `make ray-setup`" in done.stderr
    assert "Traceback" not in done.stderr
