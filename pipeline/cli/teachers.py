"""`fracture teachers`: the networks of all folds, and their out-of-fold scores."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.artifacts import Artifacts
from pipeline.files import project_root, require_replaceable
from pipeline.late import late
from pipeline.registry.mlflow import Mirror

if TYPE_CHECKING:
    from pipeline.data import prepared
    from pipeline.training import out_of_fold
    from pipeline.training import teachers as collecting
else:
    out_of_fold = late("pipeline.training.out_of_fold")
    prepared = late("pipeline.data.prepared")
    collecting = late("pipeline.training.teachers")


def teachers(
    experiments: Annotated[list[str], typer.Argument(help="DVC experiments, one for each fold, in any order.")],
    output: Annotated[Path, typer.Option("--output", help="Folder for networks and scores; replaced.")] = Path(
        "teachers"
    ),
) -> None:
    """Collect the networks of all folds, and score each image with the one that never saw it.

    Images and folds are those of prepared/, which has to be that of the experiments. The test set is not used. The
    pooled metrics are a run in MLflow, too.
    """
    root = project_root()
    require_replaceable(output, out_of_fold.FILE, "teachers")
    data = prepared.load(Artifacts(root).prepared)
    found = collecting.collect(root, experiments, data, output)
    mirror = Mirror(name="teachers")
    mirror.log_params({"experiments": " ".join(experiments), "images": found["images"]})
    mirror.log_metrics(
        {f"out_of_fold_{name}": told["value"] for name, told in found.items() if collecting.is_metric(told)}, 0
    )
    mirror.end()
    print(collecting.markdown(found), end="")
    print(f"{output}: for train.distil; {output}/out_of_fold.csv: for train.out_of_fold")
