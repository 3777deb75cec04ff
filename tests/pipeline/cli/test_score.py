"""`fracture score`: what a person gave wrong is one line."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pipeline import cli
from pipeline.archive import manifest
from pipeline.archive.manifest import Manifest, Sources
from pipeline.archive.places import open_place
from pipeline.archive.scoring import Request
from pipeline.archive.shards import Shards
from serving import bundle
from tests.pipeline.archive.conftest import RELEASE, ROOT, fill


def _said(*arguments: str, paths: tuple[Path, Path] = (Path("m.parquet"), Path("out"))) -> str:
    command = ["score", "--manifest", str(paths[0]), "--out", str(paths[1]), *arguments]
    done = CliRunner().invoke(cli.assemble(command), command)
    assert done.exit_code == 1
    return str(done.exception)


def test_the_address_of_a_cluster_is_not_passed_over() -> None:
    assert "--address 10.0.0.5:6379: names a Ray cluster; add --engine ray" in _said("--address", "10.0.0.5:6379")


def test_the_stall_of_a_cluster_is_not_passed_over() -> None:
    assert _said("--stall", "60") == "--stall 60: is for a Ray cluster; add --engine ray, or leave it out"


def test_what_a_status_would_pass_over_is_refused(tmp_path: Path) -> None:
    command = ["score", "--status", str(tmp_path), "--retry", "missing", "--actors", "0"]
    done = CliRunner().invoke(cli.assemble(command), command)
    assert str(done.exception) == f"--status {tmp_path}: scores nothing; leave out --actors, --retry"


def test_another_size_of_files_than_at_the_beginning_is_refused(tmp_path: Path) -> None:
    paths = tmp_path / "m.parquet", tmp_path / "out"
    manifest.write(paths[0], Sources((str(fill(tmp_path / "images")),)))
    Shards.begin(open_place(str(paths[1])), Request(Manifest(paths[0]), bundle.read(RELEASE), shard_rows=2).plan())
    said = _said("--shard-rows", "3", "--bundle", str(RELEASE), paths=paths)
    assert said == (
        f"--shard-rows 3: file://{paths[1]} was begun with 2 images a file; leave it out, or name another place"
    )


@pytest.mark.parametrize("address", ["nonsense", "ray://10.0.0.5:6379"])
def test_what_is_no_address_of_a_cluster_is_named(address: str) -> None:
    assert f"--address {address}: is no address of a Ray" in _said("--engine", "ray", "--address", address)


@pytest.mark.parametrize(
    "wrong", [("--actors", str(10**20)), ("--actors", "-1"), ("--memory", "inf"), ("--memory", "nan")]
)
def test_what_no_machine_has_is_wrong_usage(wrong: tuple[str, str]) -> None:
    command = ["score", "--manifest", "m.parquet", "--out", "out", *wrong]
    assert CliRunner().invoke(cli.assemble(command), command).exit_code == 2


def test_an_archive_that_is_not_mounted_is_no_archive_of_missing_images(tmp_path: Path) -> None:
    images = fill(tmp_path / "images")
    manifest.write(tmp_path / "m.parquet", Sources((str(images),)))
    images.rename(tmp_path / "elsewhere")
    said = _said("--bundle", str(RELEASE), paths=(tmp_path / "m.parquet", tmp_path / "out"))
    assert said == f"file://{images}: is not there; mount its disk, or make the manifest again"
    assert not (tmp_path / "out").exists()


def test_an_interruption_is_told_and_the_same_command_goes_on(tmp_path: Path) -> None:
    images = fill(tmp_path / "images")
    for number in range(40):  # seconds of work, so that the signal comes in its midst on a busy machine, too
        (images / f"again-{number}.png").hardlink_to(images / "0.png")
    manifest.write(tmp_path / "m.parquet", Sources((str(images),)))
    program = str(Path(sys.executable).parent / "fracture")
    command: list[str | Path] = [
        program,
        "score",
        "--manifest",
        tmp_path / "m.parquet",
        "--out",
        tmp_path / "out",
        "--bundle",
        RELEASE,
    ]
    with subprocess.Popen([*command, "--actors", "1"], cwd=ROOT, stderr=subprocess.PIPE, text=True) as running:
        while not (tmp_path / "out/scoring.json").exists():
            assert running.poll() is None
            time.sleep(0.01)
        os.kill(running.pid, signal.SIGINT)
        said = running.stderr.read() if running.stderr else ""
    assert running.returncode == 130
    assert said.splitlines()[-1] == "interrupted; nothing half-written is left behind"
    assert subprocess.run(command, cwd=ROOT, capture_output=True, check=False).returncode == 0
    assert (tmp_path / "out/_SUCCESS").exists()


def test_images_of_a_store_that_was_away_are_asked_again(tmp_path: Path) -> None:
    images, out = fill(tmp_path / "images"), tmp_path / "out"
    manifest.write(tmp_path / "m.parquet", Sources((str(images),)))
    command = ["score", "--manifest", str(tmp_path / "m.parquet"), "--out", str(out), "--bundle", str(RELEASE)]
    (images / "2020").rename(tmp_path / "away")
    first = CliRunner().invoke(cli.assemble(command), command)
    assert "2  without an answer: missing" in first.stdout
    (tmp_path / "away").rename(images / "2020")
    again = [*command, "--retry", "missing, undecodable", "--actors", "1"]
    second = CliRunner().invoke(cli.assemble(again), again)
    assert second.exit_code == 0, second.exception
    assert "missing" not in second.stdout
    assert "1  without an answer: undecodable" in second.stdout
    # Made again, with what is suspicious of the images that were away.
    listed = (out / "suspicious.csv").read_text().splitlines()[1:]
    assert f"{len(listed)} suspicious images" in second.stdout
    assert any("/2020/" in line for line in listed)


def test_a_retry_of_nothing_is_named() -> None:
    assert (
        _said("--retry", " ,") == "--retry  ,: names no code; `fracture score --status URI` shows those that rows have"
    )
