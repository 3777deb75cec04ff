"""Original names lie in the private folder only, which its owner alone can read."""

import stat
from pathlib import Path

import pytest

from pipeline.errors import InputError
from tests.pipeline.data.sources.folder.builders import PATIENT, fill, jpeg, names


def test_the_private_table_says_who_is_who(source: Path) -> None:
    data = fill(source)
    table = names(source)
    assert sorted(table["original"]) == [f"fractured/{PATIENT}_0.jpg", f"normal/{PATIENT}_1.jpg"]
    assert set(table["image_id"]) == set(data.labels["image_id"])


def test_the_private_table_is_for_its_owner_only(source: Path) -> None:
    fill(source)
    private = source.parent / "private"
    modes = [stat.S_IMODE(path.stat().st_mode) for path in (private, private / "set-names.csv")]
    assert modes == [0o700, 0o600]


def test_the_private_folder_is_not_tracked(source: Path) -> None:
    fill(source)
    assert (source.parent / "private" / ".gitignore").read_text() == "*\n"


def test_files_of_unknown_format_are_listed_in_the_private_folder_only(source: Path) -> None:
    (source / "normal" / f"{PATIENT}.jpg").write_bytes(b"hello")
    with pytest.raises(InputError, match=r"a file cannot be used .* move what .*set-refused\.csv lists out") as caught:
        fill(source)
    assert PATIENT not in str(caught.value)
    assert PATIENT in (source.parent / "private" / "set-refused.csv").read_text()
    assert not (source.parent / "data").exists()


def test_a_patient_keeps_the_pseudonym_when_images_are_added(source: Path) -> None:
    text = f"file,patient_id\n{PATIENT}_0.jpg,Q\n{PATIENT}_1.jpg,B\n"
    before = fill(source, table=text).labels.set_index("image_id")["patient_id"]
    for grey in range(3, 9):
        (source / "normal" / f"{grey}.jpg").write_bytes(jpeg(grey * 20 + 7))
        text += f"{grey}.jpg,N{grey}\n"
    after = fill(source, table=text, force=True).labels.set_index("image_id")["patient_id"]
    assert after[before.index].equals(before)
    assert after.nunique() == 8
