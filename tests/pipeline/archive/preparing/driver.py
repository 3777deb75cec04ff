"""Run by the Python of .venv-ray: scan or prepare the images of a data set slowly, or with a decoder that breaks.

Its arguments are `scan` or `prepare`, a data set, the folder of what is kept, that of the result, and the address of
the cluster.
"""

import sys
from pathlib import Path

from pipeline.archive.preparing.engines import runner_of
from pipeline.archive.preparing.images import EngineImages
from pipeline.archive.preparing.listings import listing_of
from pipeline.archive.worker import Bounds
from pipeline.data import layout
from pipeline.data.engine import Engine
from pipeline.errors import exit_with_line
from serving.imaging.canvas import Preprocessing


def main() -> None:
    """With an actor a node."""
    what, folder, kept, out, address = sys.argv[1:]
    data = layout.read(Path(folder))
    Path(kept).mkdir(exist_ok=True)
    with runner_of(Engine("ray", address, 2)) as runner:
        images = EngineImages(data.folder, listing_of(data), runner, Path(kept), Bounds(seconds=10))
        images.target = "tests.pipeline.archive.preparing.poison:run"
        images.shard_bytes = 8 * 32 * 32
        files = sorted(data.labels["file"])
        Path(out).mkdir(exist_ok=True)
        if what == "scan":
            images.scan(files, None)[0].to_csv(Path(out) / "scan.csv", index=False)
        else:
            images.write(files, Preprocessing(32), Path(out)).to_csv(Path(out) / "places.csv", index=False)


if __name__ == "__main__":
    exit_with_line(main)
