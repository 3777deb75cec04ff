"""Where confirmed images go."""

import pytest

from pipeline.data.sources.feedback.placing import Place, is_held_back, place

KEY = "k" * 32


def test_three_in_ten_patients_of_each_site_judge() -> None:
    for site in ("north", "south"):
        held = [is_held_back(KEY, site, f"p{number}") for number in range(2000)]
        assert 0.27 < sum(held) / len(held) < 0.33


def test_nobody_can_tell_who_judges_without_the_key() -> None:
    drawn = [[is_held_back(key, "north", f"p{number}") for number in range(200)] for key in (KEY, "o" * 32)]
    assert drawn[0] != drawn[1]


@pytest.mark.parametrize(
    ("there", "drawn", "expected"),
    [
        ((), False, Place.training),
        ((), True, Place.held_back),
        ((Place.training,), False, Place.training),
        ((Place.held_back,), False, Place.held_back),
        ((Place.training,), True, Place.both_sides),
        ((Place.training, Place.held_back), False, Place.both_sides),
        ((Place.test,), False, Place.relative_of_test),
        ((Place.test, Place.training), True, Place.relative_of_test),
    ],
)
def test_a_group_is_never_on_two_sides(there: tuple[Place, ...], drawn: bool, expected: Place) -> None:
    known = {f"old{number}": where for number, where in enumerate(there)}
    groups = {**dict.fromkeys(known, "g"), "new": "g"}
    assert place(groups, known, {"new": drawn}) == {"new": expected}


def test_a_relative_of_one_who_judges_judges_too() -> None:
    assert set(place({"a": "g", "b": "g"}, {}, {"a": True, "b": False}).values()) == {Place.held_back}
