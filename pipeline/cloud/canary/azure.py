"""A canary on Azure: a second revision of the container app, and the weights of its ingress."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.cloud.azure import Acr
from pipeline.cloud.canary.steps import Canary, Candidate, Standing
from pipeline.cloud.client import Client, RefusedError
from pipeline.cloud.deployment import Service, look, publish
from pipeline.cloud.probe import Endpoint
from pipeline.errors import InputError

_MODEL, _BESIDE = "CANARY_MODEL", "CANARY_BESIDE"
"""Variables of a canary's revision: its registered model, and the revision that serves everybody else."""


@dataclass(frozen=True)
class _Revision:
    """A revision as Azure shows it."""

    name: str
    active: bool
    weight: int
    host: str
    image: str
    variables: Mapping[str, str]


class AzureCanary(Canary):
    """A second revision of the service's app."""

    def __init__(self, group: str, client: Client, app: str = "bone-fracture", key: str = "") -> None:
        """`group` is the resource group; `key` is an API key to try the canary with, empty when none is at hand."""
        super().__init__(client)
        self.group = group
        self.app = app
        self._key = key

    def find(self) -> Standing | None:
        """The active revision that stands beside another one, with its weight."""
        found = self._canary(self._revisions())
        return Standing(found.image, found.variables[_MODEL], found.weight) if found else None

    def place(self, candidate: Candidate) -> None:
        """Push the image, and make a revision of it that gets no request."""
        revisions = self._revisions()
        former = self._canary(revisions)
        service = self._serving(revisions, former)
        registry = Acr(self.client, service.image.partition("/")[0])
        digest = publish(registry, candidate.release, candidate.hands, self.client.show)
        image = f"{registry.repository}@{digest}"
        if image == service.image:
            raise InputError(f"{self.app}: serves {candidate.model} already; promote another version first")
        name = hashlib.sha256(f"{image} {candidate.model} {service.name}".encode()).hexdigest()[:10]
        suffix = f"canary-{name}"
        # Both come before the revision: in single mode, or as the latest one, it would get every request.
        self.client.tell("containerapp", "revision", "set-mode", *self._app(), "--mode", "multiple")
        self._weigh({service.name: 100, **({former.name: 0} if former else {})})
        there = {revision.name for revision in revisions}
        if former and former.name != f"{self.app}--{suffix}":
            self._deactivate(former.name)
        if f"{self.app}--{suffix}" in there:
            self._change("activate", f"{self.app}--{suffix}")
            return
        self.client.tell(
            "containerapp",
            "revision",
            "copy",
            *self._app(),
            "--from-revision",
            service.name,
            "--image",
            image,
            "--revision-suffix",
            suffix,
            "--set-env-vars",
            f"{_MODEL}={candidate.model}",
            f"{_BESIDE}={service.name}",
        )

    def try_out(self, candidate: Candidate) -> None:
        """Ask the revision at its own address."""
        canary = self._required()
        service = Service(
            name=canary.name,
            endpoint=Endpoint(canary.host, 443, canary.host, tls=True),
            key=lambda: self._key,
            log="bone-fracture-logs",
        )
        look(service, candidate.release, candidate.hands, self.client.show)

    def shift(self, share: int) -> int:
        """Change the weights of the ingress."""
        canary = self._required()
        self._weigh({canary.variables[_BESIDE]: 100 - share, canary.name: share})
        return share

    def withdraw(self) -> None:
        """Give the other revision the whole weight."""
        canary = self._canary(self._revisions())
        if canary is not None:
            self._weigh({canary.variables[_BESIDE]: 100, canary.name: 0})

    def remove(self) -> None:
        """Deactivate the revision; Azure keeps it for a while, without a replica."""
        canary = self._canary(self._revisions())
        if canary is not None:
            self._deactivate(canary.name)

    def take_over(self) -> None:
        """Give the canary the whole weight, then make its revision the only one."""
        canary = self._required()
        latest = self.client.read("containerapp", "show", *self._app())["properties"]["latestRevisionName"]
        if latest != canary.name:
            raise InputError(
                f"{latest}: is newer than the canary {canary.name}; deactivate it, or start the canary again"
            )
        self._weigh({canary.variables[_BESIDE]: 0, canary.name: 100})
        self.client.tell("containerapp", "revision", "set-mode", *self._app(), "--mode", "single")

    def _app(self) -> tuple[str, ...]:
        return ("--name", self.app, "--resource-group", self.group)

    def _revisions(self) -> list[_Revision]:
        self.client.require()
        try:
            found = self.client.read("containerapp", "revision", "list", *self._app(), "--all")
        except RefusedError as error:
            if "ResourceNotFound" in error.said or "does not exist" in error.said:
                raise InputError(
                    f"{self.app}: there is no service in {self.group} to have a canary; "
                    f"fracture deploy azure --resource-group {self.group} makes it"
                ) from None
            raise
        return [_read(entry) for entry in found]

    def _canary(self, revisions: list[_Revision]) -> _Revision | None:
        active = {revision.name: revision for revision in revisions if revision.active}
        beside = [one for one in active.values() if one.variables.get(_BESIDE) in active]
        return max(beside, key=lambda one: one.weight) if beside else None

    def _serving(self, revisions: list[_Revision], canary: _Revision | None) -> _Revision:
        """The revision that serves everybody else."""
        if canary:
            return next(one for one in revisions if one.name == canary.variables[_BESIDE])
        found = [one for one in revisions if one.active and one.weight]
        if len(found) != 1:
            names = ", ".join(one.name for one in found) or "no revision"
            raise InputError(f"{self.app}: {names} answer requests; one revision has to, before there can be a canary")
        return found[0]

    def _required(self) -> _Revision:
        canary = self._canary(self._revisions())
        if canary is None:
            raise InputError(f"{self.app}: its canary is gone; somebody else ended it")
        return canary

    def _weigh(self, weights: Mapping[str, int]) -> None:
        words = [f"{name}={weight}" for name, weight in {"latest": 0, **weights}.items()]
        self.client.tell("containerapp", "ingress", "traffic", "set", *self._app(), "--revision-weight", *words)

    def _deactivate(self, name: str) -> None:
        self._change("deactivate", name)

    def _change(self, verb: str, name: str) -> None:
        self.client.tell("containerapp", "revision", verb, *self._app(), "--revision", name)


def _read(entry: Mapping[str, Any]) -> _Revision:
    properties = entry["properties"]
    (container, *_) = properties["template"]["containers"]
    return _Revision(
        name=str(entry["name"]),
        active=bool(properties.get("active")),
        weight=int(properties.get("trafficWeight") or 0),
        host=str(properties.get("fqdn") or ""),
        image=str(container["image"]),
        variables={one["name"]: one.get("value") or "" for one in container.get("env") or ()},
    )
