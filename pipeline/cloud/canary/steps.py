"""The steps of a canary in whichever cloud: start it, change its share, promote it, end it."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from pipeline.cloud.client import Client
from pipeline.cloud.deployment import Hands, Release
from pipeline.errors import InputError

LEAST, MOST = 1, 50
"""Of a share, in percent: with more than half, the former version would be the canary."""


@dataclass(frozen=True)
class Standing:
    """A canary as its cloud shows it."""

    image: str  # by digest
    model: str  # the registered model in it, NAME/VERSION
    share: int  # percent of the requests that it answers now


@dataclass(frozen=True)
class Candidate:
    """What is to be a canary, and what this machine does for it."""

    model: str  # NAME/VERSION
    release: Release
    hands: Hands


class Canary(ABC):
    """The second version in one cloud. Every method can be called again, and raises InputError with one line."""

    has_alarms = False
    """Whether `alarms` can say anything."""

    def __init__(self, client: Client) -> None:
        self.client = client

    @abstractmethod
    def find(self) -> Standing | None:
        """The canary that stands, None without one; InputError when there is no service to have one."""

    @abstractmethod
    def place(self, candidate: Candidate) -> None:
        """Bring up a version beside the service, without a share."""

    @abstractmethod
    def try_out(self, candidate: Candidate) -> None:
        """Ask the canary alone whether it answers as it should; InputError when it does not."""

    @abstractmethod
    def shift(self, share: int) -> int:
        """Give the canary this percentage of the requests; what it is in fact, which is never more."""

    @abstractmethod
    def withdraw(self) -> None:
        """Give every request back to the service, in the fastest way there is."""

    @abstractmethod
    def remove(self) -> None:
        """Delete the canary."""

    @abstractmethod
    def take_over(self) -> None:
        """Make the service what the canary is."""

    def alarms(self) -> list[str]:
        """What the cloud's own alarms say now; InputError when they cannot be asked."""
        return []


def check_share(share: int) -> None:
    """InputError unless a canary may have this share."""
    if not LEAST <= share <= MOST:
        raise InputError(f"--share {share}: write a percentage from {LEAST} to {MOST}")


def start(canary: Canary, hands: Hands, model: str, share: int) -> None:
    """Give the champion (`model`: NAME/VERSION) a share of the requests once it was tried. Raises InputError.

    Run again it changes the share; after another promotion it replaces the canary. It gets no request when anything
    fails.
    """
    check_share(share)
    show, found = canary.client.show, canary.find()
    if found is None or found.model != model or not found.share:
        if found is not None and found.share:
            show(f"{found.model} is the canary now, and loses its share")
            canary.withdraw()
        candidate = Candidate(model, hands.prepare(), hands)
        try:
            canary.place(candidate)
            canary.try_out(candidate)
        except InputError as error:
            raise InputError(f"{error}; the canary gets no request, `end` removes it") from None
    with _given_back_on_failure(canary):
        given = canary.shift(share)
    said = f"{given} % of the requests" + (f" now, and at most {share} %" if given < share else "")
    show(f"{model} answers {said}; watch it: fracture deploy canary watch")


def promote(canary: Canary, model: str) -> None:
    """Make the canary the service; `model` is the champion, which it has to be. Raises InputError."""
    found = canary.find()
    if found is None:
        raise InputError("there is no canary to promote; begin with `fracture deploy canary start`")
    if found.model != model:
        raise InputError(
            f"the canary is {found.model} and the champion {model}: promote that version first (fracture promote), "
            "or start the canary again"
        )
    with _given_back_on_failure(canary):
        canary.take_over()
    canary.withdraw()
    canary.remove()
    canary.client.show(f"{model} answers every request")


def end(canary: Canary) -> bool:
    """Give the requests back and remove the canary; False if there was none. Raises InputError."""
    if canary.find() is None:
        return False
    canary.withdraw()
    canary.remove()
    return True


@contextmanager
def _given_back_on_failure(canary: Canary) -> Iterator[None]:
    """Withdraw the canary when the block fails or is interrupted, and say so."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{error}; {give_back(canary)}") from None
    except BaseException:
        canary.client.show(give_back(canary))
        raise


def give_back(canary: Canary, tries: int = 3, pause: Callable[[], None] = lambda: None) -> str:
    """Withdraw the canary, again and again if need be; what came of it, for a person."""
    for left in reversed(range(tries)):
        try:
            canary.withdraw()
        except InputError as error:
            if not left:
                return f"THE CANARY STILL HAS ITS SHARE ({error}); take it back: fracture deploy canary end"
            pause()
            continue
        break
    return "every request goes to the service again"
