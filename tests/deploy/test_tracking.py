"""A team's registry on real servers: PostgreSQL, the start program of deploy/tracking, buckets, TLS before it."""

import dataclasses
import os
import re
import runpy
import shutil
import socket
import ssl
import subprocess
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests
from ruamel.yaml import YAML

from pipeline import register
from pipeline.errors import InputError
from pipeline.registry import champion, promotion
from pipeline.registry.mlflow import EXPERIMENT, Mirror, Registry, connect
from tests.deploy import checkers
from tests.deploy.blobs import ACCOUNT, azurite
from tests.deploy.certificates import make_certificate
from tests.deploy.test_aws import ask
from tests.deploy.tracking_server import (
    ADMIN,
    ADMIN_PASSWORD,
    DATABASE_PASSWORD,
    HOST,
    PUBLIC,
    START,
    Postgres,
    postgres,
    reachable_folder,
    server,
    settings,
    tls,
    tracking_python,
)
from tests.mlflow_client import mlflow_client
from tests.pipeline.project import Project, reproduce
from tests.ports import free_port

FOLDER = START.parent
MODEL = "bone-fracture"
READER, READER_PASSWORD = "reader", "looks and does not touch"
BUCKET = "team-models"
USERS = "/api/2.0/mlflow/users/"

pytestmark = [pytest.mark.postgres, pytest.mark.proxy, pytest.mark.timeout(300)]


@dataclass(frozen=True)
class Team:
    """The running servers, as people reach them."""

    url: str
    inner: str  # behind the proxy's back
    certificate: Path
    database: Postgres
    log: Path

    def ask(self, method: str, path: str, login: tuple[str, str] | None = (ADMIN, ADMIN_PASSWORD), **rest: Any) -> Any:
        """Answer to a request, of the administrator by default."""
        with requests.Session() as session:
            session.trust_env = False
            return session.request(
                method, f"{self.url}{path}", auth=login, verify=str(self.certificate), timeout=30, **rest
            )

    def login(self, user: str = ADMIN, password: str = ADMIN_PASSWORD) -> dict[str, str]:
        """Variables of somebody who works with this server."""
        return {
            "MLFLOW_TRACKING_URI": self.url, "MLFLOW_TRACKING_SERVER_CERT_PATH": str(self.certificate),
            "MLFLOW_TRACKING_USERNAME": user, "MLFLOW_TRACKING_PASSWORD": password, "NO_PROXY": f"{HOST},{PUBLIC}",
        }  # fmt: skip


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with reachable_folder() as made:
        yield made


@pytest.fixture(scope="module")
def database(folder: Path) -> Iterator[Postgres]:
    with postgres(folder / "database") as made:
        yield made


@pytest.fixture(scope="module")
def team(folder: Path, database: Postgres, moto: str, cloud: dict[str, str]) -> Iterator[Team]:
    """Run the whole of compose.yaml without containers, with a second user who may only read."""
    ask(cloud, "s3api", "create-bucket", "--bucket", BUCKET, region="us-east-1")
    environment = {
        **settings(database, f"s3://{BUCKET}/models", free_port()), "MLFLOW_S3_ENDPOINT_URL": moto,
        "AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing", "AWS_DEFAULT_REGION": "us-east-1",
    }  # fmt: skip
    (folder / "certificate").mkdir()
    certificate = make_certificate(folder / "certificate", PUBLIC)
    with ExitStack() as stack:
        inner = stack.enter_context(server(environment, folder / "server"))
        url = stack.enter_context(tls(inner, certificate, folder / "proxy"))
        made = Team(url, inner, certificate.chain, database, folder / "server/log.txt")
        body = {"username": READER, "password": READER_PASSWORD}
        assert made.ask("POST", USERS + "create", json=body).status_code == 200
        yield made


@pytest.fixture(scope="session")
def first_repro(once: Callable[[str, Callable[[Path], None]], Path]) -> Path:
    """The project that the tests of the pipeline share, in which `dvc repro` ran once; not to be changed."""
    return once("reproduced", reproduce) / "project"


