"""The table [worklist]: the link into the viewer."""

import pytest
from pydantic import ValidationError

from hospital.worklist.settings import Worklist

TEMPLATE = "https://pacs.example.org/viewer?StudyInstanceUIDs={study_uid}"


def test_link_holds_the_study() -> None:
    assert Worklist(viewer=TEMPLATE).viewer_link("1.2.3", "", "") == TEMPLATE.format(study_uid="1.2.3")


def test_value_cannot_leave_its_place_in_the_link() -> None:
    link = Worklist(viewer="https://v.example/?a={accession_number}").viewer_link("", 'x&b=1#"><script>', "")
    assert link == "https://v.example/?a=x%26b%3D1%23%22%3E%3Cscript%3E"


def test_study_that_lacks_what_the_link_names_has_no_link() -> None:
    assert Worklist(viewer=TEMPLATE).viewer_link("", "A1", "4711") == ""


def test_viewer_of_a_program_is_an_address_too() -> None:
    assert Worklist(viewer="weasis://?$dicom:rs -r studyUID={study_uid}").viewer_link("1.2", "", "").endswith("1.2")


@pytest.mark.parametrize(
    "template",
    [
        "javascript://%0aalert({study_uid})", "data:text/html,{study_uid}", "/viewer/{study_uid}", "viewer",
        "https://v.example/", "https://v.example/{name}", "https://v.example/{study_uid.__class__}",
        "https://v.example/{study_uid", "https://v.example/{0}", "https://v.example/{study_uid!r}",
        "https://v.example/{study_uid:>99999999}",
    ],
)  # fmt: skip
def test_template_that_is_no_address_or_names_something_else_is_refused(template: str) -> None:
    with pytest.raises(ValidationError):
        Worklist(viewer=template)
