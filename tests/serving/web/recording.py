"""A pytest plugin that keeps every file that the service's decoder is asked about, in the folder that RECORDED names.

`python -m pytest -p tests.serving.web.recording tests/serving/imaging/dicom`
"""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from serving.imaging import decode


def pytest_configure() -> None:
    """Put a recorder before `decode.inspect` and `decode.decode`."""
    patch = pytest.MonkeyPatch()
    folder = Path(os.environ["RECORDED"])
    for name in ("inspect", "decode"):
        patch.setattr(decode, name, _recorded(getattr(decode, name), folder))


def _recorded(function: Callable[..., Any], folder: Path) -> Callable[..., Any]:
    def recorded(content: bytes, *args: Any, **options: Any) -> Any:
        (folder / hashlib.sha256(content).hexdigest()).write_bytes(content)
        return function(content, *args, **options)

    return recorded
