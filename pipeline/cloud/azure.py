"""Deploy a bento to Azure: the resources of deploy/azure/main.bicep, the image, and a check that it answers."""

import ipaddress
import json
import os
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.cloud.client import Client, Reason, RefusedError
from pipeline.cloud.deployment import Cloud, Hands, Release, Service, publish
from pipeline.cloud.probe import Endpoint
from pipeline.cloud.push import Login
from pipeline.errors import InputError
from pipeline.files import read_json

KEYS = "API_KEYS"
"""The environment variable with the service's keys, as the service itself reads them."""
_DEPLOYMENT = "bone-fracture"
_REPOSITORY = "bone-fracture"
_REGISTRY_USER = "00000000-0000-0000-0000-000000000000"  # who comes with what `az acr login` gives
_OURS = ("image", "apiKeys")  # parameters that only this module gives


@dataclass(frozen=True)
class AzureRequest:
    """What a person asks for."""

    group: str  # an existing resource group
    folder: Path  # of template and parameters
    parameters: Mapping[str, Any] = field(default_factory=dict)  # beside those of main.parameters.json
    keys: str = ""  # separated by commas; empty keeps those in the vault

    @property
    def template(self) -> Path:
        """The Bicep template."""
        return self.folder / "main.bicep"


def make_azure_client(dry: bool = False, show: Callable[[str], None] = print) -> Client:
    """The Azure CLI."""
    return Client(
        program="az",
        install="install the Azure CLI of its makers",
        options=("--output", "json", "--only-show-errors"),
        reasons=(
            Reason(
                r"(?i)az login|AADSTS\d+|refresh token", "nobody is logged in to Azure, or no longer; run `az login`"
            ),
            Reason(r"ResourceGroupNotFound", "{said}; make it: `az group create --name NAME --location REGION`"),
            Reason(r"AuthorizationFailed", "the login may not do that ({said}); docs/cloud/azure.md lists the rights"),
            Reason(
                r"QuotaExceeded|(?i:quota)", "a quota of the subscription is used up ({said}); raise it under Usage"
            ),
            Reason(
                r"SubscriptionNotFound|No subscriptions found",
                "the login sees no subscription ({said}); choose one with `az account set --subscription NAME`",
            ),
            Reason(r"MissingSubscriptionRegistration", "{said}; run the `az provider register` that it names, once"),
        ),
        dry=dry,
        show=show,
    )


@dataclass(frozen=True)
class Acr:
    """The service's images in a registry that the deployment made."""

    client: Client
    server: str

    listing = "az acr repository show-tags"
    left_behind = ""  # of the group, which is deleted as a whole

    @property
    def repository(self) -> str:
        """What an image's address begins with, without its tag."""
        return f"{self.server}/{_REPOSITORY}"

    @property
    def _name(self) -> str:
        return self.server.split(".", maxsplit=1)[0]

    def digest(self, tag: str) -> str | None:
        """The digest of a pushed image, None when there is no such tag."""
        image = f"{_REPOSITORY}:{tag}"
        try:
            answer = self.client.read("acr", "repository", "show", "--name", self._name, "--image", image)
        except RefusedError as error:
            if "not found" in error.said.lower() or "unknown" in error.said.lower():
                return None
            raise
        return str(answer["digest"])

    def make(self) -> None:
        """It is there: the template makes it first."""

    def login(self) -> Login:
        """A login from a token of this person."""
        token = self.client.read("acr", "login", "--name", self._name, "--expose-token")["accessToken"]
        return Login(self.server, _REGISTRY_USER, token)


