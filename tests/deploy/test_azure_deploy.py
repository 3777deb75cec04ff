"""`fracture deploy azure` against a recording stand-in of `az`: no subscription has seen it."""

import json
import os
import shutil
import stat
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from pipeline.cloud import azure, deployment
from pipeline.cloud.azure import Azure, AzureRequest, make_azure_client
from pipeline.cloud.deployment import Hands, Release
from pipeline.cloud.probe import Endpoint
from pipeline.cloud.push import Login
from pipeline.errors import InputError
from tests.deploy.standins import recorded

ROOT = Path(__file__).parents[2]
SERVER = "bonefracture1.azurecr.io"
DIGEST = "sha256:" + "d" * 64
SETTINGS = {"allowedAddresses": "198.51.100.0/24", "alertEmail": "it@hospital.test"}
OUTPUTS = {
    "registryServer": {"value": SERVER},
    "address": {"value": "https://bone-fracture.region.azurecontainerapps.io"},
}
ANSWERS: dict[str, list[dict[str, Any]]] = {
    "account show": [{"out": {"name": "subscription"}}],
    "group show": [{"out": {"name": "fracture"}}],
    "keyvault list": [{"out": []}],
    "deployment group": [{"out": {"properties": {"outputs": OUTPUTS}}}],
    "acr repository": [
        {"err": "ERROR: Error: manifest tagged by 'x' is not found.", "code": 1},
        {"out": {"digest": DIGEST}},
    ],
    "acr login": [{"out": {"accessToken": "token", "loginServer": SERVER}}],
    "resource list": [{"out": [{"name": "vault"}, {"name": "app"}]}],
    "group delete": [{"out": ""}],
}


@dataclass
class Cloud:
    """What was done to it."""

    folder: Path
    said: list[str] = field(default_factory=list)
    built: list[str] = field(default_factory=list)
    pushed: list[Login] = field(default_factory=list)
    checked: list[tuple[Endpoint, str]] = field(default_factory=list)

    @property
    def calls(self) -> list[str]:
        path = self.folder / "calls.txt"
        return path.read_text().splitlines() if path.exists() else []

    def hands(self, picture: Path) -> Hands:
        release = Release(picture.parent, "1-abc", "a" * 64, picture)

        def build(bento: Path, address: str) -> str:
            self.built.append(address)
            return address

        def push(address: str, login: Login) -> None:
            self.pushed.append(login)

        def check(endpoint: Endpoint, served: Release, key: str) -> None:
            self.checked.append((endpoint, key))

        return Hands("docker", lambda: release, build, push, check, 0)


Begin = Callable[..., Cloud]


@pytest.fixture
def begin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Begin:
    """Give a function that puts an `az` with other answers on the otherwise empty PATH."""

    def make(answers: Mapping[str, Sequence[Mapping[str, Any]]] | None = None) -> Cloud:
        folder = recorded(tmp_path / "az", {**ANSWERS, **(answers or {})}, "az")
        monkeypatch.setenv("PATH", str(folder))
        return Cloud(folder)

    return make


def request(keys: str = "first,second", **parameters: str) -> AzureRequest:
    return AzureRequest("fracture", ROOT / "deploy/azure", {**SETTINGS, **parameters}, keys)


def deploy(cloud: Cloud, asked: AzureRequest, tmp_path: Path, dry: bool = False) -> None:
    served = Azure(asked, make_azure_client(dry, cloud.said.append))
    deployment.deploy(served, cloud.hands(tmp_path / "picture.png"))


def test_the_registry_comes_before_the_image_and_the_app_after_it(begin: Begin, tmp_path: Path) -> None:
    cloud = begin()
    deploy(cloud, request(), tmp_path)
    asked = [" ".join(call.split()[:3]) for call in cloud.calls]
    assert asked == [
        "account show --output", "group show --name", "keyvault list --resource-group", "deployment group create",
        "acr repository show", "acr login --name", "acr repository show", "deployment group create",
    ]  # fmt: skip
    assert cloud.built == [f"{SERVER}/bone-fracture:1-abc"]
    assert cloud.pushed == [Login(SERVER, "00000000-0000-0000-0000-000000000000", "token")]


