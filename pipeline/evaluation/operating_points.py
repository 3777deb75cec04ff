"""build/decision.json: calibration and operating points as a file."""

from pathlib import Path

from pipeline.errors import InputError
from pipeline.files import read_json, write_json
from serving.decision import Decision


def read(path: Path) -> Decision:
    """Read the file; InputError names it and the stage to repeat."""
    raw = read_json(path)
    try:
        return Decision.from_dict(raw)
    except KeyError as error:
        fault = f"{error.args[0]}: is missing" if error.args else "a field is missing"
    except (TypeError, ValueError) as error:
        fault = f"is not a decision ({error})"
    raise InputError(f"{path}: {fault}; make it again with `dvc repro -f evaluate`")


def write(path: Path, decision: Decision) -> None:
    """Write the file whole or not at all."""
    write_json(path, decision.to_dict())
