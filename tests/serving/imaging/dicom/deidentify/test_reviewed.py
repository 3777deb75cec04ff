"""The list of reviewed images."""

from pathlib import Path

import pytest

from serving.imaging.dicom.deidentify.reviewed import ReviewedError, read_reviewed


def test_a_list_holds_a_uid_on_each_line(tmp_path: Path) -> None:
    (tmp_path / "list").write_text("1.2.3\n\n# looked at by two\n1.2.4  # a side marker\n")
    assert read_reviewed(tmp_path / "list") == {"1.2.3", "1.2.4"}


@pytest.mark.parametrize("content", [b"1.2.3\nDoe^Jane\n", b"\xff\xfe\x00"])
def test_a_line_that_is_no_uid_is_named_by_its_number(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "list").write_bytes(content)
    with pytest.raises(ReviewedError, match=r"line 2 is no UID|cannot be read as text") as caught:
        read_reviewed(tmp_path / "list")
    assert "Doe" not in str(caught.value)


def test_a_missing_list_has_one_line(tmp_path: Path) -> None:
    with pytest.raises(ReviewedError, match="not found"):
        read_reviewed(tmp_path / "list")
