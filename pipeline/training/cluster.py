"""A training on several machines of a Ray cluster, by Ray Train.

Ray starts the processes, and all of them again when one is lost: they go on from the last checkpoint, which the first
of them writes to the disk that all nodes share. What Ray itself would keep is not used, and thrown away.
"""

import secrets
import shutil
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from contextlib import ExitStack, chdir, redirect_stdout
from dataclasses import dataclass
from io import TextIOBase
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any, Protocol

import ray
from ray.exceptions import RayError
from ray.train import FailureConfig, RunConfig, ScalingConfig, get_context
from ray.train.tensorflow import TensorflowTrainer
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from pipeline.archive import joining
from pipeline.artifacts import Artifacts
from pipeline.data import prepared
from pipeline.errors import InputError, describe
from pipeline.files import write_text
from pipeline.late import late
from pipeline.training.nodes import Board, Told, read_text
from pipeline.training.params import TrainParams
from pipeline.training.places import resources_for
from serving.errors import one_line

if TYPE_CHECKING:
    from pipeline import train
    from pipeline.training import checkpoints, distillation, processes
else:  # TensorFlow, which they load, reads TF_CONFIG: Ray sets it in the processes that train
    train = late("pipeline.train")
    checkpoints = late("pipeline.training.checkpoints")
    distillation = late("pipeline.training.distillation")
    processes = late("pipeline.training.processes")

_LOSSES = 20
"""Times that processes may be lost before the command ends; it can be given again."""
_LOOK_SECONDS = 0.5
_NODE_SECONDS = 300.0
"""Time that a node gets to say whether it sees the checkpoints; Ray may have to start a process there."""
_STATE = "ray"
"""Folder among the checkpoints for what Ray Train writes."""
_WORD = "seen-by-all-nodes"


@dataclass(frozen=True)
class Job:
    """What every process has to know; `root` and `checkpoints` are seen by all nodes under these paths."""

    root: Path
    checkpoints: Path
    options: TrainParams
    data_hash: str
    split_hash: str
    run_id: str


class Figures(Protocol):
    """Where the metrics of an epoch go."""

    def log_metrics(self, values: Mapping[str, float], step: int) -> None:
        """Metrics of one epoch."""


def run(job: Job, address: str, figures: Figures) -> None:
    """Go through all epochs on the cluster at `address`; the checkpoints then hold the result.

    Raises InputError where the cluster cannot be joined, has no room or does not see the project, for what a process
    says is wrong, and where they were lost too often.
    """
    try:
        with joining.joined(address, 0):
            nodes = [node for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU", 0) >= 1]
            resources = resources_for([node["Resources"] for node in nodes], job.options.workers)
            _check_nodes(job, nodes)
            _fit(job, resources, figures)
    finally:
        shutil.rmtree(job.checkpoints / _STATE, ignore_errors=True)


def _check_nodes(job: Job, nodes: Sequence[Mapping[str, Any]]) -> None:
    """InputError naming a node that does not see the checkpoints which this machine sees."""
    word = secrets.token_hex()
    write_text(job.checkpoints / _WORD, word)
    asked = [
        ray.remote(num_cpus=0)(read_text)
        .options(scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False))
        .remote(job.checkpoints / _WORD)
        for node in nodes
    ]
    for node, answer in zip(nodes, asked, strict=True):
        where = f"node {node['NodeManagerAddress']}"
        try:
            seen = ray.get(answer, timeout=_NODE_SECONDS)
        except RayError as error:
            raise InputError(f"{where}: cannot run this project ({one_line(error, 200)})") from None
        if seen != word:
            raise InputError(
                f"{where}: does not see {job.checkpoints}; put the project on a disk that all nodes share, under the "
                "same path (docs/training.md)"
            )
    (job.checkpoints / _WORD).unlink()


