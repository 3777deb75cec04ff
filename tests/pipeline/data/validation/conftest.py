"""What several tests of validation share."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from pipeline.data.layout import Dataset
from pipeline.data.validation.expectations import Judge
from pipeline.data.validation.verdict import Verdict, judge_data
from tests.pipeline.data.validation.builders import everything, write_messy

MakeData = Callable[..., Dataset]
Draw = Callable[..., npt.NDArray[np.uint8]]
Encode = Callable[..., bytes]


@pytest.fixture(scope="session")
def judged(
    tmp_path_factory: pytest.TempPathFactory, make_data: MakeData, draw: Draw, encode: Encode
) -> Callable[[str], Verdict]:
    """Judge the messy data set once for each policy, on demand."""
    data = write_messy(tmp_path_factory.mktemp("messy") / "data", make_data, draw, encode)
    verdicts: dict[str, Verdict] = {}

    def judge(policy: str) -> Verdict:
        if policy not in verdicts:
            limits = everything(policy)
            verdicts[policy] = judge_data(data, limits, Judge(tmp_path_factory.mktemp("gx")))
        return verdicts[policy]

    return judge


@pytest.fixture
def judge(tmp_path: Path) -> Judge:
    return Judge(tmp_path / "gx")
