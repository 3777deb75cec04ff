"""A canary on Azure, before a recording stand-in of `az`: no subscription has seen it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from pipeline.cloud.azure import make_azure_client
from pipeline.cloud.canary import steps
from pipeline.cloud.canary.azure import AzureCanary
from pipeline.cloud.canary.steps import Standing
from pipeline.cloud.client import Client
from pipeline.errors import InputError
from tests.deploy.standins import recorded
from tests.pipeline.cloud.canary.memory import hands

SERVER = "bonefracture1.azurecr.io"
FIRST, SECOND = (f"{SERVER}/bone-fracture@sha256:{digit * 64}" for digit in "12")
CHAMPION, CANARY = "bone-fracture--abc", "bone-fracture--canary-"
MODEL = "bone-fracture/2"


def revision(name: str, weight: int, image: str = FIRST, active: bool = True, **variables: str) -> dict[str, Any]:
    environment = [{"name": key, "value": value} for key, value in variables.items()]
    environment.append({"name": "API_KEYS", "secretRef": "api-keys"})
    return {
        "name": name,
        "properties": {
            "active": active, "trafficWeight": weight, "fqdn": f"{name}.region.azurecontainerapps.io",
            "template": {"containers": [{"name": "service", "image": image, "env": environment}]},
        },
    }  # fmt: skip


def canary(weight: int, name: str = f"{CANARY}1", beside: str = CHAMPION, active: bool = True) -> dict[str, Any]:
    return revision(name, weight, SECOND, active, CANARY_MODEL=MODEL, CANARY_BESIDE=beside)


ALONE = [revision(CHAMPION, 100)]


class App:
    """The app as `az` shows it, list after list of revisions, and what was asked."""

    def __init__(self, folder: Path, lists: Sequence[Sequence[Mapping[str, Any]]], **answers: Any) -> None:
        self.folder = folder
        self.said: list[str] = []
        given = {
            "containerapp revision": [{"out": list(one)} for one in lists],
            "containerapp show": [{"out": {"properties": {"latestRevisionName": f"{CANARY}1"}}}],
            "containerapp ingress": [{"out": []}],
            "acr repository": [{"out": {"digest": SECOND.partition("@")[2]}}],
            **{name.replace("_", " "): value for name, value in answers.items()},
        }
        program = recorded(folder, given, "az") / "az"
        # Lists of revisions and their changes are one group of commands: a change uses up no list.
        program.write_text(
            program.read_text().replace(
                'asked = " ".join(sys.argv[1:3])',
                'asked = " ".join(sys.argv[1:3])\nif asked == "containerapp revision" and sys.argv[3] != "list":\n'
                "    sys.exit(0)",
            )
        )

    def fail(self, line: str) -> None:
        """Answer everything with this line from now on."""
        (self.folder / "az").write_text(f'#!/bin/sh\necho "{line}" >&2\nexit 1\n')

    def canary(self) -> AzureCanary:
        """The canary of that app."""
        return AzureCanary("fracture", self.client(), key="first")

    def client(self) -> Client:
        """`az`, the stand-in."""
        made = make_azure_client(show=self.said.append)
        return Client(str(self.folder / "az"), made.install, made.options, reasons=made.reasons, show=made.show)

    def changes(self) -> list[str]:
        """What was changed, without what every command has in common."""
        lines = (self.folder / "calls.txt").read_text().splitlines()
        common = "--name bone-fracture --resource-group fracture "
        found = [line.replace(common, "").replace(" --output json --only-show-errors", "") for line in lines]
        return [
            line for line in found if not line.startswith(("containerapp revision list", "acr", "containerapp show"))
        ]


def test_a_revision_gets_no_request_before_it_was_tried_at_its_own_address(tmp_path: Path) -> None:
    app, checked = App(tmp_path, [ALONE, ALONE, [*ALONE, canary(0)]]), list[str]()
    steps.start(app.canary(), hands(checked), MODEL, 10)
    mode, pinned, copy, weighed = app.changes()
    assert mode == "containerapp revision set-mode --mode multiple"
    assert pinned == f"containerapp ingress traffic set --revision-weight latest=0 {CHAMPION}=100"
    assert copy.startswith(f"containerapp revision copy --from-revision {CHAMPION} --image {SECOND} --revision-suffix ")
    assert copy.endswith(f"--set-env-vars CANARY_MODEL={MODEL} CANARY_BESIDE={CHAMPION}")
    assert checked == [f"https://{CANARY}1.region.azurecontainerapps.io"]
    assert weighed == f"containerapp ingress traffic set --revision-weight latest=0 {CHAMPION}=90 {CANARY}1=10"


@pytest.mark.slow
def test_another_share_is_another_weight_alone(tmp_path: Path) -> None:
    app = App(tmp_path, [[revision(CHAMPION, 90), canary(10)]])
    steps.start(app.canary(), hands([]), MODEL, 25)
    assert app.changes() == [f"containerapp ingress traffic set --revision-weight latest=0 {CHAMPION}=75 {CANARY}1=25"]


def test_requests_come_back_by_their_weight_and_the_revision_ends(tmp_path: Path) -> None:
    app = App(tmp_path, [[revision(CHAMPION, 90), canary(10)]])
    assert app.canary().find() == Standing(SECOND, MODEL, 10)
    assert steps.end(app.canary())
    assert app.changes() == [
        f"containerapp ingress traffic set --revision-weight latest=0 {CHAMPION}=100 {CANARY}1=0",
        f"containerapp revision deactivate --revision {CANARY}1",
    ]


@pytest.mark.parametrize(
    "revisions",
    [ALONE, [*ALONE, canary(0, active=False)], [revision(CHAMPION, 0, active=False), canary(100)]],
    ids=["alone", "ended", "promoted"],
)
def test_a_revision_that_stands_beside_no_other_is_no_canary(tmp_path: Path, revisions: list[dict[str, Any]]) -> None:
    app = App(tmp_path, [revisions])
    assert app.canary().find() is None
    assert not steps.end(app.canary())


@pytest.mark.slow
def test_a_promoted_canary_may_have_one_itself(tmp_path: Path) -> None:
    app = App(tmp_path, [[revision(CHAMPION, 0, active=False), canary(90), canary(10, f"{CANARY}2", f"{CANARY}1")]])
    app.canary().withdraw()
    assert app.changes() == [f"containerapp ingress traffic set --revision-weight latest=0 {CANARY}1=100 {CANARY}2=0"]


@pytest.mark.slow
def test_promoted_it_is_the_only_revision(tmp_path: Path) -> None:
    both = [revision(CHAMPION, 50), canary(50)]
    app = App(tmp_path, [both, both, [revision(CHAMPION, 0, active=False), canary(100)]])
    steps.promote(app.canary(), MODEL)
    assert app.changes() == [
        f"containerapp ingress traffic set --revision-weight latest=0 {CHAMPION}=0 {CANARY}1=100",
        "containerapp revision set-mode --mode single",
    ]


@pytest.mark.slow
def test_single_mode_would_choose_the_latest_revision_so_that_it_has_to_be_the_canary(tmp_path: Path) -> None:
    app = App(tmp_path, [[revision(CHAMPION, 50), canary(50)]],
              containerapp_show=[{"out": {"properties": {"latestRevisionName": "bone-fracture--new"}}}])  # fmt: skip
    with pytest.raises(InputError, match="bone-fracture--new: is newer than the canary") as error:
        steps.promote(app.canary(), MODEL)
    assert str(error.value).endswith("every request goes to the service again")
    assert not any("single" in line for line in app.changes())


def test_an_image_that_serves_already_is_refused(tmp_path: Path) -> None:
    app = App(tmp_path, [[revision(CHAMPION, 100, SECOND)]])
    with pytest.raises(InputError, match=f"serves {MODEL} already"):
        steps.start(app.canary(), hands([]), MODEL, 10)
    assert app.changes() == []


@pytest.mark.slow
def test_requests_that_are_divided_already_are_left_alone(tmp_path: Path) -> None:
    app = App(tmp_path, [[revision(CHAMPION, 60), revision("bone-fracture--def", 40)]])
    with pytest.raises(InputError, match="bone-fracture--abc, bone-fracture--def answer requests; one revision has to"):
        steps.start(app.canary(), hands([]), MODEL, 10)
    assert app.changes() == []


def test_without_an_app_there_is_nothing_to_have_a_canary(tmp_path: Path) -> None:
    app = App(tmp_path, [])
    app.fail("ERROR: The containerapp 'bone-fracture' does not exist")
    with pytest.raises(InputError, match="there is no service in fracture to have a canary"):
        app.canary().find()


def test_without_a_login_one_line_says_so(tmp_path: Path) -> None:
    app = App(tmp_path, [])
    app.fail("ERROR: Please run 'az login' to setup account.")
    with pytest.raises(InputError, match="nobody is logged in to Azure"):
        app.canary().find()
