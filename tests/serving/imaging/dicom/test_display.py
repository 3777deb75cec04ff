"""Stored values to grey levels: exact display values (PS3.3, C.11.2.1.2)."""

from functools import partial
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import UID, ExplicitVRBigEndian, ExplicitVRLittleEndian

from serving.imaging import decode, dicom
from tests.serving.imaging.dicom.builders import coded, name, peak, picture, radiograph, shown, table


@pytest.mark.parametrize("syntax", dicom.DECODERS, ids=name)
def test_monochrome1_is_inverted_in_every_transfer_syntax(syntax: UID) -> None:
    build = partial(coded, picture(8), syntax, 8)
    inverted = decode.decode(build(PhotometricInterpretation="MONOCHROME1")).pixels
    np.testing.assert_array_equal(inverted, 255 - decode.decode(build()).pixels)


def test_without_a_window_the_range_of_the_pixels_is_used() -> None:
    assert shown([[1000, 2000], [3000, 5000]]) == [[0, 64], [128, 255]]


def test_a_flat_image_without_a_window_is_black() -> None:
    assert shown([[700, 700]]) == [[0, 0]]


def test_monochrome1_is_inverted() -> None:
    assert shown([[1000, 2000], [3000, 5000]], PhotometricInterpretation="MONOCHROME1") == [[255, 191], [127, 0]]


def test_a_linear_window_follows_the_standard() -> None:
    # c = 2048, w = 4096: the standard's own example, y = (x - 2047.5) / 4095 + 0.5
    assert shown([[0, 2047, 2048, 4095, 5000]], WindowCenter=2048, WindowWidth=4096) == [[0, 127, 128, 255, 255]]


def test_the_window_named_linear_is_the_default() -> None:
    window = {"WindowCenter": 2000, "WindowWidth": 1001}
    assert shown(**window) == shown(VOILUTFunction="LINEAR", **window)


def test_a_linear_window_is_black_up_to_its_lower_limit_and_white_above_its_upper() -> None:
    # c = 100, w = 11: limits 99.5 - 5 and 99.5 + 5
    assert shown([[94, 95, 104, 105]], WindowCenter=100, WindowWidth=11) == [[0, 13, 242, 255]]


def test_a_linear_window_of_width_one_is_a_threshold_for_whole_numbers() -> None:
    assert shown([[99, 100, 101]], WindowCenter=100.5, WindowWidth=1) == [[0, 0, 255]]


def test_an_exact_linear_window_follows_the_standard() -> None:
    # y = (x - 100) / 10 + 0.5
    elements = {"WindowCenter": 100, "WindowWidth": 10, "VOILUTFunction": "LINEAR_EXACT"}
    assert shown([[94, 95, 98, 100, 104, 106]], **elements) == [[0, 0, 76, 128, 230, 255]]


def test_a_sigmoid_window_follows_the_standard() -> None:
    # y = 1 / (1 + exp(-4 (x - 100) / 10))
    elements = {"WindowCenter": 100, "WindowWidth": 10, "VOILUTFunction": "SIGMOID"}
    assert shown([[0, 95, 100, 105, 60_000]], **elements) == [[0, 30, 128, 225, 255]]


def test_the_first_of_several_windows_is_used() -> None:
    assert shown(WindowCenter=[2000, 9], WindowWidth=[1001, 9]) == shown(WindowCenter=2000, WindowWidth=1001)


def test_monochrome1_is_inverted_after_the_window() -> None:
    elements = {"WindowCenter": 100, "WindowWidth": 10, "VOILUTFunction": "LINEAR_EXACT"}
    assert shown([[94, 98, 106]], PhotometricInterpretation="MONOCHROME1", **elements) == [[255, 179, 0]]


@pytest.mark.parametrize("width", ["0", "-5", ""])
def test_a_window_without_a_width_is_ignored(width: str) -> None:
    assert shown(WindowCenter="7", WindowWidth=width) == shown()


def test_the_window_applies_to_rescaled_values() -> None:
    # 2 x - 1000 gives -1000, 1000, 3000, 7000; c = 1000, w = 4000, exactly linear
    elements = {"WindowCenter": 1000, "WindowWidth": 4000, "VOILUTFunction": "LINEAR_EXACT"}
    assert shown(RescaleSlope=2, RescaleIntercept=-1000, **elements) == [[0, 128], [255, 255]]


