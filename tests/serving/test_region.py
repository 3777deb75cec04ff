"""Which region an answer goes by, and what it says where the image looks like another one."""

from serving import region
from serving.region import Region

HIP = "11 fractured of 56, AUROC 0.978 (0.933 to 1.000)"
SHOULDER = {"hand": 0.01, "hip": 0.02, "leg": 0.0, "shoulder": 0.996}
INTENDED = tuple(SHOULDER)


def _found(shares: dict[str, float], stated: str = "", likely: float = 0.5) -> Region | None:
    return region.find(shares, likely, INTENDED, caller="", header=stated)


def _answered(shares: dict[str, float], stated: str = "") -> dict[str, object]:
    found = _found(shares, stated)
    assert found is not None
    return found.answer()


def _codes(shares: dict[str, float], stated: str = "", weak: tuple[str, ...] = ()) -> list[str]:
    return [note.code for note in region.notes(_found(shares, stated), INTENDED, dict.fromkeys(weak, HIP))]


def test_the_caller_is_believed_before_the_header() -> None:
    found = region.find(SHOULDER, 0.5, INTENDED, caller="hip", header="leg")
    assert found is not None
    assert (found.name, found.source, found.probability) == ("hip", "caller", 0.02)


def test_a_stated_region_that_the_image_does_not_show_is_kept_and_warned_of() -> None:
    found = _found(SHOULDER, "hand")
    assert found is not None
    assert found.name == "hand"
    (note,) = region.notes(found, INTENDED, {})
    assert (note.code, note.message) == (
        "region_differs",
        "Stated as hand, but the image looks like a shoulder (99 %).",
    )


def test_an_image_that_may_show_the_stated_region_too_is_not_warned_of() -> None:
    assert _codes(SHOULDER | {"hand": 0.06}, "hand") == []


def test_nothing_is_said_against_a_stated_region_while_the_image_shows_no_other_for_sure() -> None:
    assert _codes(SHOULDER | {"shoulder": 0.85}, "hand") == []


def test_both_the_stated_and_the_shown_region_are_checked_for_weakness() -> None:
    assert _codes(SHOULDER, "hip", ("hip", "shoulder")) == ["region_differs", "weak_region", "weak_region"]


def test_a_stated_region_hides_no_weakness_of_the_one_that_would_be_answered_without_it() -> None:
    found = _found(SHOULDER | {"hand": 0.61}, "hand")
    (note,) = region.notes(found, INTENDED, {"shoulder": HIP})
    assert note.message.startswith("The model is not shown to be good for this region (shoulder, as the image looks): ")


def test_a_stated_region_does_not_hide_that_the_image_shows_none() -> None:
    nothing = dict.fromkeys(INTENDED, 0.1)
    assert _codes(nothing, "hip", ("hip",)) == ["unknown_region", "weak_region"]
    assert _codes(nothing, "", ("hip",)) == ["unknown_region"]


BOTH = SHOULDER | {"hand": 0.9, "leg": 0.85}


def test_an_image_that_shows_several_regions_names_them_the_likeliest_first() -> None:
    found = _found(BOTH)
    assert found is not None
    assert found.answer() == {
        "name": "shoulder", "source": "image", "probability": 0.996,
        "also": [{"name": "hand", "probability": 0.9}, {"name": "leg", "probability": 0.85}],
    }  # fmt: skip


def test_a_stated_region_that_the_image_shows_beside_others_says_so() -> None:
    found = _found(BOTH, "leg")
    assert found is not None
    assert found.also == (("shoulder", 0.996), ("hand", 0.9))


def test_a_region_that_is_not_sure_is_none_of_several() -> None:
    assert "also" not in _answered(SHOULDER | {"hand": 0.79})
    assert "also" not in _answered(BOTH, "hip")


def test_each_of_several_regions_is_checked_for_weakness() -> None:
    assert _codes(BOTH, "", ("hand", "leg", "hip")) == ["weak_region", "weak_region"]
    assert _codes(BOTH, "hand", ("shoulder", "leg")) == ["weak_region", "weak_region"]


def test_a_region_that_the_network_does_not_know_is_taken_as_stated() -> None:
    found = region.find({"hand": 0.1}, 0.5, ("foot",), caller="", header="foot")
    assert found == Region("foot", "header", None)
    assert region.notes(found, ("foot",), {}) == []


def test_a_weak_region_is_told_with_its_reason_and_its_figures_behind_it() -> None:
    (note,) = region.notes(Region("hip", "header", 0.9), INTENDED, {"hip": HIP})
    assert note.message.endswith("(hip): only 11 of the 56 test images of it show a fracture.")
    assert note.detail == f"Test images of hip: {HIP}"


def test_many_test_images_are_not_called_few() -> None:
    (note,) = region.notes(
        Region("hip", "header", 0.9), INTENDED, {"hip": "40 fractured of 90, AUROC 0.7 (0.6 to 0.8)"}
    )
    assert "only" not in note.message
