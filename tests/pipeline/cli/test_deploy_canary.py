"""`fracture deploy canary`: what is wrong in the command line is one line, before anything is asked."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from pipeline.cli import deploy
from pipeline.errors import InputError


def refused(*words: str) -> str:
    """The line of bad input."""
    error = CliRunner().invoke(deploy.app, ["canary", *words]).exception
    assert isinstance(error, InputError), error
    assert "\n" not in str(error)
    return str(error)


@pytest.fixture(autouse=True)
def nothing_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no client of a cloud be found."""
    monkeypatch.setenv("PATH", str(tmp_path))


@pytest.mark.parametrize("share", ["0", "51", "-5"])
def test_a_share_is_1_to_50_percent(share: str) -> None:
    assert refused("start", "--region", "eu-central-1", "--share", share).startswith(
        f"--share {share}: write a percent"
    )


@pytest.mark.parametrize("verb", ["start", "watch", "promote", "end"])
@pytest.mark.parametrize("place", [[], ["--region", "eu-central-1", "--context", "site"]], ids=["none", "two"])
def test_one_place_has_to_be_named(verb: str, place: list[str]) -> None:
    share = ["--share", "10"] if verb == "start" else []
    assert refused(verb, *share, *place).startswith("say where the service runs: --region (AWS), --resource-group")


@pytest.mark.parametrize(
    "place", [["--resource-group", "fracture"], ["--context", "site"]], ids=["azure", "kubernetes"]
)
def test_where_a_cloud_has_no_alarms_prometheus_has_to_be_named(place: list[str]) -> None:
    assert refused("watch", *place).startswith("--prometheus URL: needed")


def test_a_prometheus_elsewhere_is_asked_with_encryption_only() -> None:
    assert "write https://" in refused("watch", "--context", "site", "--prometheus", "http://prometheus:9090")


def test_a_token_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    words = ["--prometheus", "http://127.0.0.1:9090", "--token-file", str(tmp_path / "none")]
    assert refused("watch", "--context", "site", *words) == f"--token-file {tmp_path / 'none'}: cannot be read"


def test_the_cloud_s_client_has_to_be_there() -> None:
    assert "kubectl: not found" in refused("end", "--context", "site")
    assert "az: not found" in refused("end", "--resource-group", "fracture")
    assert "aws: not found" in refused("end", "--region", "eu-central-1")