@pytest.fixture(scope="module")
def registered(team: Team, first_repro: Path, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Copy that project and register its model at the team's server, through DVC."""
    root = tmp_path_factory.mktemp("team") / "project"
    shutil.copytree(first_repro, root, symlinks=True)
    project = Project(root)
    for name in ("service.py", "bentofile.yaml", "locks"):
        source = checkers.ROOT / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, root / name)
    project.environment.update(team.login())
    printed = project.run("dvc", "repro", "-sf", "register")
    assert f"{MODEL} version 1 registered; gates passed" in printed
    return project


def as_reader(team: Team, project: Project) -> Project:
    other = Project(project.root)
    other.environment.update(team.login(READER, READER_PASSWORD))
    return other


def aliases(team: Team) -> dict[str, str]:
    answer = team.ask("GET", "/api/2.0/mlflow/registered-models/get", params={"name": MODEL}).json()
    return {entry["alias"]: entry["version"] for entry in answer["registered_model"].get("aliases", [])}


def move_champion(team: Team, version: str, login: tuple[str, str] = (ADMIN, ADMIN_PASSWORD)) -> int:
    """Move the alias as the UI does, from the page's own origin."""
    body = {"name": MODEL, "alias": promotion.CHAMPION, "version": version}
    path = "/ajax-api/2.0/mlflow/registered-models/alias"
    return int(team.ask("POST", path, login, json=body, headers={"Origin": team.url}).status_code)


def test_whoever_has_no_login_gets_401_and_only_the_health_is_open(team: Team) -> None:
    assert team.ask("GET", "/health", None).status_code == 200
    for path in ("/", "/version", "/api/2.0/mlflow/experiments/get?experiment_id=0", "/metrics", "/graphql"):
        assert team.ask("GET", path, None).status_code == 401, path
    artifact = "/api/2.0/mlflow-artifacts/artifacts/x"
    assert team.ask("PUT", artifact, None, data=b"x").status_code == 401


@pytest.mark.parametrize("password", ["password1234", "password", ""])
def test_passwords_that_servers_ship_with_open_nothing(team: Team, password: str) -> None:
    for user in ("admin", ADMIN):
        assert team.ask("GET", "/", (user, password)).status_code == 401


