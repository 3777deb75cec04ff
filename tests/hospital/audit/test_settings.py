"""The table [audit]: where the trail goes."""

import pytest
from pydantic import ValidationError

from hospital.audit.settings import Audit


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", None),
        ("udp://192.0.2.1:514", ("udp", "192.0.2.1", 514)),
        ("udp://[2001:db8::1]:514", ("udp", "2001:db8::1", 514)),
    ],
)
def test_collection_point_has_transport_host_and_port(text: str, found: object) -> None:
    assert Audit(syslog=text).collector == found


@pytest.mark.parametrize(
    "text",
    ["tcp://a:514", "udp://a", "udp://:514", "udp://a:99999", "udp://a:0", "udp://a:514/x", "a:514", "udp://a:b"],
)
def test_address_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValidationError, match="is no address such as"):
        Audit(syslog=text)


def test_tls_needs_authorities() -> None:
    with pytest.raises(ValidationError, match=r"\[audit\.tls\]"):
        Audit(syslog="tls://audit.example.org:6514")


def test_certificate_needs_its_key() -> None:
    with pytest.raises(ValidationError, match="both"):
        Audit.model_validate({"tls": {"authorities": "ca.pem", "certificate": "a.pem"}})