def test_a_negative_slope_inverts() -> None:
    assert shown([[0, 1000]], RescaleSlope=-1, RescaleIntercept=0) == [[255, 0]]


def test_a_modality_table_is_looked_up() -> None:
    item = table(0, 16, [50, 10, 0])
    item.ModalityLUTType = "US"
    assert shown([[0, 1, 2]], ModalityLUTSequence=[item]) == [[255, 51, 0]]


def test_a_voi_table_is_looked_up_and_scaled_by_its_bits() -> None:
    assert shown([[10, 11, 12]], VOILUTSequence=[table(10, 12, [4095, 0, 2048])]) == [[255, 0, 128]]


def test_a_voi_table_repeats_its_ends() -> None:
    assert shown([[0, 10, 11, 99]], VOILUTSequence=[table(10, 8, [51, 204])]) == [[51, 51, 204, 204]]


def test_a_voi_table_of_eight_bits_may_have_more_than_256_entries() -> None:
    entries = [value // 16 for value in range(4096)]
    assert shown([[0, 300, 4095]], VOILUTSequence=[table(0, 8, entries)]) == [[0, 18, 255]]


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ExplicitVRBigEndian], ids=name)
@pytest.mark.parametrize("size", [1, 2])
def test_entries_of_a_table_may_be_words_or_bytes(size: int, syntax: UID) -> None:
    item = Dataset()
    item.add_new("LUTDescriptor", "US", [4, 0, 8])
    words = np.array([0, 51, 204, 255], f"<u{size}").view("<u2")
    item.add_new("LUTData", "OW", words.astype(">u2" if syntax == ExplicitVRBigEndian else "<u2").tobytes())
    pixels = decode.decode(coded(np.array([[0, 1, 2, 3]]), syntax, 16, VOILUTSequence=[item])).pixels
    assert pixels.tolist() == [[0, 51, 204, 255]]


def test_a_table_is_looked_up_for_the_nearest_whole_value() -> None:
    # 0.29 x 100 is a little less than 29
    elements = {"RescaleSlope": 0.29, "RescaleIntercept": 0, "VOILUTSequence": [table(28, 8, [0, 255])]}
    assert shown([[97, 100]], **elements) == [[0, 255]]


def test_a_voi_table_comes_before_a_window() -> None:
    elements = {"WindowCenter": 0, "WindowWidth": 2, "VOILUTSequence": [table(0, 8, [0, 204])]}
    assert shown([[0, 1]], **elements) == [[0, 204]]


@pytest.mark.parametrize("elements", [{}, {"WindowCenter": 500, "WindowWidth": 900}], ids=["range", "window"])
def test_showing_an_image_takes_little_more_memory_than_its_pixels(elements: dict[str, Any]) -> None:
    content = radiograph(np.random.default_rng(0).integers(0, 1000, (2000, 2000)), **elements)
    assert peak(content) < 2 * len(content)


def written(value: bytes, **elements: Any) -> Any:
    """What is shown of a window with center 1500 and width 3000, one of whose four-digit values reads `value`."""
    window = {"WindowCenter": "1500", "WindowWidth": "3000", **elements}
    return decode.decode(radiograph(**window).replace(b"1500", value)).pixels.tolist()


@pytest.mark.parametrize("value", [b"abc ", b"    ", b"nan ", b"-inf", b"\0\0\0\0"])
def test_a_window_that_is_no_number_counts_as_absent(value: bytes) -> None:
    assert written(value) == shown()


def test_a_decimal_comma_is_read() -> None:
    assert written(b"15,5") == shown(WindowCenter="15.5", WindowWidth="3000")


@pytest.mark.parametrize("value", [b"abc ", b"    "])
def test_a_rescale_that_is_no_number_counts_as_absent(value: bytes) -> None:
    content = radiograph(RescaleSlope="-150", RescaleIntercept="7").replace(b"-150", value)
    assert decode.decode(content).pixels.tolist() == shown()


@pytest.mark.parametrize("keyword", ["ModalityLUTSequence", "VOILUTSequence"])
def test_an_empty_item_of_a_table_counts_as_absent(keyword: str) -> None:
    window = {"WindowCenter": 1500, "WindowWidth": 3000}
    assert shown(**{keyword: [Dataset()]}, **window) == shown(**window)


