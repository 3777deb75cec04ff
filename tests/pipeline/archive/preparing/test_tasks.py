"""What is done to an image, and what stops a stage."""

import pytest

from pipeline.archive.addresses import Roots
from pipeline.archive.preparing import tasks
from pipeline.archive.preparing.tasks import PrepareTask, Refused, ScanTask
from pipeline.errors import InputError
from serving.errors import ImageError
from serving.imaging.canvas import Preprocessing

ROOTS = Roots(())


def test_a_node_with_other_code_is_refused() -> None:
    with pytest.raises(InputError, match=r"has another version of this project, .* \(make ray-setup\)"):
        tasks.check_code("0" * 64)


def test_the_same_code_is_taken() -> None:
    tasks.check_code(tasks.code_key())


def test_an_image_that_ends_its_process_cannot_be_decoded() -> None:
    found = ScanTask(ROOTS, "", with_features=False).poison(ImageError("crashed", "the decoder ended"))
    assert (found.decoded, found.error) == ("failed", "the decoder ended")  # type: ignore[union-attr]  # no refusal


def test_a_store_that_does_not_give_an_image_stops_the_stage() -> None:
    task = ScanTask(ROOTS, "", with_features=False)
    assert task.unread(ImageError("unreadable", "the store does not give it")) == Refused("the store does not give it")


def test_what_ends_its_process_after_validation_stops_the_stage() -> None:
    found = PrepareTask(ROOTS, "", Preprocessing(32)).poison(ImageError("crashed", "the decoder ended"))
    assert found == Refused("changed since validation (the decoder ended); run `dvc repro` again")
