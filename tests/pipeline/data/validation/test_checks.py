"""Every kind of offender is found, told and handled as the parameters say."""

from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.data.validation import checks
from pipeline.data.validation.verdict import Verdict
from pipeline.params import Offenders
from tests.pipeline.data.validation.builders import OFFENDERS, excluded, line_of

POLICIES = ("fail", "exclude", "keep")


def test_every_offender_of_the_parameters_is_checked() -> None:
    assert {check.name for check in checks.checks(("normal", "fractured"))} == set(Offenders.model_fields)
    assert set(OFFENDERS) == set(Offenders.model_fields)


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("offender", OFFENDERS)
def test_offender_is_found(offender: str, policy: str, judged: Callable[[str], Verdict]) -> None:
    files = judged(policy).report.offenders[offender]["files"]
    assert [Path(file).stem for file in files] == OFFENDERS[offender]


@pytest.mark.parametrize("offender", OFFENDERS)
def test_under_fail_the_message_names_the_files_and_what_to_do(offender: str, judged: Callable[[str], Verdict]) -> None:
    line = line_of(judged("fail").failures, offender)
    for stem in OFFENDERS[offender][:5]:
        assert f"images/{stem}." in line
    (check,) = [check for check in checks.checks(("normal", "fractured")) if check.name == offender]
    assert check.advice in line
    assert line.endswith(f"or set validate.offenders.{offender} to exclude in params.yaml")


def test_a_message_names_five_files_and_counts_the_others(judged: Callable[[str], Verdict]) -> None:
    line = line_of(judged("fail").failures, "near_duplicate")
    assert "8 images (images/copy.png, images/fine_1.png, images/near_a.png, images/near_b.png, " in line
    assert "images/pair_a.png and 3 more)" in line


def test_under_fail_nothing_is_left_out(judged: Callable[[str], Verdict]) -> None:
    assert excluded(judged("fail")) == {}


@pytest.mark.parametrize("offender", OFFENDERS)
def test_under_exclude_the_message_says_so(offender: str, judged: Callable[[str], Verdict]) -> None:
    assert line_of(judged("exclude").warnings, offender).endswith("left out of training and evaluation")


def test_under_exclude_offenders_are_left_out_and_one_of_near_duplicates_stays(
    judged: Callable[[str], Verdict],
) -> None:
    expected = {stem: name for name in reversed(OFFENDERS) for stem in OFFENDERS[name]}
    del expected["near_a"], expected["fine_1"]
    expected["pair_a"] = "near_opposite"
    assert excluded(judged("exclude")) == expected


def test_under_exclude_nothing_fails(judged: Callable[[str], Verdict]) -> None:
    assert judged("exclude").failures == []


@pytest.mark.parametrize("offender", [name for name in OFFENDERS if name not in checks.UNUSABLE])
def test_under_keep_the_message_says_so(offender: str, judged: Callable[[str], Verdict]) -> None:
    assert line_of(judged("keep").warnings, offender).endswith("; kept")


def test_under_keep_only_what_cannot_be_used_is_left_out(judged: Callable[[str], Verdict]) -> None:
    assert excluded(judged("keep")) == {stem: name for name in checks.UNUSABLE for stem in OFFENDERS[name]}
