"""What the tests of the service share."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from benchmarks.web.browser import chromium


@pytest.fixture(scope="session")
def radiograph(bundle_folder: Path) -> bytes:
    """Read a picture that the guard accepts."""
    return sorted((bundle_folder / "samples").iterdir())[0].read_bytes()


@pytest.fixture(scope="session")
def released() -> Path:
    """Find the bundle of the release."""
    return sorted(Path(__file__).parents[2].glob("models/*/bundle"))[0]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Start Chromium."""
    with chromium() as started:
        yield started
