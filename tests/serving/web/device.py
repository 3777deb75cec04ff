"""The page's modules in Node.js: laid out as in a release, and asked about files."""

import json
import shutil
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.files import project_root
from pipeline.packaging import web, web_constants

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
_TYPES = {"Uint16Array": np.uint16, "Int16Array": np.int16, "Uint8Array": np.uint8, "Int8Array": np.int8}


@dataclass(frozen=True)
class Decoded:
    """What the page's modules decoded of a file; `told` holds header, truncated, or error and message."""

    told: dict[str, Any]
    grey: npt.NDArray[np.uint8] | None = None
    values: npt.NDArray[np.number] | None = None


def lay_out(folder: Path, codecs: bool = False) -> Path:
    """Copy the modules to where a release has them; the folder `device`. `codecs` adds those of DICOM, from npm."""
    device = folder / "web/device"
    shutil.copytree(web.WEB / "device", device)
    (folder / "package.json").write_text('{"type": "module"}')
    (device / "constants.js").write_text(web_constants.module_text())
    if codecs:
        (folder / "codecs").mkdir()
        for name, content in web.codec_files(web.install_runtime(project_root(ROOT) / ".cache/web-runtime")).items():
            (folder / name).write_bytes(content)
    return device


def write(files: Iterable[bytes], folder: Path) -> list[str]:
    """Write the files below `folder`; their paths."""
    paths = []
    for number, content in enumerate(files):
        paths.append(folder / f"file{number}")
        paths[-1].write_bytes(content)
    return [str(path) for path in paths]


def run(script: str, device: Path, order: dict[str, Any], folder: Path) -> list[dict[str, Any]]:
    """Run a script of this folder with an order; what it found of each file."""
    (folder / "order.json").write_text(json.dumps({**order, "output": str(folder / "found")}))
    subprocess.run(["node", HERE / script, device, folder / "order.json"], check=True)
    found: list[dict[str, Any]] = json.loads((folder / "found.json").read_text())
    return found


def decode(files: Sequence[bytes], folder: Path) -> list[Decoded]:
    """What the modules decode of the files."""
    device = lay_out(folder, codecs=True)
    told = run("decode.mjs", device, {"files": write(files, folder)}, folder)
    return [_decoded(one, folder / f"found.{number}") for number, one in enumerate(told)]


def _decoded(told: dict[str, Any], output: Path) -> Decoded:
    if "error" in told:
        return Decoded(told)
    shape = told["header"]["height"], told["header"]["width"]
    grey = np.fromfile(f"{output}.grey", np.uint8).reshape(shape)
    if not told["kind"]:
        return Decoded(told, grey)
    return Decoded(told, grey, np.fromfile(f"{output}.values", _TYPES[told["kind"]]).reshape(shape))
