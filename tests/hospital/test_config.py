"""hospital.toml is checked as a whole; each fault has one line with its key."""

from pathlib import Path

import pytest

from hospital import config
from hospital.config import Secrets
from hospital.delivery.settings import FhirFile
from hospital.errors import HospitalError


def read(folder: Path, text: str) -> config.Config:
    path = folder / "hospital.toml"
    path.write_text(text, encoding="utf-8")
    return config.read(path)


def test_empty_file_is_a_gateway_on_loopback(tmp_path: Path) -> None:
    found = read(tmp_path, "")
    assert (found.receiver.host, found.receiver.ae_title) == ("127.0.0.1", "FRACTURE")
    assert found.spool == tmp_path / "spool"


@pytest.mark.parametrize(("path", "folder"), [("fhir", "fhir"), ("/srv/fhir", "/srv/fhir"), ("-", None)])
def test_files_of_a_destination_lie_beside_the_configuration(tmp_path: Path, path: str, folder: str | None) -> None:
    (found,) = read(tmp_path, f'[[destinations]]\nkind = "fhir_file"\nname = "a"\npath = "{path}"').destinations
    assert isinstance(found, FhirFile)
    assert found.folder == (None if folder is None else tmp_path / folder)


FAULTS = {
    "shared spool on SQLite": (
        "shared_spool = true",
        "shared_spool: needs PostgreSQL in HOSPITAL_DATABASE_URL, as SQLite is not safe",
    ),
    "unknown key": ("[receiver]\nprot = 1", "receiver.prot: there is no such key"),
    "port": ("[receiver]\nport = 99999", "receiver.port"),
    "title": ('[receiver]\nae_title = "A\\\\B"', "receiver.ae_title: is no AE title"),
    "blank title": ('[[receiver.peers]]\nae_title = "  "', "receiver.peers.0.ae_title: is no AE title"),
    "address": ('[[receiver.peers]]\nae_title = "A"\naddresses = ["pacs"]', "receiver.peers.0.addresses.0"),
    "open": ('[receiver]\nhost = "0.0.0.0"', "name who may send under [[receiver.peers]]"),
    "kind": ('[[destinations]]\nkind = "ftp"\nname = "a"', "destinations.0"),
    "kinds": (
        '[[destinations]]\nkind = "ftp"\nname = "a"',
        "`kind` has to be one of 'dicom', 'stow', 'fhir', 'fhir_file', 'hl7', 'ups'",
    ),
    "scopes": ('[model]\nscope = "allow"', "model.scope: has to be 'refuse' or 'warn'"),
    **{
        f"releases of {kind}": (f"{table}\nrelease = 'R6'", "release: has to be 'R4', 'R4B' or 'R5'")
        for kind, table in (
            ("fhir", '[[destinations]]\nkind = "fhir"\nname = "a"\nurl = "https://a.example/x"'),
            ("fhir_file", '[[destinations]]\nkind = "fhir_file"\nname = "a"\npath = "-"'),
            ("store.fhir", '[store]\nsite = "n"\ncodes = {F = "f"}\n[store.fhir]\nurl = "https://a.example/x"'),
        )
    },
    **{
        f"host of {table}: {host}": (f'[{table}]\nhost = "{host}"', f"{table}.host: is no host such as")
        for table in ("receiver", "web_receiver", "operation", "adt", "worklist")
        for host in ("https://a.example", "a.example:104", "a b", "")
    },
    **{
        f"host of {kind}": (
            f'[[destinations]]\nname = "a"\nport = 1\nkind = "{kind}"\n{more}\nhost = "https://a"',
            f".{kind}.host: is no host",
        )
        for kind, more in (("dicom", 'ae_title = "A"'), ("hl7", ""))
    },
    **{
        f"user in {table} {kind}": (
            f'[[{table}]]\nname = "a"\n{kind}\nurl = "https://user:password@a.example/x"',
            "url: holds a user; credentials stand in the variable HOSPITAL_AUTHORIZATION_<NAME>",
        )
        for table, kind in (
            ("polls", ""),
            ("destinations", 'kind = "stow"'),
            ("destinations", 'kind = "fhir"'),
            ("destinations", 'kind = "ups"'),
        )
    },
    "user in reports": (
        '[store]\nsite = "n"\ncodes = {F = "f"}\n[store.fhir]\nurl = "https://user:password@a.example/x"',
        "store.fhir.url: holds a user",
    ),
    "host of store.reports": (
        '[store]\nsite = "n"\ncodes = {F = "f"}\n[store.reports]\nhost = "a b"',
        "store.reports.host: is no host such as",
    ),
    "two names of a variable": (
        '[[polls]]\nname = "a-b"\nurl = "https://a.example/x"\n'
        '[[destinations]]\nkind = "stow"\nname = "A_B"\nurl = "https://b.example/x"',
        "A_B and a-b would share HOSPITAL_AUTHORIZATION_A_B",
    ),
    "backslash for DICOM": ("[results]\nmanufacturer = 'a\\b'", "results.manufacturer: may hold no backslash"),
    "control character": ('[audit]\nsource = "a\\u0007"', "audit.source: may hold no backslash and no control"),
    "separator of HL7": (
        '[[destinations]]\nkind = "hl7"\nname = "a"\nhost = "a"\nport = 1\nfacility = "a^b"',
        "facility: may hold none of | ^ ~",
    ),
    "naming system": (
        '[[destinations]]\nkind = "fhir_file"\nname = "a"\npath = "-"\npatient_system = "ours"',
        "patient_system: is no address of a naming system such as urn:oid:1.2.3",
    ),
    **{
        f"empty {key}": (text, f"{key}: is empty; name a file or a folder")
        for key, text in (
            ("spool", 'spool = ""'),
            ("model.bundle", '[model]\nbundle = ""'),
            ("audit.folder", '[audit]\nfolder = ""'),
            ("worklist.users", '[worklist]\nusers = ""'),
            ("receiver.tls.key", '[receiver.tls]\nkey = ""\ncertificate = "a"\nauthorities = "a"'),
        )
    },
    "empty code": ('[store]\nsite = "n"\ncodes = {" " = "normal"}', "store.codes: a code is empty"),
    "code twice": ('[store]\nsite = "n"\ncodes = {A = "a", " A" = "b"}', "store.codes: a code is given twice"),
    "value for a table": ("receiver = 1", "receiver: has to be a table"),
    "number for a path": ("spool = 1", "spool: has to be a path, in quotes"),
    "number for text": ("name = 1", "name: has to be text, in quotes"),
    "word for a switch": ('[results]\nreport = "maybe"', "results.report: has to be true or false"),
    "twice": (
        2 * '[[destinations]]\nkind = "stow"\nname = "a"\nurl = "https://a.example/x"\n',
        "destinations: the name a is given twice",
    ),
    "url": ('[[destinations]]\nkind = "stow"\nname = "a"\nurl = "file:///etc"', "destinations.0.stow.url"),
    "release": (
        '[[destinations]]\nkind = "fhir_file"\nname = "a"\npath = "-"\nrelease = "R3"',
        "destinations.0.fhir_file.release",
    ),
    "work items": ('[[destinations]]\nkind = "ups"\nname = "a"\nurl = "a.example"', "destinations.0.ups.url: is no"),
    "poll": ('[[polls]]\nname = "a"\nurl = "ftp://a.example/x"', "polls.0.url: is no address"),
    "poll's port": ('[[polls]]\nname = "a"\nurl = "https://a.example:99999/x"', "polls.0.url: is no address"),
    "poll twice": (
        2 * '[[polls]]\nname = "a"\nurl = "https://a.example/x"\n',
        "polls: the name a is given twice",
    ),
    "reports like a poll": (
        '[[polls]]\nname = "a"\nurl = "https://a.example/x"\n'
        '[store]\nsite = "n"\ncodes = {F = "f"}\n[store.fhir]\nname = "a"\nurl = "https://b.example/x"',
        "polls: the name a is given twice",
    ),
    "reports without codes": (
        '[store]\nsite = "n"\n[store.fhir]\nurl = "https://b.example/x"',
        "store: codes: names no code",
    ),
    "web": ("[web_receiver]\nmax_parts = 0", "web_receiver.max_parts"),
    "web certificate": (
        '[web_receiver.tls]\ncertificate = "c.pem"\nkey = "k.pem"\nauthorities = "a.pem"',
        "web_receiver.tls.certificate: ",
    ),
    "scope": ('[model]\nservice = true\nscope = "warn"', "model: `scope` is the service's to say: set FRACTURE_SCOPE"),
    "both": ('[model]\nbundle = "b"\nservice = true', "give either `bundle` or `service = true`"),
    "certificate": (
        '[receiver.tls]\ncertificate = "c.pem"\nkey = "k.pem"\nauthorities = "a.pem"',
        "receiver.tls.certificate: ",
    ),
    "adt": ('[adt]\nhost = "0.0.0.0"', "adt: 0.0.0.0 is open to other machines and needs [adt.tls]"),
    "adt certificate": (
        '[adt.tls]\ncertificate = "c.pem"\nkey = "k.pem"\nauthorities = "a.pem"',
        "adt.tls.certificate: ",
    ),
    "toml": ("[receiver", "cannot be read"),
    "open worklist": ('[audit]\n[worklist]\nhost = "0.0.0.0"', "worklist.host: 0.0.0.0 is open to other machines"),
    "worklist unaudited": ("[worklist]", "worklist: who looks at it is audited; say where under [audit]"),
    "worklist certificate": (
        '[audit]\n[worklist.tls]\ncertificate = "c.pem"\nkey = "k.pem"',
        "worklist.tls.certificate: ",
    ),
    "archive without objects": (
        "[results]\nreport = false\ncapture = false\npresentation = false\n"
        '[[destinations]]\nkind = "stow"\nname = "a"\nurl = "https://a.example/x"',
        "results: no object is made, so destination a would never be sent any",
    ),
    "one port for two": ("[receiver]\nport = 11180", "operation.port: 11180 is the port of [receiver] already"),
    "one port for every address and one": (
        '[receiver]\nhost = "0.0.0.0"\nport = 11180\n[[receiver.peers]]\nae_title = "A"',
        "operation.port: 11180 is the port of [receiver] already",
    ),
    "one port by name": ('[receiver]\nhost = "localhost"\nport = 11180', "operation.port: 11180 is the port of"),
    "waits that shrink": (
        "[delivery]\nfirst_wait_seconds = 9\nlongest_wait_seconds = 8",
        "delivery: longest_wait_seconds is shorter than first_wait_seconds",
    ),
    "no list": (
        '[[receiver.peers]]\nae_title = "A"\naddresses = "192.0.2.1"',
        "receiver.peers.0.addresses: has to be a list, in brackets",
    ),
    "no kind": ('[[destinations]]\nname = "a"', "destinations.0: the key `kind` is missing"),
    "missing key": (
        '[[destinations]]\nkind = "dicom"\nname = "a"',
        "destinations.0.dicom.ae_title: the key is missing",
    ),
    "viewer": ('[worklist]\nviewer = "javascript://{study_uid}"', "worklist.viewer: is no address such as https://"),
    "collection point": ('[audit]\nsyslog = "tcp://a:1"', "audit.syslog: is no address such as tls://"),
    "audit certificate": (
        '[audit]\nsyslog = "tls://a:1"\n[audit.tls]\nauthorities = "a.pem"',
        "audit.tls.authorities: ",
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_fault_has_one_line_with_its_key(tmp_path: Path, name: str) -> None:
    text, line = FAULTS[name]
    with pytest.raises(HospitalError) as raised:
        read(tmp_path, text)
    assert line in str(raised.value)
    assert str(raised.value).startswith(str(tmp_path / "hospital.toml"))
    assert "\n" not in str(raised.value)


def test_file_of_an_editor_that_marks_utf_8_is_read(tmp_path: Path) -> None:
    assert read(tmp_path, "\ufeff[receiver]\nport = 5").receiver.port == 5


@pytest.mark.parametrize("host", ["pacs.example.org", "pacs_1", "192.0.2.1", "2001:db8::1", "röntgen.example"])
def test_host_is_a_name_or_an_address(tmp_path: Path, host: str) -> None:
    text = f'[[destinations]]\nkind = "hl7"\nname = "a"\nport = 1\nhost = "{host}"'
    assert read(tmp_path, text).destinations[0].host == host  # type: ignore[union-attr]


def test_missing_file_says_where_an_example_is(tmp_path: Path) -> None:
    with pytest.raises(HospitalError, match=r"deploy/hospital/hospital\.toml"):
        config.read(tmp_path / "hospital.toml")


def test_database_of_another_kind_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOSPITAL_DATABASE_URL", "mysql://db/x")
    with pytest.raises(HospitalError, match="neither sqlite nor postgresql"):
        read(tmp_path, "")


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("nonsense", "is no database address"),
        ("postgresql+psycopg://user:secret@host:port/name", "is no database address"),
        ("postgresql+none://host/name", "has no driver here"),
        ("sqlite+aiosqlite:///name", "has no driver here"),
    ],
)
def test_address_of_a_database_that_cannot_be_used_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, address: str, reason: str
) -> None:
    monkeypatch.setenv("HOSPITAL_DATABASE_URL", address)
    with pytest.raises(HospitalError, match=f"^HOSPITAL_DATABASE_URL: {reason}") as raised:
        read(tmp_path, "")
    assert "secret" not in str(raised.value)


