"""A canary on AWS, before a moto server: shares are weights of a listener rule, and go back with it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pipeline.cloud.aws import cloudformation
from pipeline.cloud.aws.client import make_aws_client
from pipeline.cloud.aws.preflight import AwsRequest
from pipeline.cloud.aws.service import Aws
from pipeline.cloud.canary import aws, steps
from pipeline.cloud.canary.aws import AwsCanary
from pipeline.cloud.canary.steps import Standing
from pipeline.cloud.canary.watch import Patience, watch
from pipeline.cloud.client import Client
from pipeline.cloud.deployment import Release
from pipeline.errors import InputError
from tests.deploy.standins import read_template, recorded
from tests.deploy.test_aws import MODEL, TEMPLATES, Recorder, ask, using

REGION = "eu-north-1"
NAME = "bone-fracture"


@dataclass
class Site:
    """A service in moto, and what is said and done beside it."""

    environment: Mapping[str, str]
    recorder: Recorder

    def canary(self) -> AwsCanary:
        client = make_aws_client(REGION, show=self.recorder.lines.append)
        return AwsCanary(AwsRequest(REGION, TEMPLATES), client, pause=0)

    def start(self, share: int, tag: str = "2-bbbb", model: str = "bone-fracture/2") -> None:
        self.recorder.release = Release(Path("bento"), tag, MODEL, Path("sample.png"))
        with using(self.environment):
            steps.start(self.canary(), self.recorder.hands(), model, share)

    def weights(self) -> list[list[int]]:
        """The weights of each rule that divides requests."""
        stack = ask(
            self.environment, "cloudformation", "describe-stack-resources", "--stack-name", NAME, region=REGION
        )["StackResources"]  # fmt: skip
        listener = next(one["PhysicalResourceId"] for one in stack if one.get("LogicalResourceId") == "Listener")
        rules = ask(self.environment, "elbv2", "describe-rules", "--listener-arn", listener, region=REGION)["Rules"]
        return [
            [int(group["Weight"]) for group in action["ForwardConfig"]["TargetGroups"]]
            for rule in rules
            for action in rule["Actions"]
            if len(action.get("ForwardConfig", {}).get("TargetGroups", ())) > 1
        ]

    def image(self, name: str = NAME) -> str:
        with using(self.environment):
            found = cloudformation.find(make_aws_client(REGION), name)
        assert found is not None
        return found.parameters["Image"]

    def canary_image(self) -> str:
        return self.image(f"{NAME}-canary")


@pytest.fixture(scope="module")
def site(cloud: Mapping[str, str], tmp_path_factory: pytest.TempPathFactory) -> Site:
    """The service in a network that was there before, without encryption."""
    recorder = Recorder(tmp_path_factory.mktemp("site"))
    made = Site(cloud, recorder)
    subnets = ask(cloud, "ec2", "describe-subnets", region=REGION)["Subnets"][:2]
    names = ",".join(subnet["SubnetId"] for subnet in subnets)
    network = {"VpcId": subnets[0]["VpcId"], "PublicSubnets": names, "PrivateSubnets": names}
    recorder.deploy(cloud, REGION, plain_http=True, parameters=network)
    assert recorder.asked[0][0].startswith("http://")
    return made


@pytest.mark.slow
def test_a_share_of_the_requests_goes_to_the_canary_and_comes_back_and_all_is_deleted(site: Site) -> None:
    """One life of a service with a canary, as each of its steps asks the real client a dozen times."""
    before = site.image()
    site.start(10)
    assert site.weights() == [[90, 10]]
    assert site.image() == before
    site.start(25)
    assert site.weights() == [[75, 25]]
    with using(site.environment):
        assert site.canary().find() == Standing(site.canary_image(), "bone-fracture/2", 25)
    # moto does not know the protocol in which this client asks CloudWatch: nobody says how the canary does.
    with using(site.environment):
        verdict = watch(site.canary(), None, Patience(failures=2), sleep=lambda _: None)
    assert not verdict.good
    assert "every request goes to the service again" in verdict.words
    assert site.weights() == []
    site.start(50)  # the rule was changed behind CloudFormation's back
    assert site.weights() == [[50, 50]]
    canary = site.canary_image()
    with using(site.environment):
        steps.promote(site.canary(), "bone-fracture/2")
        assert not steps.end(site.canary())
    assert site.weights() == []
    assert site.image() == canary != before
    with pytest.raises(InputError, match="serves bone-fracture/2 to everybody already"):
        site.start(10)
    _assert_that_it_goes(site)


def _assert_that_it_goes(site: Site) -> None:
    """Delete the service, whose load balancer, images and logs go with it; a second time there is nothing to delete."""
    # CloudFormation empties the registry (EmptyOnDelete); moto does not.
    assert read_template(TEMPLATES / "registry.yaml")["Resources"]["Images"]["Properties"]["EmptyOnDelete"] is True
    ask(site.environment, "ecr", "batch-delete-image", "--repository-name", NAME, "--image-ids", "imageTag=1-aaaa",
        "imageTag=2-bbbb", region=REGION)  # fmt: skip
    asked: list[str] = []
    with using(site.environment):
        served = Aws(AwsRequest(REGION, TEMPLATES), make_aws_client(REGION, show=lambda _: None), pause=0)
        assert served.delete(asked.append)
        assert not served.delete(asked.append)
    assert asked == [f"delete {NAME} in {REGION}, with its images, keys and logs?"] * 2
    for words, key in (
        (("cloudformation", "describe-stacks"), "Stacks"), (("elbv2", "describe-load-balancers"), "LoadBalancers"),
        (("ecr", "describe-repositories"), "repositories"),
        (("logs", "describe-log-groups"), "logGroups"),
    ):  # fmt: skip
        assert ask(site.environment, *words, region=REGION)[key] == []


# The template


@pytest.fixture(scope="module")
def template() -> dict[str, Any]:
    return read_template(TEMPLATES / "canary.yaml")


@pytest.fixture(scope="module")
def properties(template: dict[str, Any]) -> dict[str, Any]:
    return {name: resource["Properties"] for name, resource in template["Resources"].items()}


def test_a_canary_runs_as_the_service_does_but_for_image_and_log(properties: dict[str, Any]) -> None:
    service = read_template(TEMPLATES / "service.yaml")["Resources"]["Task"]["Properties"]
    (container,) = service["ContainerDefinitions"]
    (canary,) = properties["Task"]["ContainerDefinitions"]
    assert canary["LogConfiguration"]["Options"].pop("awslogs-stream-prefix") == "canary"
    assert container["LogConfiguration"]["Options"].pop("awslogs-stream-prefix") == "service"
    assert canary == container
    roles = {"ExecutionRoleArn", "TaskRoleArn", "ContainerDefinitions"}
    assert {key: value for key, value in properties["Task"].items() if key not in roles} == {
        key: value for key, value in service.items() if key not in roles
    }


def test_no_request_is_divided_before_the_canary_answers(template: dict[str, Any]) -> None:
    traffic = template["Resources"]["Traffic"]
    assert traffic["DependsOn"] == "Service"
    assert traffic["Condition"] == "Sharing"
    assert template["Parameters"]["Share"]["Default"] == 0


def test_metrics_stay_inside_for_those_who_ask_the_canary(properties: dict[str, Any]) -> None:
    inside = read_template(TEMPLATES / "service.yaml")["Resources"]["MetricsStayInside"]["Properties"]["Priority"]
    assert inside < properties["Check"]["Priority"] < properties["Traffic"]["Priority"]


def test_a_browser_stays_with_one_version(properties: dict[str, Any]) -> None:
    (action,) = properties["Traffic"]["Actions"]
    assert action["ForwardConfig"]["TargetGroupStickinessConfig"] == {"Enabled": True, "DurationSeconds": 3600}


def test_the_alarms_that_the_watcher_asks_for_are_made(properties: dict[str, Any]) -> None:
    names = {properties[name]["AlarmName"]["Fn::Sub"] for name in ("ErrorAlarm", "NobodyAlarm")}
    assert names == {"${AWS::StackName}-errors", "${AWS::StackName}-nobody"}


def test_the_header_that_tries_a_canary_is_the_one_it_listens_to(properties: dict[str, Any]) -> None:
    (condition,) = properties["Check"]["Conditions"]
    config = condition["HttpHeaderConfig"]
    assert {config["HttpHeaderName"]: config["Values"][0]} == aws._TRY


# Doubt


def stack(name: str, status: str = "UPDATE_COMPLETE", **parameters: str) -> dict[str, Any]:
    given = [{"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()]
    found = {"StackName": name, "StackId": f"arn:{name}", "StackStatus": status, "Parameters": given}
    return {"out": {"Stacks": [found]}}


SERVICE = stack(NAME, Image=f"host/{NAME}@sha256:{'1' * 64}")
PARTS = [
    {"LogicalResourceId": name, "PhysicalResourceId": f"arn:{name}"} for name in ("Listener", "TargetGroup")
]  # fmt: skip
RULE = {
    "RuleArn": "arn:rule",
    "Actions": [
        {"ForwardConfig": {"TargetGroups": [
            {"TargetGroupArn": "arn:TargetGroup", "Weight": 90}, {"TargetGroupArn": "arn:other", "Weight": 10},
        ]}}
    ],
}  # fmt: skip


def stand_in(tmp_path: Path, stacks: list[dict[str, Any]], **answers: Any) -> AwsCanary:
    given = {
        "cloudformation describe-stacks": stacks,
        "cloudformation describe-stack-resources": [{"out": {"StackResources": PARTS}}],
        "elbv2 describe-rules": [{"out": {"Rules": [RULE]}}],
        "elbv2 modify-rule": [{"out": ""}],
        **{name.replace("__", " ").replace("_", "-"): value for name, value in answers.items()},
    }
    folder = recorded(tmp_path / "bin", given)
    client = Client(str(folder / "aws"), "install it", show=lambda _: None)
    return AwsCanary(AwsRequest(REGION, TEMPLATES), client, pause=0)


def test_without_a_service_there_is_nothing_to_have_a_canary(tmp_path: Path) -> None:
    none = {"err": "An error occurred (ValidationError): Stack with id x does not exist", "code": 254}
    with pytest.raises(InputError, match=f"there is no service in {REGION} to have a canary"):
        stand_in(tmp_path, [none]).find()


@pytest.mark.slow
def test_requests_come_back_while_a_stack_is_being_changed_and_again_after(tmp_path: Path) -> None:
    changing = stack(f"{NAME}-canary", "UPDATE_IN_PROGRESS")
    canary = stand_in(tmp_path, [SERVICE, changing, changing, stack(f"{NAME}-canary")])
    canary.withdraw()
    asked = [" ".join(line.split()[:2]) for line in (tmp_path / "bin/calls.txt").read_text().splitlines()]
    first, last = asked.index("elbv2 modify-rule"), len(asked) - 1 - asked[::-1].index("elbv2 modify-rule")
    assert "cloudformation describe-stacks" in asked[first:last]


def test_a_rule_that_is_gone_already_is_no_error(tmp_path: Path) -> None:
    gone = {"err": "An error occurred (RuleNotFound) when calling the ModifyRule operation", "code": 254}
    stand_in(tmp_path, [SERVICE, stack(f"{NAME}-canary")], elbv2__modify_rule=[gone]).withdraw()


@pytest.mark.slow
def test_a_service_that_is_deleted_takes_its_canary_along_first(tmp_path: Path) -> None:
    names = (f"{NAME}-canary", NAME, f"{NAME}-registry")
    gone = {"err": "An error occurred (ValidationError): Stack with id x does not exist", "code": 254}
    client = stand_in(
        tmp_path, [*(stack(name) for name in names), gone], cloudformation__delete_stack=[{"out": ""}]
    ).client  # fmt: skip
    assert Aws(AwsRequest(REGION, TEMPLATES), client, pause=0).delete(lambda _: None)
    deleted = [line for line in (tmp_path / "bin/calls.txt").read_text().splitlines() if "delete-stack" in line]
    assert [line.split()[-1] for line in deleted] == list(names)


def test_an_alarm_of_cloudwatch_takes_the_share(tmp_path: Path) -> None:
    states = {f"{NAME}-canary-errors": "ALARM", f"{NAME}-canary-nobody": "OK", f"{NAME}-ErrorAlarm-1": "OK"}
    found = [{"AlarmName": name, "StateValue": state} for name, state in states.items()]
    canary = stand_in(
        tmp_path,
        [SERVICE, stack(f"{NAME}-canary", Image="image", Model="bone-fracture/2")],
        cloudwatch__describe_alarms=[{"out": {"MetricAlarms": found}}],
    )
    verdict = watch(canary, None, Patience())
    assert not verdict.good
    assert verdict.words.startswith(f"{NAME}-canary-errors (CloudWatch): every request goes to the service again")
    assert "elbv2 modify-rule --rule-arn arn:rule" in (tmp_path / "bin/calls.txt").read_text()


def test_an_alarm_that_is_gone_is_a_doubt(tmp_path: Path) -> None:
    found = [{"AlarmName": f"{NAME}-canary-errors", "StateValue": "OK"}]
    canary = stand_in(tmp_path, [SERVICE], cloudwatch__describe_alarms=[{"out": {"MetricAlarms": found}}])
    with pytest.raises(InputError, match=f"{NAME}-canary-nobody: this alarm is gone from CloudWatch"):
        canary.alarms()
