"""`fracture remote add` writes where the data goes, and nothing secret."""

import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.cli import remote
from pipeline.errors import InputError


@pytest.fixture
def checkout(project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a project folder with DVC, and stand in it."""
    subprocess.run([sys.executable, "-m", "dvc", "init", "--no-scm", "-q"], cwd=project, check=True)
    monkeypatch.chdir(project)
    return project


def test_the_default_remote_is_written(checkout: Path) -> None:
    remote.add("s3://hospital-data/fractures", endpoint="https://s3.hospital.test")
    written = (checkout / ".dvc/config").read_text()
    assert "remote = team" in written
    assert "url = s3://hospital-data/fractures" in written
    assert "endpointurl = https://s3.hospital.test" in written


def test_it_can_be_moved(checkout: Path) -> None:
    remote.add("s3://hospital-data")
    remote.add("azure://fractures/a", account="hospital")
    written = (checkout / ".dvc/config").read_text()
    assert "url = azure://fractures/a" in written
    assert "account_name = hospital" in written
    assert "hospital-data" not in written


def test_the_next_steps_are_said(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "_dvc", lambda *words: None)
    remote.add("s3://hospital-data")
    printed = capsys.readouterr().out
    assert "dvc push" in printed
    assert "AWS_PROFILE" in printed


@pytest.mark.parametrize(
    ("url", "options", "line"),
    [
        ("/mnt/data", {}, "is no address of a remote"),
        ("gs://bucket", {}, "is no address of a remote"),
        ("s3://[", {}, "is no address of a remote"),
        ("s3://key:secret@bucket/x", {}, "holds a login"),
        ("azure://box/x?sig=abc", {"account": "hospital"}, "holds a login or a signature"),
        ("s3://Bad_Bucket", {}, "cannot be the name"),
        ("s3://", {}, "cannot be the name"),
        ("azure://box", {}, "--account NAME"),
        ("s3://bucket", {"account": "x"}, "belongs to an azure"),
        ("s3://bucket", {"name": "-x"}, "use letters"),
        ("s3://bucket", {"endpoint": "ftp://x"}, "--endpoint"),
        ("s3://bucket", {"endpoint": "https://a:b@x"}, "--endpoint"),
    ],
)
def test_what_cannot_be_a_remote_is_refused_before_dvc_is_asked(
    url: str, options: dict[str, str], line: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, ...]] = []
    monkeypatch.setattr(remote, "_dvc", lambda *words: asked.append(words))
    with pytest.raises(InputError, match=line):
        remote.add(url, **options)
    assert asked == []