def test_service_needs_its_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FRACTURE_SERVICE_URL", raising=False)
    with pytest.raises(HospitalError, match="FRACTURE_SERVICE_URL"):
        Secrets.read(read(tmp_path, "[model]\nservice = true"))


def test_open_operation_port_needs_a_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HOSPITAL_KEY", raising=False)
    with pytest.raises(HospitalError, match="HOSPITAL_KEY"):
        Secrets.read(read(tmp_path, '[operation]\nhost = "0.0.0.0"'))


def test_open_port_for_stow_needs_a_key_or_certificates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HOSPITAL_WEB_KEY", raising=False)
    found = read(tmp_path, '[web_receiver]\nhost = "0.0.0.0"')
    with pytest.raises(HospitalError, match="HOSPITAL_WEB_KEY"):
        Secrets.read(found)
    monkeypatch.setenv("HOSPITAL_WEB_KEY", "secret")
    assert Secrets.read(found).web_key == "secret"


@pytest.mark.parametrize(
    ("variable", "name"), [("HOSPITAL_KEY", "operation_key"), ("HOSPITAL_WORKLIST_KEY", "worklist_key")]
)
def test_secret_comes_from_a_file_that_is_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str, name: str
) -> None:
    path = tmp_path / "key"
    monkeypatch.setenv(f"{variable}_FILE", str(path))
    found = read(tmp_path, "")
    for key in ("first", "second"):
        path.write_text(f"{key}\n")
        assert getattr(Secrets.read(found), name) == key


