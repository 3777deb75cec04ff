"""Multipart bodies, whole and in any pieces, good and bad."""

import tempfile
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hospital.dicomweb.related import Part, RelatedBounds, RelatedError, RelatedReader, boundary_of
from tests.hospital.dicomweb.servers import related, related_type

BOUNDS = RelatedBounds(part_bytes=1000, body_bytes=5000, parts=3)


def read(
    folder: Path, body: bytes, piece: int = 4096, content_type: str = "", bounds: RelatedBounds = BOUNDS
) -> list[tuple[bytes, str, bool]]:
    found: list[tuple[bytes, str, bool]] = []

    def taken(part: Part) -> None:
        found.append((part.path.read_bytes(), part.content_type, part.over_size))

    reader = RelatedReader(content_type or related_type(), folder, bounds, taken)
    try:
        for at in range(0, len(body), piece):
            reader.feed(body[at : at + piece])
        reader.finish()
    finally:
        reader.close()
        assert list(folder.iterdir()) == []
    return found


@pytest.mark.parametrize("piece", [1, 7, 4096])
def test_parts_are_the_same_in_any_pieces(tmp_path: Path, piece: int) -> None:
    contents = [b"a\r\n--frontie\r\nb", b"", bytes(range(256))]
    found = read(tmp_path, related(*contents), piece)
    assert found == [(one, "application/dicom", False) for one in contents]


def test_quoted_boundary_is_read(tmp_path: Path) -> None:
    kind = 'multipart/related; boundary="a b=c"; type="application/dicom"'
    assert read(tmp_path, related(b"x", boundary="a b=c"), content_type=kind)[0][0] == b"x"


def test_boundary_of_orthanc_is_read_though_it_is_too_long(tmp_path: Path) -> None:
    boundary = "aef27c7e-237d-439c-8212-bedb2112982d-aef27c7e-237d-439c-8212-bedb2112982d"
    assert read(tmp_path, related(b"x", boundary=boundary), content_type=related_type(boundary))[0][0] == b"x"


def test_part_that_is_too_large_is_not_kept_and_the_next_one_is(tmp_path: Path) -> None:
    found = read(tmp_path, related(bytes(1001), b"small"))
    assert [(content, over) for content, _, over in found] == [(b"", True), (b"small", False)]


@pytest.mark.parametrize(
    ("body", "code"),
    [
        pytest.param(related(b"x", end=False), "truncated_multipart", id="truncated"),
        pytest.param(b"", "truncated_multipart", id="nothing"),
        pytest.param(related(b"x", boundary="other"), "malformed_multipart", id="wrong boundary"),
        pytest.param(related(*[b"x"] * 4), "too_many_parts", id="parts"),
        pytest.param(related(*[bytes(900)] * 3) * 3, "body_size", id="body"),
        pytest.param(b"--frontier\r\n" + b"X: y\r\n" * 50 + b"\r\n", "malformed_multipart", id="headers"),
        pytest.param(b"--frontier\r\nX: " + b"y" * 9000, "body_size", id="header"),
    ],
)
def test_bad_body_has_a_code_and_leaves_no_file(tmp_path: Path, body: bytes, code: str) -> None:
    with pytest.raises(RelatedError) as raised:
        read(tmp_path, body)
    assert raised.value.code == code


@given(st.lists(st.sampled_from([b"--frontier", b"--", b"\r\n", b"\r", b"\n", b"-", b"Content-Type: x", b":", b"\0x"])))
def test_any_bytes_are_a_body_or_a_fault(pieces: list[bytes]) -> None:
    with tempfile.TemporaryDirectory() as folder, suppress(RelatedError):
        read(Path(folder), b"".join(pieces), piece=3)


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        ("application/json", "media_type"),
        ("multipart/form-data; boundary=x", "media_type"),
        ('multipart/related; type="application/dicom+json"; boundary=x', "media_type"),
        ("multipart/related", "malformed_multipart"),
        (f"multipart/related; boundary={'x' * 201}", "malformed_multipart"),
    ],
)
def test_content_type_that_is_none_has_a_code(kind: str, code: str) -> None:
    with pytest.raises(RelatedError) as raised:
        boundary_of(kind)
    assert raised.value.code == code
