"""The constants that the browser's modules share with ours, written from ours: no number is typed twice."""

import inspect
import json
from collections.abc import Mapping
from types import ModuleType
from typing import Any

import cv2
import numpy as np

from serving import bundle, decision, guard, scope, statistics, wording
from serving.http import pictures
from serving.http.settings import Settings
from serving.imaging import colour, decode, formats
from serving.imaging.canonical import field, form, intensity, polarity

_MODULES: Mapping[str, ModuleType] = {
    "BUNDLE": bundle, "COLOUR": colour, "DECISION": decision, "DECODE": decode, "FIELD": field, "FORM": form,
    "FORMATS": formats, "GUARD": guard, "INTENSITY": intensity, "PICTURES": pictures, "POLARITY": polarity,
    "SCOPE": scope, "STATISTICS": statistics, "WORDING": wording,
}  # fmt: skip
"""What the browser calls a module's constants; the names within are ours, without the underscore of a private one."""
_HEAD = "// Generated from the service's own modules by pipeline/packaging/web_constants.py."


def constants() -> dict[str, dict[str, Any]]:
    """The constants by module and name, for JSON; what JSON cannot hold, such as paths and types, is left out."""
    found = {name: _of_module(module) for name, module in _MODULES.items()}
    found["DECODE"]["PREVIEW_AT_LEAST"] = inspect.signature(decode.preview).parameters["at_least"].default
    found["SCOPE"]["UMLAUTS"] = {chr(int(code)): text for code, text in scope._UMLAUTS.items()}
    found["LIMITS"] = {"MAX_PIXELS": Settings().max_pixels}
    # OpenCV's colours for 0 to 255, as red, green and blue.
    ramp = np.arange(256, dtype=np.uint8)[np.newaxis]
    found["SALIENCY"] = {"INFERNO": cv2.applyColorMap(ramp, cv2.COLORMAP_INFERNO)[0, :, ::-1].tolist()}
    return found


def module_text() -> str:
    """constants.js, of one line for each module."""
    lines = [f"export const {name} = {json.dumps(values)};" for name, values in constants().items()]
    return "\n".join([_HEAD, *lines, ""])


def _of_module(module: ModuleType) -> dict[str, Any]:
    found = {}
    for name, value in vars(module).items():
        if name.upper() != name or name.startswith("__"):
            continue
        try:
            found[name.lstrip("_")] = _plain(value)
        except TypeError:
            continue
    return found


def _plain(value: object) -> Any:
    """A constant as JSON holds it; bytes become text of one letter a byte. Raises TypeError for anything else."""
    if isinstance(value, np.ndarray):
        return value.tolist()
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, bytes):
        return value.decode("latin-1")
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    if isinstance(value, Mapping):
        if all(isinstance(key, str | bytes) for key in value):
            return {_plain(key): _plain(item) for key, item in value.items()}
        return [[_plain(key), _plain(item)] for key, item in value.items()]
    raise TypeError(type(value).__name__)
