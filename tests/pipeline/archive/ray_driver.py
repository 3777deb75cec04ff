"""Run by the Python of .venv-ray: `fracture score --engine ray` with a decoder that breaks (`poison.py`).

Its arguments are a manifest, a bundle, the place of the answers, and the address of the cluster.
"""

import sys
from dataclasses import replace
from pathlib import Path

from pipeline.archive.cluster import RayEngine
from pipeline.archive.manifest import Manifest
from pipeline.archive.places import open_place
from pipeline.archive.scoring import Observer, Request, run
from pipeline.archive.worker import Bounds
from serving import bundle

BOUNDS = Bounds(seconds=10, memory=900 << 20)
STALL = 300.0
"""Seconds; a test that hangs is to say so."""


def main() -> None:
    """Score, with an actor a node."""
    manifest, folder, out, address = sys.argv[1:]
    request = Request(Manifest(Path(manifest)), bundle.read(Path(folder)), bounds=BOUNDS)
    work = replace(request.work(), target="tests.pipeline.archive.poison:run")
    with RayEngine(work, 2, address, STALL) as engine:
        run(request, open_place(out), engine, Observer())


if __name__ == "__main__":
    main()