def test_the_answering_app_is_asked_with_the_first_key(begin: Begin, tmp_path: Path) -> None:
    cloud = begin()
    deploy(cloud, request(), tmp_path)
    host = "bone-fracture.region.azurecontainerapps.io"
    assert cloud.checked == [(Endpoint(host, 443, host, tls=True), "first")]
    assert cloud.said[-1] == f"ready: https://{host}"


def test_an_image_that_is_there_is_not_built_again(begin: Begin, tmp_path: Path) -> None:
    cloud = begin({"acr repository": [{"out": {"digest": DIGEST}}]})
    deploy(cloud, request(), tmp_path)
    assert (cloud.built, cloud.pushed) == ([], [])


def test_parameters_and_keys_go_through_a_file_of_this_user_alone(
    begin: Begin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[dict[str, Any]] = []
    modes: list[int] = []
    run = azure.Client.change

    def spy(client: azure.Client, *words: str) -> Any:
        for word in words:
            if word.startswith("@"):
                path = Path(word[1:])
                seen.append(json.loads(path.read_text())["parameters"])
                modes.append(stat.S_IMODE(path.stat().st_mode))
        return run(client, *words)

    monkeypatch.setattr(azure.Client, "change", spy)
    cloud = begin()
    deploy(cloud, request(minReplicas="3", zoneRedundant="false"), tmp_path)
    assert modes == [0o600, 0o600]
    first, second = seen
    assert first["apiKeys"] == {"value": "first,second"}
    assert first["minReplicas"] == {"value": 3}
    assert first["zoneRedundant"] == {"value": False}
    assert first["allowedAddresses"] == {"value": ["198.51.100.0/24"]}
    assert "image" not in first
    assert second["image"] == {"value": f"{SERVER}/bone-fracture@{DIGEST}"}
    assert not any("first,second" in call for call in cloud.calls)


def test_a_dry_run_changes_nothing_and_shows_no_key(begin: Begin, tmp_path: Path) -> None:
    cloud = begin()
    deploy(cloud, request(), tmp_path, dry=True)
    assert {" ".join(call.split()[:2]) for call in cloud.calls} == {"account show", "group show", "keyvault list"}
    assert cloud.said[-1] == "nothing was changed"
    assert not any("first" in line for line in cloud.said)


@pytest.mark.parametrize(
    ("key", "printed", "line"),
    [
        ("account show", "ERROR: Please run 'az login' to setup account.", "nobody is logged in to Azure"),
        (
            "group show",
            "ERROR: (ResourceGroupNotFound) Resource group 'fracture' could not be found.",
            "az group create",
        ),
        ("deployment group", "ERROR: (AuthorizationFailed) The client ...", "the login may not do that"),
        ("deployment group", "ERROR: (QuotaExceeded) Cores", "a quota of the subscription is used up"),
        (
            "deployment group",
            "ERROR: (MissingSubscriptionRegistration) not registered for Microsoft.App",
            "az provider",
        ),
    ],
)
def test_what_cannot_work_is_one_line(begin: Begin, tmp_path: Path, key: str, printed: str, line: str) -> None:
    cloud = begin({key: [{"err": printed, "code": 1}]})
    with pytest.raises(InputError, match=line) as error:
        deploy(cloud, request(), tmp_path)
    assert "\n" not in str(error.value)
    assert cloud.built == []


def test_without_the_client_the_line_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match="az: not found; install the Azure CLI"):
        Azure(request(), make_azure_client()).preflight()


def test_the_first_keys_are_asked_for(begin: Begin, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="API_KEYS: set it"):
        deploy(begin(), request(keys=""), tmp_path)


def test_later_the_vaults_keys_stay(begin: Begin, tmp_path: Path) -> None:
    cloud = begin({"keyvault list": [{"out": [{"name": "vault"}]}]})
    deploy(cloud, request(keys=""), tmp_path)
    assert cloud.checked[0][1] == ""


