"""Every table with TLS names the one file, and its key, that cannot be used."""

import shutil
import ssl
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import get_args

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from pydantic import BaseModel

from hospital import certificates as checked
from hospital import config, running
from hospital.errors import HospitalError
from tests.hospital.conftest import Scorer

FILES = {"certificate": "client.pem", "key": "client.key", "authorities": "ca.pem"}
TABLES = {
    "receiver.tls": "[receiver.tls]",
    "web_receiver.tls": "[web_receiver.tls]",
    "worklist.tls": "[audit]\n[worklist.tls]",
    "adt.tls": "[adt.tls]",
    "store.reports.tls": '[store]\nsite = "north"\ncodes = {FX = "fractured"}\n[store.reports.tls]',
    "audit.tls": '[audit]\nsyslog = "tls://audit.example.org:6514"\n[audit.tls]',
    "destinations.pacs.tls": (
        '[[destinations]]\nkind = "dicom"\nname = "pacs"\nae_title = "PACS"\nhost = "h"\nport = 1\n[destinations.tls]'
    ),
    "destinations.ris.tls": ('[[destinations]]\nkind = "hl7"\nname = "ris"\nhost = "h"\nport = 1\n[destinations.tls]'),
    "polls.archive.tls": '[[polls]]\nname = "archive"\nurl = "https://a.example/x"\n[polls.tls]',
}


@pytest.fixture
def folder(tmp_path: Path, certificates: Path) -> Path:
    """Make a folder with a client's files, those of a server, and one that says nothing."""
    for name in ("ca.pem", "client.pem", "client.key", "server.key"):
        shutil.copy(certificates / name, tmp_path)
    (tmp_path / "garbage.pem").write_text("garbage\n")
    return tmp_path


def read(folder: Path, table: str, **files: str) -> config.Config:
    lines = "\n".join(f'{name} = "{file}"' for name, file in (FILES | files).items())
    path = folder / "hospital.toml"
    path.write_text(f"{TABLES[table]}\n{lines}\n")
    return config.read(path)


def told(folder: Path, table: str, **files: str) -> str:
    with pytest.raises(HospitalError) as raised:
        read(folder, table, **files)
    return str(raised.value).removeprefix(f"{folder}/hospital.toml: ")


def _tables_with_tls(table: type[BaseModel]) -> Iterator[str]:
    """The key of each, with a line for each kind of destination."""
    for name, field in table.model_fields.items():
        for inner in _models(field.annotation):
            yield from [name] if name == "tls" else (f"{name}.{key}" for key in _tables_with_tls(inner))


def _models(kind: object) -> Iterator[type[BaseModel]]:
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        yield kind
    for part in get_args(kind):
        yield from _models(part)


def test_tables_here_are_all_that_there_are() -> None:
    named = [key.replace(".pacs", "").replace(".ris", "").replace(".archive", "") for key in TABLES]
    assert sorted(named) == sorted(_tables_with_tls(config.Config))


@pytest.mark.parametrize("table", TABLES)
def test_files_that_fit_are_taken(folder: Path, table: str) -> None:
    (side,) = checked.sides(read(folder, table))
    assert side.key == table


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("key", FILES)
def test_missing_file_is_named_alone(folder: Path, table: str, key: str) -> None:
    assert told(folder, table, **{key: "absent.pem"}) == f"{table}.{key}: {folder}/absent.pem is not there"


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("key", FILES)
def test_folder_in_the_place_of_a_file_is_named_alone(folder: Path, table: str, key: str) -> None:
    (folder / "inside").mkdir()
    line = told(folder, table, **{key: "inside"})
    assert line == f"{table}.{key}: {folder}/inside cannot be read (Is a directory)"


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize(
    ("key", "file", "reason"),
    [
        ("certificate", "garbage.pem", "holds no certificate in PEM form"),
        ("certificate", "client.key", "holds no certificate in PEM form"),
        ("key", "garbage.pem", "holds no private key in PEM form"),
        ("key", "client.pem", "holds no private key in PEM form"),
        ("key", "encrypted.key", "is encrypted; give one without a pass phrase"),
        ("authorities", "garbage.pem", "holds no certificate in PEM form"),
        ("authorities", "broken.pem", "holds a broken certificate"),
        ("certificate", "broken.pem", "holds a broken certificate"),
    ],
)
def test_file_that_holds_something_else_is_named_alone(
    folder: Path, table: str, key: str, file: str, reason: str
) -> None:
    (folder / "broken.pem").write_text((folder / "client.pem").read_text().replace("MII", "MIX"))
    options = ["-aes256", "-passout", "pass:secret", "-in", "client.key", "-out", "encrypted.key"]
    subprocess.run(["openssl", "rsa", *options], cwd=folder, check=True, capture_output=True)
    assert told(folder, table, **{key: file}).startswith(f"{table}.{key}: {folder}/{file} {reason}")


