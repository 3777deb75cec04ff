"""Signatures beside a folder: what is accepted, and every way in which one is not."""

import base64
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from serving.errors import BundleError, SettingsError
from serving.signature import VARIABLE, beside, read_keys, trusted_keys, verified
from tests.conftest import ROOT
from tests.signer import Signer, Statement

SIGNER = Signer()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A signed folder of two files."""
    made = tmp_path / "bundle"
    (made / "samples").mkdir(parents=True)
    (made / "model.json").write_text("{}")
    (made / "samples/one.png").write_bytes(b"one")
    SIGNER.sign(made)
    return made


def refusal(folder: Path, *signers: Signer) -> str:
    with pytest.raises(BundleError) as raised:
        verified(folder, [signer.public for signer in signers or (SIGNER,)])
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_what_is_read_is_what_was_signed(folder: Path) -> None:
    content, key = verified(folder, [SIGNER.public])
    assert content == {"model.json": b"{}", "samples/one.png": b"one"}
    assert key == SIGNER.public


@pytest.mark.parametrize("curve", [ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1()], ids=lambda curve: curve.name)
def test_every_curve_of_the_format_is_known(folder: Path, curve: ec.EllipticCurve) -> None:
    signer = Signer(curve)
    signer.sign(folder)
    assert verified(folder, [signer.public])[1] == signer.public


def _alter(folder: Path) -> None:
    (folder / "samples/one.png").write_bytes(b"two")


def _add(folder: Path) -> None:
    (folder / ".gitignore").write_text("*\n")


def _remove(folder: Path) -> None:
    (folder / "samples/one.png").unlink()


def _rename(folder: Path) -> None:
    (folder / "model.json").rename(folder / "model.jsn")


def _link_a_file(folder: Path) -> None:
    _link(folder / "model.json")


def _link_a_folder(folder: Path) -> None:
    _link(folder / "samples")


def _link(path: Path) -> None:
    moved = path.rename(path.parents[1] / f"elsewhere-{path.name}")
    path.symlink_to(moved)


def _pipe(folder: Path) -> None:
    os.mkfifo(folder / "pipe")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_alter, "one.png: is not what was signed"),
        (_add, ".gitignore: was added"),
        (_remove, "one.png: is missing"),
        (_rename, "model.jsn: was added"),
        (_link_a_file, "model.json: is a link"),
        (_link_a_folder, "samples: is a link"),
        (_pipe, "pipe: is no regular file"),
    ],
)
def test_a_folder_that_is_not_as_it_was_signed_is_refused(
    folder: Path, change: Callable[[Path], None], said: str
) -> None:
    change(folder)
    assert said in refusal(folder)


def test_a_folder_without_a_signature_is_refused(folder: Path) -> None:
    beside(folder).unlink()
    assert refusal(folder).startswith(f"{beside(folder)}: not found")


def test_the_signature_of_another_folder_is_refused(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "model.json").write_text('{"another": 1}')
    SIGNER.sign(other).replace(beside(folder))
    assert "model.json: is not what was signed" in refusal(folder)


def test_another_key_is_refused_and_named(folder: Path) -> None:
    other = Signer()
    said = refusal(folder, other)
    assert SIGNER.public.fingerprint[:12] in said
    assert other.public.fingerprint[:12] in said


def test_a_signature_that_claims_a_trusted_key_is_refused(folder: Path) -> None:
    stranger = Signer()
    path = stranger.sign(folder)
    path.write_text(path.read_text().replace(stranger.public.fingerprint, SIGNER.public.fingerprint))
    assert "is not valid" in refusal(folder)


def test_while_a_key_is_rotated_both_are_trusted(folder: Path) -> None:
    new = Signer()
    both = [new.public, SIGNER.public]
    assert verified(folder, both)[1] == SIGNER.public
    new.sign(folder)
    assert verified(folder, both)[1] == new.public


def test_a_key_that_is_no_longer_trusted_is_refused(folder: Path) -> None:
    assert "was made with the key" in refusal(folder, Signer(), Signer())


def _envelope(change: Callable[[dict[str, Any]], None]) -> Callable[[str], str]:
    def changed(text: str) -> str:
        whole = json.loads(text)
        change(whole)
        return json.dumps(whole)

    return changed


def _flip(text: str) -> str:
    content = bytearray(base64.b64decode(text))
    content[len(content) // 2] ^= 1
    return base64.b64encode(content).decode()


def _flip_payload(whole: dict[str, Any]) -> None:
    whole["dsseEnvelope"]["payload"] = _flip(whole["dsseEnvelope"]["payload"])


def _flip_signature(whole: dict[str, Any]) -> None:
    (only,) = whole["dsseEnvelope"]["signatures"]
    only["sig"] = _flip(only["sig"])


def _sign_nothing(whole: dict[str, Any]) -> None:
    whole["dsseEnvelope"]["signatures"] = []


def _other_payload(whole: dict[str, Any]) -> None:
    whole["dsseEnvelope"]["payloadType"] = "text/plain"


def _certificate(whole: dict[str, Any]) -> None:
    whole["verificationMaterial"] = {"certificate": {"rawBytes": ""}}


def _other_media(whole: dict[str, Any]) -> None:
    whole["mediaType"] = "application/json"


def _name_no_key(whole: dict[str, Any]) -> None:
    whole["verificationMaterial"] = {}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_envelope(_flip_payload), "is not valid"),
        (_envelope(_flip_signature), "is not valid"),
        (_envelope(_sign_nothing), "its envelope is not complete"),
        (_envelope(_other_payload), "does not sign application/vnd.in-toto+json"),
        (_envelope(_certificate), "with a certificate"),
        (_envelope(_other_media), "is no signature"),
        (_envelope(_name_no_key), "the key (none)"),
        (lambda text: text[:-40], "is no signature"),
        (lambda _: "", "is no signature"),
        (lambda _: "[" * 100_000, "is no signature"),
        (lambda _: "[1]", "is no signature"),
    ],
)
def test_a_garbled_signature_is_one_line(folder: Path, change: Callable[[str], str], said: str) -> None:
    path = beside(folder)
    path.write_text(change(path.read_text()))
    assert said in refusal(folder)


def _list_twice(statement: Statement) -> None:
    statement["predicate"]["resources"] *= 2


def _forget_a_file(statement: Statement) -> None:
    statement["predicate"]["resources"].pop()


def _other_hash(statement: Statement) -> None:
    statement["predicate"]["resources"][0]["algorithm"] = "blake3"


def _other_predicate(statement: Statement) -> None:
    statement["predicateType"] = "https://slsa.dev/provenance/v1"


def _shards(statement: Statement) -> None:
    statement["predicate"]["serialization"]["method"] = "shards"


@pytest.mark.parametrize("change", [_list_twice, _forget_a_file, _other_hash, _other_predicate, _shards])
def test_a_statement_that_is_no_list_of_files_is_refused(folder: Path, change: Callable[[Statement], None]) -> None:
    SIGNER.sign(folder, change)
    assert "is no signature that can be used" in refusal(folder)


def test_a_signature_cannot_excuse_files_that_it_does_not_list(folder: Path) -> None:
    def ignore(statement: Statement) -> None:
        statement["predicate"]["serialization"]["ignore_paths"] = ["extra"]

    SIGNER.sign(folder, ignore)
    (folder / "extra").write_text("x")
    assert "extra: was added" in refusal(folder)


# FRACTURE_TRUSTED_KEYS


def test_nothing_is_asked_for_where_the_variable_is_not_set() -> None:
    assert trusted_keys({}) is None


def test_several_files_and_several_keys_in_one_are_read(tmp_path: Path) -> None:
    signers = [Signer(), Signer(), Signer()]
    one = tmp_path / "one.pub"
    one.write_text(signers[0].public_pem + signers[1].public_pem)
    two = signers[2].write_public(tmp_path / "two.pub")
    found = trusted_keys({VARIABLE: f"{one}, {two}"})
    assert found is not None
    assert [key.fingerprint for key in found] == [signer.public.fingerprint for signer in signers]


def _rsa() -> str:
    key = rsa.generate_private_key(public_exponent=65537, key_size=1024)  # noqa: S505  refused, whatever its size
    pem = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return pem.decode()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (SIGNER.private_pem.decode(), "is a private key"),
        (_rsa(), "is no elliptic curve key"),
        ("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", "is no public key"),
        ("hello", "holds no public key"),
        ("\N{SNOWMAN}", "cannot be read"),
    ],
)
def test_a_file_that_is_no_public_key_is_one_line(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "key").write_text(text)
    with pytest.raises(SettingsError, match=said) as raised:
        trusted_keys({VARIABLE: str(tmp_path / "key")})
    assert str(raised.value).startswith(f"{VARIABLE}: {tmp_path}")


def test_a_missing_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="gone: not found; name a file of public keys"):
        read_keys(tmp_path / "gone")


@pytest.mark.parametrize("text", ["", " ", ","])
def test_a_variable_that_names_no_key_does_not_switch_the_check_off(text: str) -> None:
    with pytest.raises(SettingsError, match="is set, but names no key"):
        trusted_keys({VARIABLE: text})


def test_without_the_extra_the_variable_is_one_line(tmp_path: Path) -> None:
    path = SIGNER.write_public(tmp_path / "key.pub")
    code = f"""
import sys
sys.modules["cryptography"] = None
from serving.signature import trusted_keys
assert trusted_keys({{}}) is None
try:
    trusted_keys({{"{VARIABLE}": {str(path)!r}}})
except Exception as error:
    print(type(error).__name__, error)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stdout.startswith(f"SettingsError {VARIABLE}: "), done.stderr
    assert done.stdout.strip().endswith("install the packages of locks/verify.txt")


def test_a_service_loads_no_cryptography_where_nobody_asks_for_signatures() -> None:
    code = "import sys, serving.bundle, serving.http.app; print('cryptography' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
