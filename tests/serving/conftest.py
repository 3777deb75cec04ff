"""What the tests of the service share."""

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def radiograph(bundle_folder: Path) -> bytes:
    """Read a picture that the guard accepts."""
    return sorted((bundle_folder / "samples").iterdir())[0].read_bytes()
