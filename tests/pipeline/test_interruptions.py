"""The pipeline through DVC when something goes wrong: parameters, the tracking server, killed processes."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import psutil
import pytest

from tests.pipeline.project import Project, ran

pytestmark = [pytest.mark.timeout(900), pytest.mark.slow]


def test_a_wrong_parameter_stops_before_anything_is_lost(tiny: Project) -> None:
    before = (tiny.root / "build/model/training.json").read_bytes()
    tiny.change("train", epochs=-1)
    printed = tiny.run("dvc", "repro", code=255)
    assert "params.yaml: train.epochs" in printed
    assert "Traceback" not in printed
    tiny.run("git", "checkout", "params.yaml")
    assert ran(tiny.run("dvc", "repro")) == []
    assert (tiny.root / "build/model/training.json").read_bytes() == before


def test_training_goes_on_without_the_tracking_server_and_register_is_repeated_alone(tiny: Project) -> None:
    tiny.environment["MLFLOW_TRACKING_URI"] = "http://127.0.0.1:9"
    tiny.change("train", seed=11)
    printed = tiny.run("dvc", "repro", code=255)
    assert ran(printed) == ["train", "evaluate", "register"], "another seed repeats these and no other"
    assert "going on with files only" in printed
    assert "start the server or set MLFLOW_TRACKING_URI" in printed
    assert "failed to reproduce 'register'" in printed
    del tiny.environment["MLFLOW_TRACKING_URI"]
    assert ran(tiny.run("dvc", "repro")) == ["register"]


def _reached(checkpoints: Path, epoch: int) -> bool:
    """Whether this epoch or a later one has a checkpoint; older ones are removed."""
    return any(int(path.name.removeprefix("epoch-")) >= epoch for path in checkpoints.glob("*/epoch-????"))


def _wait(condition: Callable[[], bool], seconds: float) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.1)
    return False


def _trainers(root: Path) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter(["cmdline"]):
        if "pipeline.train" in (process.info["cmdline"] or []):
            try:
                if process.cwd() == str(root):
                    found.append(process)
            except psutil.Error:
                continue
    return found


def test_a_killed_training_leaves_no_trainer_and_goes_on_where_it_was(tiny: Project) -> None:
    tiny.change("train", epochs=20, learning_rate=0.00031)
    command = [str(Path(sys.executable).parent / "dvc"), "repro", "train"]
    checkpoints = tiny.root / "checkpoints"
    log = tiny.root / "killed.log"
    for victim, epoch in (("trainer", 2), ("dvc", 5)):
        with log.open("w") as file:
            running = subprocess.Popen(command, cwd=tiny.root, env=tiny.environment, stdout=file, stderr=file)
            assert _wait(partial(_reached, checkpoints, epoch), 240), log.read_text()
            target = running.pid if victim == "dvc" else _trainers(tiny.root)[0].pid
            os.kill(target, signal.SIGKILL)
            running.wait(timeout=60)
        assert _wait(lambda: not _trainers(tiny.root), 60), f"a trainer lives on after its {victim} was killed"
    assert "going on after epoch" in log.read_text()
    printed = tiny.run("dvc", "repro", "train")
    assert "going on after epoch" in printed
    assert len((tiny.root / "reports/history.csv").read_text().splitlines()) == 21