def test_a_table_without_entries_counts_as_absent() -> None:
    item = Dataset()
    item.add_new("LUTDescriptor", "US", [4, 0, 8])
    item.add_new("LUTData", "OW", b"")
    assert shown(VOILUTSequence=[item]) == shown()


@pytest.mark.parametrize("function", ["sigmoid", "SIGMOID "])
def test_the_function_of_a_window_is_read_in_any_case(function: str) -> None:
    window = {"WindowCenter": 1500, "WindowWidth": 3000}
    assert shown(VOILUTFunction=function, **window) == shown(VOILUTFunction="SIGMOID", **window)


def test_the_photometric_interpretation_is_read_in_any_case() -> None:
    assert shown(PhotometricInterpretation="monochrome1") == shown(PhotometricInterpretation="MONOCHROME1")


@pytest.mark.parametrize("width", [1, 0.5])
def test_a_window_of_width_one_or_less_is_exactly_linear(width: float) -> None:
    # values 0, 0.25, 0.5, 0.75, 1
    elements = {"RescaleSlope": 0.25, "RescaleIntercept": 0, "WindowCenter": 0.5, "WindowWidth": width}
    expected = {1: [[0, 64, 128, 191, 255]], 0.5: [[0, 0, 128, 255, 255]]}
    assert shown([[0, 1, 2, 3, 4]], **elements) == expected[width]


def shifted(first: int, vr: str, entries: list[int], entries_vr: str = "US") -> Dataset:
    item = Dataset()
    item.add_new("LUTDescriptor", vr, [len(entries), first, 16])
    item.add_new("LUTData", entries_vr, entries)
    return item


@pytest.mark.parametrize(("first", "vr"), [(-2, "SS"), (65_534, "US")])
@pytest.mark.parametrize("keyword", ["ModalityLUTSequence", "VOILUTSequence"])
def test_a_table_of_signed_pixels_may_start_below_zero_in_either_vr(keyword: str, first: int, vr: str) -> None:
    item = shifted(first, vr, [0, 0x4000, 0x8000, 0xFFFF])
    elements: dict[str, Any] = {keyword: [item], "PixelRepresentation": 1}
    assert shown([[65_534, 65_535, 0, 1]], **elements) == [[0, 64, 128, 255]]


@pytest.mark.parametrize(("first", "vr"), [(40_000, "US"), (40_000 - 65_536, "SS")])
@pytest.mark.parametrize("keyword", ["ModalityLUTSequence", "VOILUTSequence"])
def test_a_table_of_unsigned_pixels_may_start_above_32767_in_either_vr(keyword: str, first: int, vr: str) -> None:
    assert shown([[40_000, 40_001]], **{keyword: [shifted(first, vr, [0, 0xFFFF])]}) == [[0, 255]]


def test_a_table_after_a_rescale_to_negative_values_starts_below_zero() -> None:
    elements = {"RescaleSlope": 1, "RescaleIntercept": -1024, "VOILUTSequence": [shifted(64_512, "US", [0, 0xFFFF])]}
    assert shown([[0, 1]], **elements) == [[0, 255]]


def test_entries_of_a_table_are_unsigned_whatever_their_vr_says() -> None:
    assert shown([[0, 1, 2]], VOILUTSequence=[shifted(0, "US", [0, -32_768, -1], "SS")]) == [[0, 128, 255]]


def test_a_table_with_fewer_bits_than_it_states_is_scaled_by_its_largest_entry() -> None:
    assert shown([[0, 1, 2]], VOILUTSequence=[table(0, 16, [0, 2048, 4095])]) == [[0, 128, 255]]


def test_a_table_with_more_bits_than_it_states_is_scaled_by_its_largest_entry() -> None:
    assert shown([[0, 1, 2]], VOILUTSequence=[table(0, 8, [0, 2048, 4095])]) == [[0, 128, 255]]


def test_a_table_of_zeros_is_black() -> None:
    assert shown([[0, 1]], VOILUTSequence=[table(0, 16, [0, 0])]) == [[0, 0]]


def test_padding_does_not_widen_the_range_and_is_black() -> None:
    assert shown([[0, 1000], [3000, 5000]], PixelPaddingValue=0) == [[0, 0], [128, 255]]


def test_padding_of_an_inverted_object_is_black() -> None:
    padded = {"PixelPaddingValue": 0, "PhotometricInterpretation": "MONOCHROME1"}
    assert shown([[0, 1000], [3000, 5000]], **padded) == [[0, 255], [127, 0]]


