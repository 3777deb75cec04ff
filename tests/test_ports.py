"""Tests that need several ports get different ones."""

import socket

import pytest

from tests import ports


def test_no_port_is_given_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    named = iter([4001, 4001, 4002])
    monkeypatch.setattr(socket.socket, "bind", lambda *_: None)
    monkeypatch.setattr(socket.socket, "getsockname", lambda _: ("127.0.0.1", next(named)))
    assert [ports.free_port(), ports.free_port()] == [4001, 4002]
