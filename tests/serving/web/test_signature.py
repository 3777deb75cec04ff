"""The page's module takes the signatures that the service takes, and no others."""

import base64
import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from serving.errors import BundleError
from serving.signature import PublicKey, signed_by
from tests.serving.web import device
from tests.signer import Signer, Statement

pytestmark = pytest.mark.node

CONTENT = b"{}"
SIGNERS = {curve.name: Signer(curve) for curve in (ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1())}
OURS, OTHER = SIGNERS["secp256r1"], Signer()


@dataclass(frozen=True)
class Case:
    """A signature, the keys that are trusted, and the digest of the file that it should be of."""

    text: str
    keys: tuple[PublicKey, ...]
    sha256: str = hashlib.sha256(CONTENT).hexdigest()


def _signed(folder: Path, signer: Signer = OURS, change: Callable[[Statement], None] = lambda _: None) -> str:
    folder.mkdir(parents=True)
    (folder / "model.json").write_bytes(CONTENT)
    return signer.sign(folder, change).read_text()


def _two_files(folder: Path) -> str:
    folder.mkdir()
    (folder / "more").write_bytes(b"more")
    (folder / "model.json").write_bytes(CONTENT)
    return OURS.sign(folder).read_text()


def _edited(text: str, edit: Callable[[dict[str, Any]], None]) -> str:
    whole = json.loads(text)
    edit(whole)
    return json.dumps(whole)


def _other_payload(whole: dict[str, Any]) -> None:
    envelope = whole["dsseEnvelope"]
    payload = base64.b64decode(envelope["payload"]).replace(b"sha256", b"sha512")
    envelope["payload"] = base64.b64encode(payload).decode()


def _cut(whole: dict[str, Any]) -> None:
    whole["dsseEnvelope"]["signatures"][0]["sig"] = "MEUC"


def _two_signatures(whole: dict[str, Any]) -> None:
    whole["dsseEnvelope"]["signatures"] *= 2


def _other_statement(statement: Statement) -> None:
    statement["predicateType"] = "another"


def _other_root(statement: Statement) -> None:
    statement["subject"][0]["digest"]["sha256"] = "00" * 32


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Case]:
    folder = tmp_path_factory.mktemp("signed")
    whole, trusted = _signed(folder / "whole"), (OURS.public,)
    named = _signed(folder / "other", OTHER).replace(OTHER.public.fingerprint, OURS.public.fingerprint)
    return {
        **{name: Case(_signed(folder / name, signer), (signer.public,)) for name, signer in SIGNERS.items()},
        "second key": Case(whole, (OTHER.public, OURS.public)),
        "no key": Case(whole, ()),
        "other key": Case(whole, (OTHER.public,)),
        "other key under our name": Case(named, trusted),
        "other payload": Case(_edited(whole, _other_payload), trusted),
        "cut": Case(_edited(whole, _cut), trusted),
        "two signatures": Case(_edited(whole, _two_signatures), trusted),
        "other statement": Case(_signed(folder / "statement", change=_other_statement), trusted),
        "other root": Case(_signed(folder / "root", change=_other_root), trusted),
        "other manifest": Case(whole, trusted, "00" * 32),
        "two files": Case(_two_files(folder / "two"), trusted),
        "no signature": Case("<html>", trusted),
    }


@pytest.fixture(scope="module")
def told(cases: Mapping[str, Case], tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, str]:
    """Ask the module about all cases, once; its messages, empty for a signature that it takes."""
    folder = tmp_path_factory.mktemp("device")
    asked = [
        {"text": case.text, "keys": [key.for_browser() for key in case.keys], "sha256": case.sha256}
        for case in cases.values()
    ]
    found = device.run("signature.mjs", device.lay_out(folder), {"cases": asked}, folder)
    return dict(zip(cases, map(str, found), strict=True))


@pytest.mark.parametrize("name", [*SIGNERS, "second key"])
def test_a_signature_of_a_trusted_key_is_taken(name: str, told: Mapping[str, str]) -> None:
    assert told[name] == ""


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no key", "which is not trusted"),
        ("other key", "which is not trusted"),
        ("other key under our name", "is not valid"),
        ("other payload", "is not valid"),
        ("cut", "cannot be used"),
        ("two signatures", "cannot be used"),
        ("other statement", "says something else than files"),
        ("other root", "contradicts its own digest"),
        ("other manifest", "is that of another model.json"),
        ("two files", "is that of another model.json"),
        ("no signature", "cannot be used"),
    ],
)
def test_any_other_signature_is_refused_in_one_line(name: str, message: str, told: Mapping[str, str]) -> None:
    assert message in told[name]
    assert "\n" not in told[name]


def test_the_service_refuses_what_the_module_refuses_of_a_signature_alone(
    cases: Mapping[str, Case], told: Mapping[str, str], tmp_path: Path
) -> None:
    of_the_folder = {"other manifest", "two files"}  # the service compares files with it afterwards
    for name in cases.keys() - of_the_folder:
        path = tmp_path / "model.sig"
        path.write_text(cases[name].text)
        try:
            signed_by(path, cases[name].keys)
        except BundleError:
            assert told[name], name
        else:
            assert told[name] == "", name
