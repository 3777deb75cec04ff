"""Where a training of several processes runs: which cluster, and what of it. Ray is not needed to read this."""

import importlib.util
import os
import re
from collections.abc import Mapping, Sequence

from pipeline.errors import InputError
from pipeline.training.params import TrainParams


def address_for(options: TrainParams, asked: str) -> str:
    """HOST:PORT of the cluster that `options` need; `asked` on the command line, or RAY_ADDRESS. Empty: none.

    Raises InputError where one is missing or not needed.
    """
    if options.workers == 1:
        if asked:
            raise InputError(f"--address {asked}: set train.workers in params.yaml to 2 or more to train on a cluster")
        return ""
    address = asked or os.environ.get("RAY_ADDRESS", "")
    if not re.fullmatch(r"[^/\s]+:\d+", address):
        found = f" (found {address!r})" if address else ""
        raise InputError(
            f"params.yaml: train.workers: {options.workers} needs a Ray cluster: its HOST:PORT in RAY_ADDRESS or "
            f"--address{found}; on one machine set it to 1, which uses all its GPUs"
        )
    if importlib.util.find_spec("ray") is None:
        raise InputError(
            f"params.yaml: train.workers: {options.workers}: Ray is not installed here; `make ray-setup` makes "
            ".venv-ray, put its bin/ first in PATH (elsewhere: pip install 'bone-fracture-detection[train,ray]')"
        )
    return address


def resources_for(nodes: Sequence[Mapping[str, float]], workers: int) -> dict[str, int]:
    """What each of `workers` processes takes of nodes with these resources: most CPUs, and a GPU if there are enough.

    InputError where they do not all find a place.
    """
    gpus = int(sum(node.get("GPU", 0) // 1 for node in nodes) >= workers)
    for cpus in range(int(max((node["CPU"] for node in nodes), default=0)), 0, -1):
        places = [min(node["CPU"] // cpus, node.get("GPU", 0) // 1 if gpus else workers) for node in nodes]
        if sum(places) >= workers:
            return {"CPU": cpus, "GPU": gpus}
    raise InputError(
        f"the cluster has no CPU for each of {workers} processes; add nodes, or lower train.workers in params.yaml"
    )
