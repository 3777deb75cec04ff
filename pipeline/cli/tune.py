"""`fracture tune`: search for better parameters of the training."""

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.errors import InputError
from pipeline.files import project_root
from pipeline.late import late

if TYPE_CHECKING:
    from pipeline.archive import cluster_safety
    from pipeline.tuning import ray_tune, search
    from pipeline.tuning import space as spaces
else:
    cluster_safety = late("pipeline.archive.cluster_safety")
    ray_tune = late("pipeline.tuning.ray_tune")
    search = late("pipeline.tuning.search")
    spaces = late("pipeline.tuning.space")


def tune(
    *,
    space: Annotated[
        Path, typer.Option("--space", metavar="FILE", help="Keys of params.yaml and the values to try, as YAML.")
    ],
    trials: Annotated[
        int, typer.Option("--trials", min=1, max=1000, help="Combinations to try beside params.yaml as it is.")
    ],
    address: Annotated[
        str, typer.Option("--address", metavar="HOST:PORT", help="Of a Ray cluster; without it Ray starts here.")
    ] = "",
    folds: Annotated[
        int, typer.Option("--folds", min=0, max=50, help="Validation folds; 0: those of params.yaml, or 5.")
    ] = 0,
    grace: Annotated[
        int, typer.Option("--grace", min=0, help="Epochs that every trial gets; 0: a third of a fold's.")
    ] = 0,
    cpus: Annotated[int, typer.Option("--cpus", min=1, help="CPUs of a trial.")] = 1,
    gpus: Annotated[float, typer.Option("--gpus", min=0, help="GPUs of a trial; 0.5 lets two share one.")] = 0,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the values that are tried.")] = 7,
) -> None:
    """Try values of params.yaml on validation folds; killed anywhere, the same command goes on.

    Trials that are worse than others are stopped early (ASHA). The test set is not used. Each trial is a DVC experiment
    and a run in MLflow; the best one is printed as a diff of params.yaml.
    """
    asked = search.Asked(spaces.read(space), trials, folds, grace, seed, cpus)
    if folds == 1:
        raise InputError("--folds 1: there must be at least 2; 0 takes those of params.yaml, or 5")
    cluster_safety.check_address(address)
    if importlib.util.find_spec("ray") is None:
        raise InputError(
            "fracture tune: Ray is not installed here; `make ray-setup` makes .venv-ray, then use "
            ".venv-ray/bin/fracture (elsewhere: pip install 'bone-fracture-detection[train,ray]')"
        )
    root = project_root()
    wanted = search.Search(root, asked)
    with wanted.alone():
        ledger = search.Ledger(wanted, search.experiments_of(root))
        if ledger.open:
            if not address:
                cluster_safety.make_token()
            ray_tune.run(wanted, ledger, address, gpus)
        print(ledger.finish())
