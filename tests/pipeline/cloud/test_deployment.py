"""What every cloud has in common stands in one module, and no cloud needs another."""

import ast
from pathlib import Path

import pytest

from pipeline.cloud.deployment import Hands, Release, Service, look, publish
from pipeline.cloud.probe import Endpoint
from pipeline.cloud.push import Login
from pipeline.errors import InputError

CLOUD = Path(__file__).parents[3] / "pipeline/cloud"
NAMES = ("aws", "azure", "kubernetes")
RELEASE = Release(Path("bento"), "1-abc", "a" * 64, Path("sample.png"))


def _imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return found


def _names_cloud(imported: set[str], name: str) -> bool:
    packages = (f"pipeline.cloud.{name}", f"pipeline.cloud.canary.{name}")
    return any(one == package or one.startswith(f"{package}.") for one in imported for package in packages)


@pytest.mark.parametrize("name", NAMES)
def test_no_cloud_imports_another(name: str) -> None:
    files = [path for path in CLOUD.rglob("*.py") if name in path.relative_to(CLOUD).with_suffix("").parts]
    assert files
    for path in files:
        for other in set(NAMES) - {name}:
            assert not _names_cloud(_imports(path), other), path


def test_what_clouds_have_in_common_knows_none_of_them() -> None:
    for path in (*CLOUD.glob("*.py"), *CLOUD.glob("canary/*.py")):
        if path.stem not in NAMES:
            assert not any(_names_cloud(_imports(path), name) for name in NAMES), path


class Images:
    """A registry in memory."""

    repository, listing = "host/name", "list"

    def __init__(self, *, keeps: bool = True, left_behind: str = "") -> None:
        self.pushed: set[str] = set()
        self.left_behind = left_behind
        self.keeps = keeps

    def digest(self, tag: str) -> str | None:
        return "sha256:1" if tag in self.pushed else None

    def make(self) -> None:
        """It is there."""

    def login(self) -> Login:
        return Login("host", "user", "password")


def _hands(images: Images, lines: list[str]) -> Hands:
    def build(_bento: Path, address: str) -> str:
        lines.append(f"build {address}")
        return address

    def push(address: str, login: Login) -> None:
        if login.user != "user":
            raise InputError("no login")
        if images.left_behind:
            raise InputError("no route to host")
        if images.keeps:
            images.pushed.add(address.partition(":")[2])

    def check(endpoint: Endpoint, release: Release, key: str) -> None:
        lines.append(f"check {endpoint.url} with {key}")

    return Hands("docker", lambda: RELEASE, build, push, check, 0)


def test_an_image_is_built_and_pushed_once() -> None:
    images, lines = Images(), list[str]()
    hands = _hands(images, lines)
    assert [publish(images, RELEASE, hands, lambda _: None) for _ in range(2)] == ["sha256:1", "sha256:1"]
    assert lines == ["build host/name:1-abc"]


def test_an_image_is_named_by_its_digest_whether_it_was_pushed_or_there() -> None:
    images, shown = Images(), list[str]()
    for _ in range(2):
        publish(images, RELEASE, _hands(images, []), shown.append)
    assert [line for line in shown if line.startswith("image: ")] == ["image: host/name@sha256:1"] * 2


def test_a_push_that_fails_says_what_stays() -> None:
    images = Images(left_behind="the registry stays")
    with pytest.raises(InputError, match=r"^no route to host; the registry stays$"):
        publish(images, RELEASE, _hands(images, []), lambda _: None)


def test_an_image_that_vanishes_is_named_with_the_command_that_lists_them() -> None:
    images = Images(keeps=False)
    with pytest.raises(InputError, match="was pushed and is not there; look at `list`"):
        publish(images, RELEASE, _hands(images, []), lambda _: None)


def test_a_service_inside_its_network_is_not_asked() -> None:
    shown, asked = list[str](), list[str]()
    service = Service("s", Endpoint("host", 443, "host", tls=True), lambda: "key", "log", internal=True)
    look(service, RELEASE, _hands(Images(), asked), shown.append)
    assert asked == []
    assert shown == ["https://host answers inside its network only, and was not asked from here"]


def test_what_a_person_does_next_stands_around_the_address() -> None:
    shown = list[str]()
    service = Service(
        "s", Endpoint("host", 443, "host", tls=True), lambda: "key", "log", before=("above",), after=("below",)
    )
    look(service, RELEASE, _hands(Images(), []), shown.append)
    assert shown == ["above", "ready: https://host", "below"]
