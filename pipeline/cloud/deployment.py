"""Deploy a release: what every cloud has in common, from the first check to the last."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from pipeline.cloud import probe
from pipeline.cloud.client import Client
from pipeline.cloud.probe import Endpoint
from pipeline.cloud.push import Login
from pipeline.errors import InputError

Plan = TypeVar("Plan")


@dataclass(frozen=True)
class Release:
    """What is to be served."""

    bento: Path
    tag: str  # of the image; names the same content for ever
    model: str  # sha256 of the bundle, as the service's answers give it
    picture: Path  # a sample radiograph


@dataclass(frozen=True)
class Hands:
    """What a deployment does on this machine; tests replace it."""

    tool: str  # docker, podman or buildah
    prepare: Callable[[], Release]
    build: Callable[[Path, str], str]  # bento, address -> the address of the local image
    push: Callable[[str, Login], None]  # address, login
    check: Callable[[Endpoint, Release, str], None]  # endpoint, release, API key; InputError
    pause: float = 10.0  # seconds between two looks at what is being made


@dataclass(frozen=True)
class Service:
    """A service that was created or updated, and what a person needs to know about it."""

    name: str  # begins an error line
    endpoint: Endpoint
    key: Callable[[], str]  # an API key to try it with, never shown; empty when none is at hand
    log: str  # where its log is
    internal: bool = False  # answers inside its network only
    before: tuple[str, ...] = ()  # lines shown above its address
    after: tuple[str, ...] = ()  # and below


class ImageRegistry(Protocol):
    """Where a cloud keeps the images of the service."""

    @property
    def repository(self) -> str:
        """What an image's address begins with, without its tag."""

    @property
    def listing(self) -> str:
        """The command that lists the images, for a person."""

    @property
    def left_behind(self) -> str:
        """What stays, and costs, when a push fails; may be empty."""

    def digest(self, tag: str) -> str | None:
        """The digest of a pushed image, None when there is no such tag."""

    def make(self) -> None:
        """Make the registry unless it is there."""

    def login(self) -> Login:
        """A login for a push."""


class Cloud(ABC, Generic[Plan]):
    """The service in one cloud, reached through the cloud's own command line client.

    `Plan` is what the preflight finds out and the later steps need. Every method raises InputError with one line.
    """

    def __init__(self, client: Client) -> None:
        self.client = client

    @abstractmethod
    def preflight(self) -> Plan:
        """Check everything that can be wrong before anything is created."""

    @abstractmethod
    def rehearse(self, plan: Plan, tool: str) -> None:
        """Show the commands that `make` would run; `tool` is docker, podman or buildah."""

    @abstractmethod
    def make(self, plan: Plan, hands: Hands, release: Release) -> Service:
        """Make the service, or update it; what a failure leaves behind and costs is named."""

    @abstractmethod
    def delete(self, ask: Callable[[str], None]) -> bool:
        """Delete everything once `ask` has agreed; False if there was nothing."""

    @abstractmethod
    def left_running(self) -> str:
        """What an interrupted command may have left, for a person."""


def deploy(cloud: Cloud[Plan], hands: Hands) -> None:
    """Create or update a service and print its address; in a dry run only show the commands. Raises InputError."""
    plan, show = cloud.preflight(), cloud.client.show
    if cloud.client.dry:
        cloud.rehearse(plan, hands.tool)
        show("# then: wait for /readyz, score a sample radiograph, print the address")
        show("nothing was changed")
        return
    release = hands.prepare()
    look(cloud.make(plan, hands, release), release, hands, show)


def publish(registry: ImageRegistry, release: Release, hands: Hands, show: Callable[[str], None]) -> str:
    """The digest of a release's image in the registry, built and pushed unless it is there. Raises InputError."""
    address = f"{registry.repository}:{release.tag}"
    found = registry.digest(release.tag)
    if found:
        show(f"{address}: is in the registry")
        show(f"image: {registry.repository}@{found}")
        return found
    show(f"building {address}")
    hands.build(release.bento, address)
    registry.make()
    show(f"pushing {address}")
    try:
        hands.push(address, registry.login())
    except InputError as error:
        left = registry.left_behind
        raise InputError(f"{error}; {left}" if left else str(error)) from None
    found = registry.digest(release.tag)
    if not found:
        raise InputError(f"{address}: was pushed and is not there; look at `{registry.listing}`")
    show(f"image: {registry.repository}@{found}")
    return found


def look(service: Service, release: Release, hands: Hands, show: Callable[[str], None]) -> None:
    """Ask a service whether it answers as it should, and say where; InputError names its log."""
    if service.internal:
        show(f"{service.endpoint.url} answers inside its network only, and was not asked from here")
        return
    try:
        hands.check(service.endpoint, release, service.key())
    except InputError as error:
        raise InputError(
            f"{service.name} stands and costs, but does not answer as it should: {error}; its log: {service.log}"
        ) from None
    for line in (*service.before, f"ready: {service.endpoint.url}", *service.after):
        show(line)


def check(endpoint: Endpoint, release: Release, key: str, show: Callable[[str], None]) -> None:
    """Wait until an endpoint is ready and let it score the release's sample radiograph. Raises InputError."""
    show(f"waiting for {endpoint.url}/readyz")
    probe.wait_until_ready(endpoint)
    answer = probe.smoke_test(endpoint, release.picture.read_bytes(), key, release.model)
    if answer is None:
        show("it asks for a key, as it should; no radiograph was scored, as no key is at hand here")
        return
    show(f"a sample radiograph: {answer['label']}, probability {answer['probability']}")