class Azure(Cloud[dict[str, Any]]):
    """The service on Container Apps; its plan is the template's parameters."""

    def __init__(self, request: AzureRequest, client: Client) -> None:
        super().__init__(client)
        self.request = request

    def preflight(self) -> dict[str, Any]:
        """Everything that can be wrong before anything is made; the template's parameters."""
        request, client = self.request, self.client
        parameters = _wanted(request)
        client.require()
        client.read("account", "show")
        client.read("group", "show", "--name", request.group)
        vaults = client.read("keyvault", "list", "--resource-group", request.group)
        if not (vaults or request.keys):
            raise InputError(
                f"{KEYS}: set it to the service's first keys, separated by commas (`openssl rand -hex 24`)"
            )
        return parameters

    def rehearse(self, plan: dict[str, Any], tool: str) -> None:
        """Show the commands that `make` would run."""
        show = self.client.show
        self._apply(plan)
        show("$ fracture image --tag SERVER/bone-fracture:TAG    # not run")
        self.client.change("acr", "login", "--name", "REGISTRY", "--expose-token")
        show(f"$ {tool} push SERVER/bone-fracture:TAG    # not run")
        self._apply({**plan, "image": "SERVER/bone-fracture@DIGEST"})

    def make(self, plan: dict[str, Any], hands: Hands, release: Release) -> Service:
        """Apply the template twice: the registry has to be there before the image, the image before the app."""
        show = self.client.show
        show(f"registry, vault, network and logs of {self.request.group}")
        images = Acr(self.client, str(self._apply(plan)["registryServer"]["value"]))
        digest = publish(images, release, hands, show)
        show("the app, its rights and its alerts")
        made = self._apply({**plan, "image": f"{images.repository}@{digest}"})
        host = str(made["address"]["value"]).removeprefix("https://").rstrip("/")
        return Service(
            name="the app",
            endpoint=Endpoint(host, 443, host, tls=True),
            key=self.request.keys.split(",")[0].strip,
            log="bone-fracture-logs",
        )

    def delete(self, ask: Callable[[str], None]) -> bool:
        """Delete the resource group with everything in it."""
        group, client = self.request.group, self.client
        client.require()
        try:
            inside = client.read("resource", "list", "--resource-group", group)
        except RefusedError as error:
            if "ResourceGroupNotFound" in error.said:
                return False
            raise
        names = ", ".join(sorted(entry["name"] for entry in inside)) or "nothing"
        ask(f"delete the resource group {group} with everything in it ({names})?")
        client.change("group", "delete", "--name", group, "--yes")
        return True

    def left_running(self) -> str:
        """What Azure still does after an interruption."""
        return "Azure finishes what it has begun; run the command again, or with --delete"

    def _apply(self, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """Make or update what the template says; its outputs, empty in a dry run."""
        request = self.request
        secret = {"apiKeys": request.keys} if request.keys else {}
        with _file({**parameters, **secret}) as path:
            answer = self.client.change(
                "deployment",
                "group",
                "create",
                "--resource-group",
                request.group,
                "--name",
                _DEPLOYMENT,
                "--template-file",
                str(request.template),
                "--parameters",
                f"@{path}",
            )
        return dict(answer["properties"]["outputs"]) if answer else {}


def _wanted(request: AzureRequest) -> dict[str, Any]:
    """The parameters of the file with those asked for; InputError for one that the template does not know."""
    path = request.folder / "main.parameters.json"
    given = read_json(path, ("parameters",))["parameters"]
    known = _declared(request.template)
    parameters = {name: entry.get("value") for name, entry in given.items()} | dict(request.parameters)
    for name in parameters:
        if name not in known or name in _OURS:
            free = ", ".join(sorted(set(known) - set(_OURS)))
            raise InputError(f"{name}: is not a parameter (--set or {path.name}); there are {free}")
    for name, entry in given.items():
        # The addresses and names of RFC 5737 and RFC 2606: nobody's, so the file was not edited.
        if name not in request.parameters and ("192.0.2." in str(entry) or "@example.org" in str(entry)):
            raise InputError(f"{path}: {name}: still holds the example; put in your own, or give --set {name}=...")
    typed = {name: _typed(name, value, known[name]) for name, value in parameters.items()}
    for name, value in typed.items():
        _check_value(name, value, _limits(request.template, name))
    least, most = (typed.get(name, _default(request.template, name)) for name in ("minReplicas", "maxReplicas"))
    if least > most:
        raise InputError(f"--set minReplicas={least}: is more than maxReplicas={most}")
    return typed


def _default(template: Path, name: str) -> int:
    found = re.search(rf"^param {name} int = (\d+)$", template.read_text(encoding="utf-8"), re.MULTILINE)
    return int(found[1]) if found else 0


def _limits(template: Path, name: str) -> dict[str, int]:
    """The decorators of a parameter that limit its value or length; Azure looks at them only when it begins."""
    above = template.read_text(encoding="utf-8").partition(f"\nparam {name} ")[0].rpartition("\n\n")[2]
    return {kind: int(number) for kind, number in re.findall(r"^@(m\w+)\((\d+)\)", above, re.MULTILINE)}


def _check_value(name: str, value: Any, limits: Mapping[str, int]) -> None:
    size = value if isinstance(value, int) else len(value or "")
    least, most = (limits.get(f"{end}Value", limits.get(f"{end}Length")) for end in ("min", "max"))
    if not isinstance(value, bool) and ((least or 0) > size or (most is not None and most < size)):
        what = "" if isinstance(value, int) else "letters or entries, "
        raise InputError(f"--set {name}={value}: {what}at least {least}" + (f" and at most {most}" if most else ""))
    for one in value if name == "allowedAddresses" else ():
        try:
            ipaddress.ip_network(one)
        except ValueError:
            raise InputError(f"--set {name}={one}: write a range of addresses like 192.0.2.0/24") from None


def _declared(template: Path) -> dict[str, str]:
    """The parameters of a Bicep template -> their type."""
    lines = template.read_text(encoding="utf-8").splitlines()
    return {line.split()[1]: line.split()[2] for line in lines if line.startswith("param ")}


def _typed(name: str, value: Any, kind: str) -> Any:
    if not isinstance(value, str) or kind == "string":
        return value
    if kind == "array":
        return [part.strip() for part in value.split(",")]
    try:
        return int(value) if kind == "int" else {"true": True, "false": False}[value.lower()]
    except (ValueError, KeyError):
        raise InputError(f"--set {name}={value}: is no {kind}") from None


@contextmanager
def _file(parameters: Mapping[str, Any]) -> Iterator[Path]:
    """A file of parameters that only this user can read: every user of the machine can see the words of a command."""
    with tempfile.TemporaryDirectory(prefix="fracture-azure-") as name:
        path = Path(name) / "parameters.json"
        content = {
            "$schema": "https://schema.management.azure.com/schemas/2019-04-01/deploymentParameters.json#",
            "contentVersion": "1.0.0.0",
            "parameters": {key: {"value": value} for key, value in parameters.items()},
        }
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            json.dump(content, file)
        yield path