def _fit(job: Job, resources: Mapping[str, int], figures: Figures) -> None:
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    board = ray.remote(num_cpus=0)(Board).options(scheduling_strategy=here).remote()
    trainer = TensorflowTrainer(
        _work,
        train_loop_config={"job": job, "board": board, "cpus": resources["CPU"]},
        scaling_config=ScalingConfig(
            num_workers=job.options.workers,
            use_gpu=bool(resources["GPU"]),
            resources_per_worker=dict(resources),
            placement_strategy="SPREAD",
        ),
        run_config=RunConfig(
            name=_STATE, storage_path=str(job.checkpoints), failure_config=FailureConfig(max_failures=_LOSSES)
        ),
    )
    ended: Future[None] = Future()

    def fit() -> None:
        try:
            trainer.fit()
        except BaseException as error:  # noqa: BLE001  handed on to the thread that waits
            ended.set_exception(error)
        else:
            ended.set_result(None)

    # In a thread: Ray takes over Ctrl-C in the main one, which has to show what the processes say anyway.
    Thread(target=fit, daemon=True, name="ray-train").start()
    while not ended.done():
        time.sleep(_LOOK_SECONDS)
        _show(board, figures)
    found = _show(board, figures)
    if found.fault:
        raise InputError(found.fault)
    if not found.whole:
        error = ended.exception()
        why = f"({one_line(error, 300)})" if error else "before the last epoch"
        raise InputError(f"the processes of the cluster ended {why}; the command goes on where they were")


def _show(board: Any, figures: Figures) -> Told:
    found: Told = ray.get(board.take.remote())
    for line in found.lines:
        print(line, flush=True)
    for step, values in found.figures:
        figures.log_metrics(values, step)
    return found


class _Lines(TextIOBase):
    """Standard output of the first process, a line at a time; of the others nothing is shown."""

    def __init__(self, board: Any | None) -> None:
        self._board, self._begun = board, ""

    def write(self, text: str) -> int:
        *lines, self._begun = (self._begun + text).split("\n")
        for line in lines:
            if self._board is not None:
                self._board.line.remote(line)
        return len(text)


@dataclass(frozen=True)
class _Relay:
    """Stands in a process where training expects its live copy in MLflow, which the command itself keeps."""

    run_id: str
    board: Any | None

    def log_metrics(self, values: Mapping[str, float], step: int) -> None:
        if self.board is not None:
            self.board.figures.remote(step, dict(values))


def _work(config: Mapping[str, Any]) -> None:
    """What runs in a process of the cluster."""
    job, board = config["job"], config["board"]
    if ray.get(board.failed.remote()):
        return  # Ray tries again whatever the reason was
    context = get_context()
    rank = context.get_world_rank()
    speaker = None if rank else board
    try:
        with ExitStack() as stack:
            stack.enter_context(chdir(job.root))  # train.weights may name a file there
            stack.enter_context(redirect_stdout(_Lines(speaker)))
            _train(job, rank, context.get_world_size(), config["cpus"], _Relay(job.run_id, speaker))
    except Exception as error:
        fault = describe(error)
        if fault is not None:
            ray.get(board.fail.remote(fault))
        raise
    if not rank:
        ray.get(board.end.remote())


def _train(job: Job, rank: int, count: int, cpus: int, relay: _Relay) -> None:
    together = processes.SeveralProcesses(rank, count, cpus)
    options = job.options
    data = prepared.load(Artifacts(job.root).prepared)
    if (data.data_hash, data.split_hash) != (job.data_hash, job.split_hash):
        raise InputError(f"{job.root}: process {rank} sees another prepared/ than the machine of the command")
    soft = distillation.soft_targets(data, options, job.checkpoints.parent) if options.distil else None
    kind = checkpoints.FollowedStore if rank else checkpoints.CheckpointStore
    store = kind(job.checkpoints, kept=options.average_epochs)
    train.fit_epochs(data, options, store, mirror_of=lambda _: relay, soft=soft, processes=together)
