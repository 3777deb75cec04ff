"""What sort of image a file is."""

from pipeline.data.deidentify import deidentify, sniff
from tests.pipeline.data.deidentify.builders import picture, saved


def test_the_format_is_recognised_by_content_not_by_name() -> None:
    source = saved(picture(), "PNG")
    assert sniff(source) == ".png"
    assert deidentify(source, ".jpg") == source