@pytest.mark.parametrize("table", TABLES)
def test_key_of_another_certificate_is_named_with_it(folder: Path, table: str) -> None:
    line = told(folder, table, key="server.key")
    assert line == f"{table}.key: {folder}/server.key is not the key of {table}.certificate, {folder}/client.pem"


def test_file_that_the_user_may_not_read_is_named_alone(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = Path.read_text

    def refused(self: Path, *given: str, **named: str) -> str:
        if self.name == "client.key":
            raise PermissionError(13, "Permission denied", str(self))
        return opened(self, *given, **named)

    monkeypatch.setattr(Path, "read_text", refused)
    line = told(folder, "receiver.tls")
    assert line == f"receiver.tls.key: {folder}/client.key cannot be read (Permission denied)"


@pytest.fixture(scope="module")
def out_of_date(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a folder with certificates that have expired, expired.pem, and that are not valid yet, early.pem."""
    folder = tmp_path_factory.mktemp("out_of_date")
    key = ec.generate_private_key(ec.SECP256R1())
    named = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a")])
    for name, begins, ends in (("expired", 2020, 2021), ("early", 2098, 2099)):
        made = x509.CertificateBuilder().subject_name(named).issuer_name(named).public_key(key.public_key())
        made = made.serial_number(1).not_valid_before(datetime(begins, 1, 1, tzinfo=UTC))
        signed = made.not_valid_after(datetime(ends, 2, 2, tzinfo=UTC)).sign(key, hashes.SHA256())
        (folder / f"{name}.pem").write_bytes(signed.public_bytes(serialization.Encoding.PEM))
        form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        (folder / f"{name}.key").write_bytes(key.private_bytes(*form))
    return folder


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize(
    ("name", "words"), [("expired", "expired on 2021-02-02"), ("early", "is not valid before 2098-01-01")]
)
def test_certificate_out_of_date_is_told_and_the_gateway_starts(
    folder: Path, out_of_date: Path, table: str, name: str, words: str
) -> None:
    pair = {"certificate": f"{out_of_date}/{name}.pem", "key": f"{out_of_date}/{name}.key"}
    found = read(folder, table, **pair)
    assert checked.out_of_date(found) == [f"{table}.certificate: {out_of_date}/{name}.pem {words}"]


def test_one_authority_that_is_valid_is_enough(folder: Path, out_of_date: Path) -> None:
    old = out_of_date / "expired.pem"
    found = read(folder, "receiver.tls", authorities=str(old))
    assert checked.out_of_date(found) == [f"receiver.tls.authorities: {old} expired on 2021-02-02"]
    (folder / "both.pem").write_text(old.read_text() + (folder / "ca.pem").read_text())
    assert checked.out_of_date(read(folder, "receiver.tls", authorities="both.pem")) == []


def test_validity_is_read_as_openssl_reads_it(folder: Path, certificates: Path, out_of_date: Path) -> None:
    for path in (*certificates.glob("*.pem"), *out_of_date.glob("*.pem")):
        command = ["openssl", "x509", "-in", str(path), "-noout", "-dates"]
        lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
        expected = [ssl.cert_time_to_seconds(line.partition("=")[2]) for line in lines]
        assert [moment.timestamp() for moment in checked._spans(path)[0]] == expected


def test_check_tells_of_a_certificate_out_of_date(
    folder: Path, out_of_date: Path, scorer: Scorer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(running, "open_scorer", lambda *_: scorer)
    pair = {"certificate": f"{out_of_date}/expired.pem", "key": f"{out_of_date}/expired.key"}
    found = read(folder, "receiver.tls", **pair)
    assert running.check(found, folder / "hospital.toml") == 1
    line = f"receiver.tls.certificate: {out_of_date}/expired.pem expired on 2021-02-02"
    assert capsys.readouterr().err == f"error: {folder}/hospital.toml: {line}\n"