def test_secret_file_that_is_not_there_has_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOSPITAL_KEY_FILE", str(tmp_path / "absent"))
    with pytest.raises(HospitalError, match=r"^HOSPITAL_KEY_FILE: .* cannot be read"):
        Secrets.read(read(tmp_path, ""))


def test_poll_has_its_authorization_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOSPITAL_AUTHORIZATION_ARCHIVE", "Basic x")
    found = read(tmp_path, '[[polls]]\nname = "archive"\nurl = "https://a.example/x"')
    assert Secrets.read(found).authorizations == {"archive": "Basic x"}


def test_authorization_comes_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOSPITAL_AUTHORIZATION_CLOUD_1", "Bearer x")
    found = read(tmp_path, '[[destinations]]\nkind = "stow"\nname = "cloud-1"\nurl = "https://a.example/x"')
    assert Secrets.read(found).authorizations == {"cloud-1": "Bearer x"}


def test_paths_of_worklist_and_audit_are_relative_to_the_file(tmp_path: Path) -> None:
    found = read(tmp_path, '[audit]\n[worklist]\nusers = "users"')
    assert found.audit is not None
    assert found.worklist is not None
    assert (found.audit.folder, found.worklist.users) == (tmp_path / "audit", tmp_path / "users")


def test_worklist_is_open_to_others_over_tls(tmp_path: Path, certificates: Path) -> None:
    files = f'certificate = "{certificates}/server.pem"\nkey = "{certificates}/server.key"'
    found = read(tmp_path, f'[audit]\n[worklist]\nhost = "0.0.0.0"\n[worklist.tls]\n{files}')
    assert found.worklist is not None


def test_users_of_the_worklist_come_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOSPITAL_WORKLIST_USERS", "a:b c:d")
    monkeypatch.setenv("HOSPITAL_WORKLIST_KEY", " key ")
    found = Secrets.read(read(tmp_path, ""))
    assert (found.worklist_users, found.worklist_key) == ("a:b c:d", "key")