@pytest.mark.parametrize(
    ("changed", "line"),
    [
        ({"minReplica": "3"}, "minReplica: is not a parameter"),
        ({"image": "x"}, "image: is not a parameter"),
        ({"minReplicas": "0"}, "--set minReplicas=0: at least 1 and at most 300"),
        ({"minReplicas": "9", "maxReplicas": "2"}, "--set minReplicas=9: is more than maxReplicas=2"),
        ({"minReplicas": "11"}, "--set minReplicas=11: is more than maxReplicas=10"),
        ({"name": "x"}, "--set name=x: letters or entries, at least 3 and at most 20"),
        ({"logRetentionDays": "7"}, "--set logRetentionDays=7: at least 30 and at most 730"),
        ({"allowedAddresses": "10.0.0.0/8,foo"}, "--set allowedAddresses=foo: write a range of addresses"),
        ({"apiKeys": "x"}, "apiKeys: is not a parameter"),
        ({"minReplicas": "three"}, "--set minReplicas=three: is no int"),
        ({"zoneRedundant": "maybe"}, "--set zoneRedundant=maybe: is no bool"),
    ],
)
def test_a_wrong_setting_stops_before_anything_is_asked(begin: Begin, changed: dict[str, str], line: str) -> None:
    cloud = begin()
    with pytest.raises(InputError, match=line):
        Azure(request(**changed), make_azure_client()).preflight()
    assert cloud.calls == []


def test_a_file_that_still_holds_the_example_is_refused(begin: Begin) -> None:
    begin()
    with pytest.raises(InputError, match="allowedAddresses: still holds the example"):
        Azure(AzureRequest("fracture", ROOT / "deploy/azure", {}, "key"), make_azure_client()).preflight()


def test_an_edited_file_needs_no_settings(begin: Begin, tmp_path: Path) -> None:
    begin()
    folder = tmp_path / "azure"
    shutil.copytree(ROOT / "deploy/azure", folder)
    path = folder / "main.parameters.json"
    edited = path.read_text().replace("192.0.2.0/24", "198.51.100.0/24").replace("@example.org", "@hospital.test")
    path.write_text(edited)
    found = Azure(AzureRequest("fracture", folder, {}, "key"), make_azure_client()).preflight()
    assert found["allowedAddresses"] == ["198.51.100.0/24"]


def test_deleting_names_what_goes_and_asks(begin: Begin) -> None:
    cloud, asked = begin(), list[str]()
    assert Azure(request(), make_azure_client()).delete(asked.append)
    assert asked == ["delete the resource group fracture with everything in it (app, vault)?"]
    assert cloud.calls[-1].startswith("group delete --name fracture --yes")


def test_a_refusal_deletes_nothing(begin: Begin) -> None:
    cloud = begin()

    def refuse(question: str) -> None:
        raise InputError("nothing was changed")

    with pytest.raises(InputError):
        Azure(request(), make_azure_client()).delete(refuse)
    assert not any(call.startswith("group delete") for call in cloud.calls)


def test_deleting_what_is_not_there_says_so(begin: Begin) -> None:
    begin({"resource list": [{"err": "ERROR: (ResourceGroupNotFound) no", "code": 3}]})
    assert not Azure(request(), make_azure_client()).delete(lambda question: None)


def test_an_app_that_does_not_answer_is_named_with_its_log(begin: Begin, tmp_path: Path) -> None:
    cloud = begin()
    hands = cloud.hands(tmp_path / "picture.png")

    def fail(endpoint: Endpoint, served: Release, key: str) -> None:
        raise InputError("not ready")

    broken = Hands(hands.tool, hands.prepare, hands.build, hands.push, fail, 0)
    with pytest.raises(InputError, match="stands and costs, but does not answer as it should: not ready"):
        deployment.deploy(Azure(request(), make_azure_client(show=cloud.said.append)), broken)


def test_no_variable_of_this_process_is_changed(begin: Begin, tmp_path: Path) -> None:
    cloud, before = begin(), dict(os.environ)
    deploy(cloud, request(), tmp_path)
    assert dict(os.environ) == before
