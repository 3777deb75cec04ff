"""Ray clusters beyond loopback need a token and TLS."""

import os

import pytest

from pipeline.archive.cluster_safety import check_safety, make_token
from pipeline.errors import InputError


@pytest.mark.parametrize("address", ["10.0.0.5:6379", "ray-head:6379", "0.0.0.0:6379", "[2001:db8::1]:6379"])
@pytest.mark.parametrize(
    ("variables", "missing"),
    [
        ({}, "RAY_AUTH_MODE=token and RAY_USE_TLS=1"),
        ({"RAY_AUTH_MODE": "token"}, "needs RAY_USE_TLS=1 here"),
        ({"RAY_USE_TLS": "1"}, "needs RAY_AUTH_MODE=token here"),
    ],
)
def test_an_open_cluster_is_not_joined(
    address: str, variables: dict[str, str], missing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("RAY_AUTH_MODE", "RAY_USE_TLS"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(InputError, match=missing):
        check_safety(address)


@pytest.mark.parametrize(
    ("variables", "missing"),
    [
        ({}, "RAY_AUTH_MODE=token and RAY_USE_TLS=1"),
        ({"RAY_AUTH_MODE": "token"}, "RAY_USE_TLS=1"),
        ({"RAY_USE_TLS": "1"}, "RAY_AUTH_MODE=token"),
    ],
)
def test_the_open_cluster_of_this_node_is_not_joined_and_what_to_do_is_said(
    variables: dict[str, str], missing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("RAY_AUTH_MODE", "RAY_USE_TLS"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(InputError) as found:
        check_safety("auto")
    assert str(found.value) == (
        f"--address auto: the cluster of this node may be reached by others, so set {missing} here and on its nodes "
        "(docs/archive.md); or leave --address out, and Ray starts on this machine alone"
    )


def test_a_closed_cluster_may_be_joined(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_USE_TLS", "1")
    check_safety("10.0.0.5:6379")
    check_safety("auto")


@pytest.mark.parametrize("address", ["127.0.0.2:6379", "localhost:6379", "[::1]:6379"])
def test_a_cluster_on_loopback_may_be_open(address: str) -> None:
    check_safety(address)


def test_a_cluster_started_here_has_a_token_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.setenv("RAY_AUTH_TOKEN", "known to others")
    tokens = set()
    for _ in range(2):
        make_token()
        tokens.add(os.environ["RAY_AUTH_TOKEN"])
    assert os.environ["RAY_AUTH_MODE"] == "token"
    assert len(tokens) == 2
    assert all(len(token) == 64 for token in tokens)
