"""`fracture release`: the name of a release."""

import pytest

from pipeline.cli.release import release
from pipeline.errors import InputError


def test_a_release_is_named_after_data_architecture_and_version() -> None:
    with pytest.raises(InputError, match="its version at the end"):
        release("Best Model")
