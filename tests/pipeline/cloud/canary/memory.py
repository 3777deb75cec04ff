"""A canary of no cloud, which keeps what was done to it."""

from pathlib import Path

from pipeline.cloud.canary.steps import Canary, Candidate, Standing
from pipeline.cloud.client import Client
from pipeline.cloud.deployment import Hands, Release, Service, look
from pipeline.cloud.probe import Endpoint
from pipeline.errors import InputError

RELEASE = Release(Path("bento"), "2-abc", "a" * 64, Path("sample.png"))


class MemoryCanary(Canary):
    """A second version in memory; a step named in `failing` fails as often as its number says."""

    has_alarms = True

    def __init__(self, standing: Standing | None = None) -> None:
        self.said: list[str] = []
        super().__init__(Client("cloud", "install it", show=self.said.append))
        self.standing = standing
        self.done: list[str] = []
        self.failing: dict[str, int] = {}
        self.ringing: list[str] = []

    def _step(self, name: str) -> None:
        self.done.append(name)
        if self.failing.get(name, 0):
            self.failing[name] -= 1
            raise InputError(f"{name} failed")

    def find(self) -> Standing | None:
        """What stands."""
        if self.failing.get("find"):
            self._step("find")
        return self.standing

    def place(self, candidate: Candidate) -> None:
        """Stand without a share."""
        self._step("place")
        self.standing = Standing("image", candidate.model, 0)

    def try_out(self, candidate: Candidate) -> None:
        """Be asked at https://host."""
        service = Service("the canary", Endpoint("host", 443, "host", tls=True), lambda: "key", "its log")
        look(service, candidate.release, candidate.hands, self.said.append)

    def shift(self, share: int) -> int:
        """Take a share."""
        assert self.standing
        self.standing = Standing(self.standing.image, self.standing.model, share)
        self._step("shift")
        return share

    def withdraw(self) -> None:
        """Take no share."""
        self._step("withdraw")
        if self.standing:
            self.standing = Standing(self.standing.image, self.standing.model, 0)

    def remove(self) -> None:
        """Be gone."""
        self._step("remove")
        self.standing = None

    def take_over(self) -> None:
        """Be the service."""
        self._step("take_over")

    def alarms(self) -> list[str]:
        """What rings."""
        if self.failing.get("alarms"):
            self._step("alarms")
        return self.ringing


def hands(checked: list[str], fault: str = "") -> Hands:
    """Hands that keep whom they checked; with `fault` the check fails."""

    def check(endpoint: Endpoint, release: Release, key: str) -> None:
        checked.append(endpoint.url)
        if fault:
            raise InputError(fault)

    return Hands("docker", lambda: RELEASE, lambda _, address: address, lambda *_: None, check, 0)