def test_a_name_or_a_page_of_somebody_else_is_refused(team: Team) -> None:
    assert team.ask("GET", "/", headers={"Host": "elsewhere.example"}).status_code == 403
    path, body = "/ajax-api/2.0/mlflow/experiments/search", {"max_results": 1}
    assert team.ask("POST", path, json=body, headers={"Origin": "https://elsewhere.example"}).status_code == 403
    assert team.ask("POST", path, json=body, headers={"Origin": team.url}).status_code == 200


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_1, ssl.TLSVersion.TLSv1_2])
def test_old_tls_is_refused(team: Team, version: ssl.TLSVersion) -> None:
    context = ssl.create_default_context(cafile=team.certificate)
    context.set_ciphers("ALL@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = context.maximum_version = version
    port = int(team.url.rpartition(":")[2])
    accepted = version >= ssl.TLSVersion.TLSv1_2
    with (
        nullcontext() if accepted else pytest.raises(ssl.SSLError),
        socket.create_connection((PUBLIC, port), timeout=10) as plain,
        context.wrap_socket(plain, server_hostname=PUBLIC),
    ):
        assert accepted


def test_only_an_administrator_makes_users(team: Team) -> None:
    body = {"username": "intruder", "password": "a long enough phrase"}
    answer = team.ask("POST", USERS + "create", (READER, READER_PASSWORD), json=body)
    assert answer.status_code == 403


@pytest.mark.slow
def test_a_repro_registers_at_the_server_and_its_files_lie_in_the_bucket(
    team: Team, registered: Project, cloud: dict[str, str]
) -> None:
    assert aliases(team)[promotion.CHALLENGER] == "1"
    listed = ask(cloud, "s3api", "list-objects-v2", "--bucket", BUCKET, region="us-east-1")
    keys = [entry["Key"] for entry in listed["Contents"]]
    assert all(key.startswith("models/") for key in keys)
    assert any(key.endswith("reference.npz") for key in keys)
    assert team.database.sql("SELECT name FROM public.registered_models") == MODEL


def test_the_users_are_apart_from_the_runs_in_the_database(team: Team) -> None:
    assert {ADMIN, READER} <= set(team.database.sql("SELECT username FROM users.users").split())
    assert team.database.sql("SELECT to_regclass('public.users')") == ""


def test_a_login_is_checked_once_a_minute(team: Team) -> None:
    """Checking a password costs a quarter of a second, and a registration asks hundreds of times."""
    user, phrase = "remembered", "a long enough phrase"
    assert team.ask("POST", USERS + "create", json={"username": user, "password": phrase}).status_code == 200
    assert team.ask("GET", "/version", (user, phrase)).status_code == 200
    team.database.sql("UPDATE users.users SET password_hash = 'none' WHERE username = 'remembered'")
    assert team.ask("GET", "/version", (user, phrase)).status_code == 200
    assert team.ask("GET", "/version", (user, "another phrase")).status_code == 401


@pytest.mark.slow
def test_no_secret_is_in_the_log(team: Team, registered: Project) -> None:
    log = team.log.read_text()
    assert "GET /health" in log
    for secret in (ADMIN_PASSWORD, READER_PASSWORD, DATABASE_PASSWORD):
        assert secret not in log


@pytest.fixture
def connected(team: Team, monkeypatch: pytest.MonkeyPatch) -> Registry:
    """The registry as this process sees it, logged in to the team's server."""
    for name, value in team.login().items():
        monkeypatch.setenv(name, value)
    return connect()


@pytest.fixture
def nothing_promoted(registered: Project, connected: Registry) -> None:
    mlflow_client().delete_registered_model_alias(MODEL, promotion.CHAMPION)
    connected.set_model_tag(MODEL, "champion_history", "[]")


@pytest.mark.slow
@pytest.mark.usefixtures("nothing_promoted")
def test_who_may_only_read_promotes_nothing_by_command_or_in_the_ui(team: Team, registered: Project) -> None:
    printed = as_reader(team, registered).run("fracture", "promote", "1", code=1).strip()
    assert printed.startswith("error: MLflow at https://")
    assert f"{READER} has no permission for this" in printed
    assert len(printed.splitlines()) == 1
    assert move_champion(team, "1", (READER, READER_PASSWORD)) == 403
    assert promotion.CHAMPION not in aliases(team)


def test_who_may_only_read_changes_no_run(team: Team, connected: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Mirror(name="of somebody else")
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", READER)
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", READER_PASSWORD)
    with pytest.raises(InputError, match=f"{READER} has no permission for this"):
        connected.log_metrics(run.run_id, {"loss": 0.1}, 1)
    with pytest.raises(InputError, match=f"{READER} has no permission for this"):
        connected.log_file(run.run_id, team.certificate, "files")


@pytest.mark.parametrize(
    ("setting", "line"),
    [
        (("MLFLOW_TRACKING_PASSWORD", "wrong"), "it does not know this login; set MLFLOW_TRACKING_USERNAME and "),
        (("MLFLOW_TRACKING_SERVER_CERT_PATH", ""), "its certificate is not one that this machine trusts"),
    ],
)
def test_a_wrong_login_or_an_unknown_certificate_is_one_line(
    connected: Registry,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    setting: tuple[str, str],
    line: str,
) -> None:
    name, value = setting
    if value:
        monkeypatch.setenv(name, value)
    else:
        monkeypatch.delenv(name)
    with pytest.raises(InputError, match=line) as raised:
        champion.promote(connected, MODEL, None)
    assert len(str(raised.value).splitlines()) == 1
    Mirror(name="never")
    assert line in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.usefixtures("nothing_promoted")
def test_what_is_promoted_in_the_ui_is_packaged_even_by_who_may_only_read(team: Team, registered: Project) -> None:
    assert move_champion(team, "1") == 200
    printed = as_reader(team, registered).run("fracture", "package")
    assert f"{MODEL} version 1" in printed
    assert f"note: version 1 of {MODEL} became champion outside fracture; this user may not record it" in printed
    assert (registered.root / f"build/bundle/{MODEL}-1/model.json").is_file()


@pytest.mark.slow
@pytest.mark.usefixtures("nothing_promoted")
def test_a_promotion_names_the_login_at_the_server(team: Team, connected: Registry) -> None:
    move = champion.promote(connected, MODEL, "1", reason="read by two")
    assert move.by == ADMIN
    assert aliases(team)[promotion.CHAMPION] == "1"


@pytest.mark.slow
@pytest.mark.usefixtures("nothing_promoted")
def test_who_is_granted_edit_logs_and_promotes(
    team: Team, connected: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    member, phrase = "member", "a long enough phrase"
    experiment = mlflow_client().get_experiment_by_name(EXPERIMENT).experiment_id
    assert team.ask("POST", USERS + "create", json={"username": member, "password": phrase}).status_code == 200
    for kind, name in (("experiment", experiment), ("registered_model", MODEL)):
        grant = {"username": member, "resource_type": kind, "resource_id": name, "permission": "EDIT"}
        assert team.ask("POST", "/api/3.0/mlflow/users/permissions/grant", json=grant).status_code == 200
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", member)
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", phrase)
    run = Mirror(name="of a member")
    run.log_metrics({"loss": 0.5}, 1)
    assert epochs(connected, run.run_id) == [1]
    move = champion.promote(connected, MODEL, "1")
    assert move.by == member
    team.ask("DELETE", USERS + "delete", json={"username": member})
    with pytest.raises(InputError, match="does not know this login"):
        connected.run(run.run_id)


@pytest.mark.slow
def test_a_dump_of_the_one_database_restores_runs_versions_and_users(team: Team, registered: Project) -> None:
    database, dump = team.database, team.database.folder / "backup.dump"
    database.client("pg_dump", "--format", "custom", "--file", dump, "postgres")
    database.sql("CREATE DATABASE restored")
    database.client("pg_restore", "--dbname", "restored", "--clean", "--if-exists", "--no-owner", dump)
    for question in ("SELECT name FROM registered_models", "SELECT count(*) FROM runs", "TABLE users.users"):
        assert database.sql(question, "restored") == database.sql(question) != ""
    database.sql("DROP DATABASE restored")


@pytest.mark.slow
def test_the_upgrade_of_the_manual_runs(team: Team) -> None:
    done = subprocess.run(
        [tracking_python(), "-m", "mlflow", "db", "upgrade", "postgresql+psycopg2://"],
        env={"PATH": os.environ["PATH"], **team.database.environment},
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def epochs(registry: Registry, run_id: str) -> list[int]:
    return registry.steps(run_id, "loss")


@pytest.mark.slow
def test_a_database_that_is_restarted_in_the_middle_of_a_run_loses_nothing(team: Team, connected: Registry) -> None:
    run = Mirror(name="restarted")
    for epoch in range(6):
        run.log_metrics({"loss": 1 / (epoch + 1)}, epoch)
        if epoch in {1, 3}:
            team.database.control("restart", "-m", "immediate")
    assert epochs(connected, run.run_id) == list(range(6))
    client = mlflow_client()
    client.set_terminated(run.run_id)
    assert client.get_run(run.run_id).info.status == "FINISHED"


@pytest.mark.slow
def test_what_was_logged_while_the_database_was_away_is_completed_from_the_files(
    team: Team, registered: Project, connected: Registry, capsys: pytest.CaptureFixture[str]
) -> None:
    candidate = register.Candidate.read(registered.root)
    run = Mirror(name="away")
    rows = candidate.history.to_dict("records")
    run.log_metrics({"loss": rows[0]["loss"]}, int(rows[0]["epoch"]))
    team.database.control("stop", "-m", "immediate")
    try:
        run.log_metrics({"loss": rows[1]["loss"]}, int(rows[1]["epoch"]))
        assert "going on with files only" in capsys.readouterr().out
    finally:
        team.database.control("start")
    training = candidate.training.model_copy(update={"run_id": run.run_id})
    candidate = dataclasses.replace(candidate, training=training)
    assert register.complete_run(connected, candidate) == run.run_id
    assert epochs(connected, run.run_id) == [int(row["epoch"]) for row in rows]


@pytest.mark.slow
def test_a_guesser_of_passwords_has_to_wait(team: Team, folder: Path) -> None:
    (folder / "guessed").mkdir()
    certificate = make_certificate(folder / "guessed", PUBLIC)
    # The same server behind a proxy of its own, or the other tests would wait too.
    with tls(team.inner, certificate, folder / "guessed/proxy") as url:
        other = Team(url, team.inner, certificate.chain, team.database, team.log)
        seen = [other.ask("GET", "/", (ADMIN, f"guess {number}")).status_code for number in range(40)]
        assert seen[:20] == [401] * 20
        assert seen[-1] == 429
        assert other.ask("GET", "/").status_code == 429


@pytest.mark.slow
@pytest.mark.azurite
def test_artifacts_lie_in_a_container_of_blob_storage_as_well(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    places = {name: folder / f"azure/{name}" for name in ("database", "blobs", "artifact")}
    for place in places.values():
        place.mkdir(parents=True)
    with ExitStack() as stack:
        database = stack.enter_context(postgres(places["database"]))
        blobs = stack.enter_context(azurite(places["blobs"]))
        blobs.make("models")
        environment = {
            **settings(database, f"wasbs://models@{ACCOUNT}.blob.core.windows.net/team", free_port()),
            "AZURE_STORAGE_CONNECTION_STRING": blobs.connection,
            "TRACKING_HOST": HOST,
        }
        url = stack.enter_context(server(environment, folder / "azure/server"))
        for name, value in {"URI": url, "USERNAME": ADMIN, "PASSWORD": ADMIN_PASSWORD}.items():
            monkeypatch.setenv(f"MLFLOW_TRACKING_{name}", value)
        monkeypatch.delenv("MLFLOW_TRACKING_SERVER_CERT_PATH", raising=False)
        run_id = Mirror(name="azure").run_id
        given = places["artifact"] / "figures.json"
        given.write_text("{}")
        connect().log_file(run_id, given, "reports")
        [name] = blobs.names("models")
        assert name.startswith("team/")
        assert name.endswith("reports/figures.json")
        assert Path(mlflow_client().download_artifacts(run_id, "reports/figures.json")).read_text() == "{}"


GOOD = {
    "PGHOST": "nowhere.invalid", "PGUSER": "mlflow", "PGPASSWORD": "x", "PGDATABASE": "mlflow",
    "TRACKING_HOST": "tracking.example.org", "TRACKING_ARTIFACTS": "s3://bucket/path",
    "MLFLOW_AUTH_ADMIN_USERNAME": "chief", "MLFLOW_AUTH_ADMIN_PASSWORD": "correct horse battery",
    "MLFLOW_FLASK_SERVER_SECRET_KEY": "fedcba9876543210" * 2,
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "value", "complaint"),
    [
        *((name, "", f"{name} is not set") for name in GOOD),
        ("MLFLOW_AUTH_ADMIN_PASSWORD", "password1234", "is one that people guess"),
        ("MLFLOW_AUTH_ADMIN_PASSWORD", "MyPassword-1-2-3", "is one that people guess"),
        ("MLFLOW_AUTH_ADMIN_PASSWORD", "aaaaaaaaaaaaaaaaaaaa", "is one that people guess"),
        ("MLFLOW_AUTH_ADMIN_PASSWORD", "Passw0rdPassw0rd", "is one that people guess"),
        ("MLFLOW_AUTH_ADMIN_PASSWORD", "changeme-98-76-54", "is one that people guess"),
        ("MLFLOW_AUTH_ADMIN_PASSWORD", "12345678901234", "is one that people guess"),
        ("MLFLOW_AUTH_ADMIN_PASSWORD", "the-Chief-of-staff", "holds the administrator's name"),
        ("MLFLOW_AUTH_ADMIN_PASSWORD", "short-but-new", "is too short"),
        ("MLFLOW_FLASK_SERVER_SECRET_KEY", "0" * 40, "is too weak"),
        ("MLFLOW_FLASK_SERVER_SECRET_KEY", "secret", "is too weak"),
        ("MLFLOW_AUTH_ADMIN_PASSWORD", GOOD["MLFLOW_FLASK_SERVER_SECRET_KEY"], "is the administrator's password"),
        ("TRACKING_ARTIFACTS", "/mlartifacts", "is no address of artifacts"),
        ("TRACKING_ARTIFACTS", "s3://key:secret@bucket", "is no address of artifacts"),
        ("TRACKING_HOST", "https://tracking.example.org", "is no host name"),
        ("TRACKING_HOST", "*", "is no host name"),
        ("TRACKING_WORKERS", "many", "is no number"),
        ("TRACKING_PORT", "99999", "is no number from 1 to 65535"),
    ],
)
def test_a_start_that_were_not_safe_is_refused_in_one_line(name: str, value: str, complaint: str) -> None:
    done = subprocess.run(
        [tracking_python(), START], env={**GOOD, name: value}, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith(f"error: {name}") or complaint.endswith("password")
    assert complaint in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not value or value not in done.stderr


def test_a_port_in_use_is_one_line_before_the_database_is_asked() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        environment = {**GOOD, "TRACKING_LISTEN": "127.0.0.1", "TRACKING_PORT": str(port)}
        done = subprocess.run(
            [tracking_python(), START], env=environment, capture_output=True, text=True, check=False, timeout=60
        )
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: port {port} of 127.0.0.1 cannot be used (Address already in use)")
    assert len(done.stderr.splitlines()) == 1


def test_connections_are_kept_longer_than_any_balancer_keeps_them() -> None:
    command = runpy.run_path(str(START))["command"](GOOD)
    kept = int(command[command.index("--uvicorn-opts") + 1].split()[1])
    template = (FOLDER.parent / "aws/tracking.yaml").read_text()
    found = re.search(r'idle_timeout.timeout_seconds, Value: "(\d+)"', template)
    assert found is not None
    assert kept > int(found[1])


def test_a_wrong_password_of_the_database_is_one_line_and_no_server(database: Postgres) -> None:
    environment = {**settings(database, "s3://bucket/path", free_port()), "PGPASSWORD": "another"}
    done = subprocess.run(
        [tracking_python(), START], env=environment, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 1
    assert "password authentication failed" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def compose() -> dict[str, Any]:
    found: dict[str, Any] = YAML(typ="safe").load(FOLDER / "compose.yaml")
    return found


def test_the_compose_file_is_one_by_its_schema() -> None:
    answer = checkers.run("check-jsonschema", "--builtin-schema", "vendor.compose-spec", FOLDER / "compose.yaml")
    assert answer.returncode == 0, answer.stdout


def test_every_container_is_locked_down_and_only_the_proxy_publishes_a_port() -> None:
    services = compose()["services"]
    for name, service in services.items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
    assert [name for name, service in services.items() if "ports" in service] == ["proxy"]
    assert services["database"]["networks"] == ["inside"]
    assert compose()["networks"]["inside"] == {"internal": True}


def test_compose_gives_every_setting_that_start_demands_and_no_secret_of_its_own() -> None:
    environment = compose()["services"]["tracking"]["environment"]
    assert set(GOOD) <= set(environment)
    for name, value in environment.items():
        if any(word in name for word in ("PASSWORD", "SECRET", "KEY", "TOKEN", "CONNECTION")):
            assert value is None or value.startswith("${"), name
            assert value is None or ":?" in value, name


def test_the_server_is_the_pipelines_mlflow() -> None:
    def version(lock: str) -> str:
        lines = (checkers.ROOT / "locks" / lock).read_text().splitlines()
        return next(line.split()[0] for line in lines if line.startswith("mlflow=="))

    assert version("tracking.txt") == version("full.txt")
