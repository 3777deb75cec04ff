"""ZIP archives, friendly and hostile."""

import zipfile
from pathlib import Path

import pytest

from pipeline.data.sources.dicom import archive as module
from pipeline.data.sources.dicom.archive import ArchiveObjects
from pipeline.data.sources.dicom.objects import UnreadableError
from pipeline.errors import InputError
from tests.pipeline.data.sources.dicom.conftest import image


def packed(folder: Path, members: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> Path:
    path = folder / "export.zip"
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def test_an_archive_gives_its_dicom_files(tmp_path: Path) -> None:
    found = ArchiveObjects(packed(tmp_path, {"a/IM1": image(1), "readme.txt": b"none", "__MACOSX/a": image(2)}))
    assert [(one.original, one.read()) for one in found] == [("a/IM1", image(1))]
    assert found.others == 2


def test_nothing_is_unpacked(tmp_path: Path) -> None:
    for one in ArchiveObjects(packed(tmp_path, {"a/IM1": image(1)})):
        one.read()
    assert [path.name for path in tmp_path.iterdir()] == ["export.zip"]


@pytest.mark.parametrize("name", ["../outside.dcm", "/etc/a.dcm", "a/../../b.dcm", "C:/a.dcm", "..\\a.dcm"])
def test_a_name_that_leads_out_of_the_archive_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="leads out of the archive"):
        ArchiveObjects(packed(tmp_path, {name: image(1)}))


def test_an_archive_that_expands_beyond_reason_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_SMALL", 1 << 20)
    with pytest.raises(InputError, match="would expand"):
        ArchiveObjects(packed(tmp_path, {"a.dcm": bytes(8 << 20)}))


def test_members_that_overlap_are_refused(tmp_path: Path) -> None:
    path = packed(tmp_path, {"a.dcm": image(1), "b.dcm": image(2)}, zipfile.ZIP_STORED)
    with zipfile.ZipFile(path, "a") as archive:
        for number in range(3):
            double = zipfile.ZipInfo(f"c{number}.dcm")
            first = archive.infolist()[0]
            for field in ("header_offset", "compress_size", "file_size", "CRC", "compress_type"):
                setattr(double, field, getattr(first, field))
            archive.filelist.append(double)
            archive.NameToInfo[double.filename] = double
        archive._didModify = True  # type: ignore[attr-defined]  # otherwise the directory is not written again
    with pytest.raises(InputError, match="overlap"):
        ArchiveObjects(path)


def test_a_member_larger_than_any_radiograph_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_OBJECT_BYTES", 100)
    with pytest.raises(UnreadableError, match="is larger than"):
        next(iter(ArchiveObjects(packed(tmp_path, {"a.dcm": image(1)})))).read()


def test_a_member_whose_bytes_changed_cannot_be_read(tmp_path: Path) -> None:
    path = packed(tmp_path, {"a.dcm": image(1)}, zipfile.ZIP_STORED)
    content = bytearray(path.read_bytes())
    content[500] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(UnreadableError, match="is broken in the archive"):
        next(iter(ArchiveObjects(path))).read()


def test_an_encrypted_member_cannot_be_read(tmp_path: Path) -> None:
    path = packed(tmp_path, {"a.dcm": image(1)})
    content = bytearray(path.read_bytes())
    content[6] |= 1
    content[content.rindex(b"PK\1\2") + 8] |= 1
    path.write_bytes(content)
    with pytest.raises(UnreadableError, match="is encrypted"):
        next(iter(ArchiveObjects(path))).read()


@pytest.mark.parametrize("content", [b"PK\3\4", b"PK\3\4" + bytes(100)])
def test_a_file_that_is_no_archive_has_one_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.zip").write_bytes(content)
    with pytest.raises(InputError, match="is no ZIP archive that can be read"):
        ArchiveObjects(tmp_path / "a.zip")
