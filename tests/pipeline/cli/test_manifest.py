"""`fracture manifest`: what a person gave wrong is one line."""

from pathlib import Path

from typer.testing import CliRunner

from pipeline import cli


def test_modalities_of_what_is_no_dicomweb_are_not_passed_over(tmp_path: Path) -> None:
    command = ["manifest", str(tmp_path), "--out", str(tmp_path / "m.parquet"), "--modalities", "CR"]
    done = CliRunner().invoke(cli.assemble(command), command)
    assert str(done.exception) == "--modalities CR: is for DICOMweb, and no https://HOST/PATH is named; leave it out"
