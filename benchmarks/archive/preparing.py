"""`python -m benchmarks.archive.preparing DATA`: validate and preprocess by each engine, on the same images.

DATA is a folder as `fracture data` fills it. Each stage runs as a person runs it, in turns: `threads` is the stage as
it is, `processes` are child processes of this machine, which read the same files through a manifest, and `ray` is a
cluster of two nodes with a CPU each on loopback (`make ray-setup`). Start-up is measured on a few images and taken off.
What each engine wrote is compared with what the first one wrote.
"""

import argparse
import os
import shutil
import sys
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks import measure
from benchmarks.archive.spending import Meter, spent
from pipeline.archive import manifest
from pipeline.archive.manifest import Sources
from pipeline.data import layout, prepared
from pipeline.errors import exit_with_line
from pipeline.files import project_root, write_json

_FEW = 128
"""Images of a run that is nearly all start-up: a block of validate for each of two processes."""
_STAGES = ("validate", "preprocess")
_ENGINES = ("threads", "processes", "ray")
_EQUAL = ("reports/images.csv", "prepared/split.csv", "prepared/boxes.csv", "prepared/prepared.json")


def project(source: Path, count: int, target: Path, engine: str) -> Path:
    """A project with `count` images of `source`, which a manifest lists for `processes`."""
    data = layout.read(source)
    labels = data.labels.iloc[:: max(1, len(data.labels) // count)].iloc[:count]
    images = target / "far" if engine == "processes" else target / "data/images"
    images.mkdir(parents=True)
    (target / "data").mkdir(exist_ok=True)
    for file in labels["file"]:
        shutil.copyfile(source / file, images / Path(file).name)
    labels.to_csv(target / "data/labels.csv", index=False)
    data.boxes[data.boxes["image_id"].isin(labels["image_id"])].to_csv(target / "data/boxes.csv", index=False)
    write_json(target / "data/dataset.json", vars(replace(data.info, options={})))
    if engine == "processes":
        manifest.write(target / "data/manifest.parquet", Sources((str(images),)))
    shutil.copy(project_root() / "params.yaml", target)
    return target


def _same(one: Path, other: Path) -> bool:
    """Whether two projects hold the same tables and pixels."""
    tables = all((one / name).read_bytes() == (other / name).read_bytes() for name in _EQUAL)
    first, second = (prepared.load(folder / "prepared").images[:] for folder in (one, other))
    return tables and np.array_equal(first, second)


def main() -> None:
    """Read the options and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--images", type=int, default=3000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--engines", nargs="+", choices=_ENGINES, default=list(_ENGINES))
    given = parser.parse_args()
    measure.warn_of_load()
    print(measure.machine(["opencv-python-headless", "numpy"]))
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        meter, environment = Meter(()), {"threads": dict(os.environ), "processes": dict(os.environ)}
        pythons = dict.fromkeys(_ENGINES, sys.executable)
        if "ray" in given.engines:
            from tests.pipeline.archive.clusters import TOOLS, cluster  # noqa: PLC0415  it needs pytest

            nodes = stack.enter_context(cluster())
            meter = Meter([nodes.process.pid])
            chosen = {"FRACTURE_ENGINE": "ray", "FRACTURE_RAY_ADDRESS": nodes.address, "FRACTURE_ACTORS": "2"}
            environment["ray"], pythons["ray"] = {**nodes.environment, **chosen}, str(TOOLS / "python")
        projects = {
            (engine, count): project(given.data, count, folder / f"{engine}-{count}", engine)
            for engine in given.engines
            for count in (_FEW, given.images)
        }
        processor: dict[tuple[str, str], list[float]] = {}
        for _ in range(given.rounds):
            for engine in given.engines:
                for stage in _STAGES:
                    found = _turn(pythons[engine], stage, engine, projects, meter, environment[engine], given.images)
                    processor.setdefault((stage, engine), []).append(found)
        first = given.engines[0]
        for engine in given.engines[1:]:
            same = _same(projects[first, given.images], projects[engine, given.images])
            print(f"{engine}: {'the same files' if same else 'OTHER FILES'} as {first}")
            for stage in _STAGES:
                over = measure.ratios(processor[stage, first], processor[stage, engine])
                print(f"{stage}, {engine}: rate per core over that of {first} {measure.spread(over)}")


def _turn(  # noqa: PLR0917  one place calls it, with everything at hand
    python: str,
    stage: str,
    engine: str,
    projects: Mapping[tuple[str, int], Path],
    meter: Meter,
    environment: dict[str, str],
    images: int,
) -> float:
    """Processor seconds an image of a stage, without the start."""
    command = [python, "-m", f"pipeline.{stage}"]
    start, whole = (spent(command, meter, environment, projects[engine, count]) for count in (_FEW, images))
    processor = (whole.processor - start.processor) / (images - _FEW)
    elapsed = (whole.elapsed - start.elapsed) / (images - _FEW)
    print(
        f"{stage:<10} {engine:<9} {whole.elapsed:7.1f} s, {whole.processor:7.1f} processor seconds; without the start "
        f"({start.elapsed:.1f} s, {start.processor:.1f}) {1000 * processor:.2f} processor ms and "
        f"{1000 * elapsed:.2f} ms an image",
        flush=True,
    )
    return processor


if __name__ == "__main__":
    exit_with_line(main)