@pytest.mark.parametrize(("first", "last"), [(60_000, 65_535), (65_535, 60_000)])
def test_padding_may_be_a_range_of_values(first: int, last: int) -> None:
    padded = {"PixelPaddingValue": first, "PixelPaddingRangeLimit": last}
    assert shown([[60_001, 1000], [3000, 5000]], **padded) == [[0, 0], [128, 255]]


def test_padding_is_black_in_a_window_too() -> None:
    window = {"WindowCenter": 1500, "WindowWidth": 3000}
    assert shown([[5000, 3000]], PixelPaddingValue=5000, **window) == [[0, 255]]


def test_signed_padding_is_read_with_the_sign_of_the_pixels() -> None:
    assert shown([[65_036, 0, 100]], PixelRepresentation=1, PixelPaddingValue=-500) == [[0, 0, 255]]


def test_an_image_of_nothing_but_padding_is_shown_as_it_is() -> None:
    assert shown([[7, 7]], PixelPaddingValue=7) == [[0, 0]]


def behind(pixels: Any, **elements: Any) -> Any:
    """The values behind the pixels that are shown, None where there are none."""
    values = decode.decode(radiograph(pixels, **elements)).values
    return None if values is None else values.astype(np.int64).tolist()


def test_the_values_of_an_object_without_a_window_are_handed_over() -> None:
    assert behind([[1000, 65_000]]) == [[1000, 65_000]]


@pytest.mark.parametrize(
    "elements",
    [{"WindowCenter": 500, "WindowWidth": 900}, {"VOILUTSequence": [table(0, 8, [0, 1])]}],
    ids=["window", "table"],
)
def test_an_object_that_says_how_it_is_shown_hands_over_no_values(elements: dict[str, Any]) -> None:
    assert behind([[0, 1000]], **elements) is None


@pytest.mark.parametrize(
    ("elements", "inverted"),
    [
        ({"PhotometricInterpretation": "MONOCHROME1"}, True),
        ({"RescaleSlope": -1, "RescaleIntercept": 0}, True),
        ({"PhotometricInterpretation": "MONOCHROME1", "RescaleSlope": -1, "RescaleIntercept": 0}, False),
    ],
    ids=["inverted", "negative slope", "both"],
)
def test_the_values_behind_the_pixels_have_bright_bone(elements: dict[str, Any], inverted: bool) -> None:
    first, second = behind([[1, 2]], **elements)[0]
    assert (first > second) == inverted


def test_padding_has_the_darkest_of_the_values_behind_the_pixels() -> None:
    assert behind([[0, 1000, 3000]], PixelPaddingValue=0) == [[1000, 1000, 3000]]


def test_eight_bits_hand_over_no_values() -> None:
    assert decode.decode(coded(picture(8), ExplicitVRLittleEndian, 8)).values is None


@pytest.mark.parametrize(
    "elements",
    [
        {"WindowCenter": 60_000, "WindowWidth": 100},
        {"WindowCenter": -500, "WindowWidth": 100},
        {"WindowCenter": 60_000, "WindowWidth": 100, "VOILUTFunction": "SIGMOID"},
        {"WindowCenter": 60_000, "WindowWidth": 100, "VOILUTFunction": "LINEAR_EXACT"},
        {"VOILUTSequence": [table(60_000, 8, [0, 255])]},
        {"WindowCenter": 60_000, "WindowWidth": 100, "PixelPaddingValue": 60_000},
    ],
    ids=["above", "below", "sigmoid", "exact", "table", "padding alone"],
)
def test_a_window_beyond_the_pixels_is_not_used(elements: dict[str, Any]) -> None:
    pixels = [[0, 1000], [2000, 60_000 if "PixelPaddingValue" in elements else 4000]]
    unaided = {key: value for key, value in elements.items() if key == "PixelPaddingValue"}
    assert shown(pixels, **elements) == shown(pixels, **unaided)
    assert behind(pixels, **elements) == behind(pixels, **unaided) is not None


def test_a_table_beyond_the_pixels_leaves_them_to_the_window() -> None:
    window = {"WindowCenter": 2000, "WindowWidth": 1000}
    assert shown(VOILUTSequence=[table(60_000, 8, [0, 255])], **window) == shown(**window)
