"""What parsers raise for broken bytes becomes one kind of error."""

import struct

import pytest

from serving.errors import ImageError
from serving.imaging.faults import faults


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (struct.error("unpack requires\n 4 bytes"), "it is broken (unpack requires 4 bytes)"),
        (EOFError(), "it is broken (EOFError)"),
        (RecursionError("too deep"), "it is broken (too deep)"),
    ],
)
def test_whatever_a_parser_raises_is_one_line(error: Exception, message: str) -> None:
    with pytest.raises(ImageError) as raised, faults("it is broken"):
        raise error
    assert (raised.value.code, raised.value.message) == ("undecodable", message)


def test_an_error_of_ours_passes() -> None:
    ours = ImageError("no_pixels", "it holds no image")
    with pytest.raises(ImageError) as raised, faults("it is broken"):
        raise ours
    assert raised.value is ours


def test_a_value_that_may_name_a_patient_is_not_quoted() -> None:
    with pytest.raises(ImageError) as raised, faults("it is broken", quotes=False):
        raise ValueError("invalid value for VR PN: 'Doe^Jane'")
    assert raised.value.message == "it is broken"
    assert raised.value.__suppress_context__
