"""AWS without an account: templates checked, stacks made by a moto server, and one line for what cannot work.

What moto does not make of a stack (secret, scaling, alarms), or does not keep (rules out of a security group, the
service's deployment settings), is asserted on the template.
"""

import ast
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import typer

from pipeline.cli import deploy as command
from pipeline.cli import releasing
from pipeline.cloud import deployment, push
from pipeline.cloud.aws import cloudformation, preflight, service
from pipeline.cloud.aws.client import make_aws_client
from pipeline.cloud.aws.preflight import Account, AwsRequest
from pipeline.cloud.aws.service import Aws
from pipeline.cloud.deployment import Hands, Release
from pipeline.cloud.probe import Endpoint
from pipeline.cloud.push import Login
from pipeline.errors import InputError
from tests.deploy.certificates import Certificate
from tests.deploy.standins import read_template, recorded

ROOT = Path(__file__).parents[2]
TEMPLATES = ROOT / "deploy/aws"
REGION = "eu-central-1"
MODEL = "a" * 64
WRITABLE = "/tmp"  # noqa: S108  of a container, not of this machine
Environment = Mapping[str, str]


@contextmanager
def using(environment: Environment) -> Iterator[None]:
    """Nothing but these variables."""
    with mock.patch.dict(os.environ, environment, clear=True):
        yield


def ask(environment: Environment, *words: str, region: str = REGION) -> Any:
    """The real client's JSON answer."""
    done = subprocess.run(
        ["aws", *words, "--region", region, "--output", "json"],
        env=dict(environment), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout) if done.stdout.strip() else None


def imported(environment: Environment, certificate: Certificate, region: str = REGION) -> str:
    """The ARN of a certificate in moto's Certificate Manager."""
    words = ["--certificate", f"fileb://{certificate.chain}", "--private-key", f"fileb://{certificate.key}"]
    return str(ask(environment, "acm", "import-certificate", *words, region=region)["CertificateArn"])


class Recorder:
    """Everything that a deployment does outside of AWS, and what it printed."""

    def __init__(self, folder: Path) -> None:
        self.lines: list[str] = []
        self.built: list[str] = []
        self.asked: list[tuple[str, str]] = []
        self.release = Release(folder / "bento", "1-aaaa", MODEL, folder / "sample.png")

    def build(self, bento: Path, address: str) -> str:
        self.built.append(address)
        return address

    def check(self, endpoint: Endpoint, release: Release, key: str) -> None:
        self.asked.append((endpoint.url, key))

    def hands(self) -> Hands:
        return Hands(
            tool="docker",
            prepare=lambda: self.release,
            build=self.build,
            push=lambda address, login: push.push("docker", address, login),
            check=self.check,
            pause=0,
        )

    def deploy(self, environment: Environment, region: str = REGION, dry: bool = False, **wish: Any) -> None:
        with using(environment):
            client = make_aws_client(region, dry, self.lines.append)
            deployment.deploy(Aws(AwsRequest(region, TEMPLATES, **wish), client), self.hands())


@dataclass(frozen=True)
class Deployed:
    """A service that was made by moto, and updated to a second release."""

    environment: Environment
    certificate: str
    first: Recorder
    docker: list[str]
    resources: Mapping[str, str]
    task: Mapping[str, Any]


@pytest.fixture(scope="module")
def deployed(cloud: Environment, certificate: Certificate, tmp_path_factory: pytest.TempPathFactory) -> Deployed:
    """The service in a network of its own, behind HTTPS."""
    folder = tmp_path_factory.mktemp("deployed")
    environment = {**cloud, "DOCKER_LOG": str(folder / "docker.txt")}
    arn = imported(environment, certificate)
    first = Recorder(folder)
    first.deploy(environment, certificate=arn)
    found = ask(environment, "cloudformation", "describe-stack-resources", "--stack-name", "bone-fracture")
    resources = {entry.get("LogicalResourceId", ""): entry.get("PhysicalResourceId", "")
                 for entry in found["StackResources"]}  # fmt: skip
    task = ask(environment, "ecs", "describe-task-definition", "--task-definition", resources["Task"])
    return Deployed(
        environment, arn, first, (folder / "docker.txt").read_text().splitlines(), resources, task["taskDefinition"]
    )


@pytest.fixture(scope="module")
def template() -> dict[str, Any]:
    return read_template(TEMPLATES / "service.yaml")


@pytest.fixture(scope="module")
def properties(template: dict[str, Any]) -> dict[str, Any]:
    return {name: resource.get("Properties", {}) for name, resource in template["Resources"].items()}


# The templates


def test_cfn_lint_finds_nothing(tool_environment: Environment) -> None:
    done = subprocess.run(
        ["cfn-lint", "--include-checks", "I", "--", *map(str, sorted(TEMPLATES.glob("*.yaml")))],
        env=dict(tool_environment), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, ""), done.stdout + done.stderr


def test_the_template_can_be_sent_as_it_is() -> None:
    assert (TEMPLATES / "service.yaml").stat().st_size < 51_200  # CloudFormation's limit without a bucket


# What is made


def test_the_image_is_built_pushed_and_served_by_its_digest(deployed: Deployed) -> None:
    address = f"123456789012.dkr.ecr.{REGION}.amazonaws.com/bone-fracture:1-aaaa"
    assert deployed.first.built == [address]
    host = address.partition("/")[0]
    assert deployed.docker == [
        f"login --username AWS --password-stdin {host}", f"push {address}", f"logout {host}"
    ]  # fmt: skip
    images = ask(deployed.environment, "ecr", "describe-images", "--repository-name", "bone-fracture")
    digests = {image["imageTags"][0]: image["imageDigest"] for image in images["imageDetails"]}
    assert deployed.task["containerDefinitions"][0]["image"].endswith(f"bone-fracture@{digests['1-aaaa']}")


def test_tags_of_the_registry_cannot_be_moved(deployed: Deployed) -> None:
    found = ask(deployed.environment, "ecr", "describe-repositories")["repositories"][0]
    assert found["imageTagMutability"] == "IMMUTABLE"


def test_it_says_where_it_answers_and_was_asked_there(deployed: Deployed) -> None:
    assert deployed.first.asked == [("https://fracture.example.org", "")]  # moto makes no secret of a stack
    assert "ready: https://fracture.example.org" in deployed.first.lines
    assert any(line.startswith("DNS: fracture.example.org has to be a CNAME") for line in deployed.first.lines)


def test_only_https_is_listened_to(deployed: Deployed) -> None:
    listeners = ask(
        deployed.environment, "elbv2", "describe-listeners", "--load-balancer-arn", deployed.resources["LoadBalancer"]
    )["Listeners"]
    assert [(found["Port"], found["Protocol"]) for found in listeners] == [(443, "HTTPS")]
    assert listeners[0]["Certificates"] == [{"CertificateArn": deployed.certificate}]
    assert listeners[0]["SslPolicy"] == "ELBSecurityPolicy-TLS13-1-2-2021-06"


def test_metrics_are_not_shown_to_the_world(deployed: Deployed) -> None:
    rules = ask(
        deployed.environment, "elbv2", "describe-rules", "--listener-arn", deployed.resources["Listener"]
    )["Rules"]  # fmt: skip
    found = next(rule for rule in rules if rule["Priority"] == "1")
    assert found["Conditions"][0]["PathPatternConfig"]["Values"] == ["/metrics"]
    assert found["Actions"][0]["FixedResponseConfig"]["StatusCode"] == "404"


def test_targets_are_asked_for_readyz_on_port_3000(deployed: Deployed) -> None:
    found = ask(
        deployed.environment,
        "elbv2",
        "describe-target-groups",
        "--target-group-arns",
        deployed.resources["TargetGroup"],
    )["TargetGroups"][0]
    assert (found["HealthCheckPath"], found["Port"], found["TargetType"]) == ("/readyz", 3000, "ip")
    assert found["Matcher"] == {"HttpCode": "200"}


def test_tasks_have_no_way_to_the_internet(deployed: Deployed) -> None:
    tables = ask(
        deployed.environment, "ec2", "describe-route-tables", "--route-table-ids",
        deployed.resources["PrivateRoutes"],
    )["RouteTables"]  # fmt: skip
    routes = [route for table in tables for route in table["Routes"]]
    assert not [route for route in routes if route.get("DestinationCidrBlock") == "0.0.0.0/0"]
    assert not [route for route in routes if "NatGatewayId" in route]
    assert all(route["GatewayId"].partition("-")[0] in {"local", "vpce"} for route in routes)


def test_tasks_reach_four_services_and_the_layers_by_endpoints(deployed: Deployed) -> None:
    found = ask(
        deployed.environment, "ec2", "describe-vpc-endpoints", "--filters",
        f"Name=vpc-id,Values={deployed.resources['Network']}",
    )["VpcEndpoints"]  # fmt: skip
    services = {entry["ServiceName"].removeprefix(f"com.amazonaws.{REGION}."): entry for entry in found}
    assert set(services) == {"s3", "ecr.api", "ecr.dkr", "secretsmanager", "logs"}
    private = {deployed.resources["PrivateSubnetA"], deployed.resources["PrivateSubnetB"]}
    interfaces = [entry for entry in found if entry["VpcEndpointType"] == "Interface"]
    assert len(interfaces) == 4
    assert all(set(entry["SubnetIds"]) == private and entry["PrivateDnsEnabled"] for entry in interfaces)


def test_the_network_spans_two_zones(deployed: Deployed) -> None:
    found = ask(
        deployed.environment, "ec2", "describe-subnets", "--filters",
        f"Name=vpc-id,Values={deployed.resources['Network']}",
    )["Subnets"]  # fmt: skip
    assert len(found) == 4
    assert len({subnet["AvailabilityZone"] for subnet in found}) == 2


def test_only_the_balancer_reaches_a_task(deployed: Deployed) -> None:
    found = ask(
        deployed.environment, "ec2", "describe-security-groups", "--group-ids", deployed.resources["TaskGroup"]
    )["SecurityGroups"][0]["IpPermissions"]  # fmt: skip
    assert [(rule["FromPort"], rule["ToPort"], rule["IpRanges"]) for rule in found] == [(3000, 3000, [])]
    assert [pair["GroupId"] for pair in found[0]["UserIdGroupPairs"]] == [deployed.resources["BalancerGroup"]]


def test_a_task_can_write_below_tmp_only(deployed: Deployed) -> None:
    container = deployed.task["containerDefinitions"][0]
    assert container["readonlyRootFilesystem"] is True
    assert container["mountPoints"] == [{"sourceVolume": "tmp", "containerPath": WRITABLE, "readOnly": False}]
    values = {entry["name"]: entry["value"] for entry in container["environment"]}
    assert values["BENTOML_HOME"] == f"{WRITABLE}/bentoml"
    assert values["HOME"] == values["TMPDIR"] == WRITABLE


def test_a_task_runs_as_a_user_without_rights(deployed: Deployed) -> None:
    container = deployed.task["containerDefinitions"][0]
    assert container["user"] == "10001:10001"
    assert container["privileged"] is False
    assert container["linuxParameters"]["capabilities"] == {"drop": ["ALL"]}


def test_keys_come_from_a_secret_and_never_stand_in_the_environment(deployed: Deployed) -> None:
    container = deployed.task["containerDefinitions"][0]
    assert [entry["name"] for entry in container["secrets"]] == ["API_KEYS"]
    assert "API_KEYS" not in {entry["name"] for entry in container["environment"]}


def test_logs_are_kept_thirty_days(deployed: Deployed) -> None:
    groups = ask(
        deployed.environment, "logs", "describe-log-groups", "--log-group-name-prefix", deployed.resources["Logs"]
    )["logGroups"]  # fmt: skip
    assert [group["retentionInDays"] for group in groups] == [30]
    options = deployed.task["containerDefinitions"][0]["logConfiguration"]["options"]
    assert options["awslogs-group"] == deployed.resources["Logs"]


def test_the_task_may_do_nothing_and_its_starter_little(deployed: Deployed) -> None:
    task, starter = deployed.resources["TaskRole"], deployed.resources["ExecutionRole"]
    for kind in ("list-role-policies", "list-attached-role-policies"):
        names = ask(deployed.environment, "iam", kind, "--role-name", task)
        assert [*names.get("PolicyNames", []), *names.get("AttachedPolicies", [])] == []
    policy = ask(
        deployed.environment, "iam", "get-role-policy", "--role-name", starter, "--policy-name", "start-a-task"
    )["PolicyDocument"]  # fmt: skip
    policy = ast.literal_eval(policy) if isinstance(policy, str) else policy  # moto writes it as Python does
    everywhere = [entry["Action"] for entry in policy["Statement"] if entry.get("Resource") == "*"]
    assert everywhere == ["ecr:GetAuthorizationToken"]
    assert not [entry for entry in policy["Statement"] if "*" in str(entry["Action"])]


# What moto does not make or keep


def test_it_is_refused_without_certificate_or_leave(template: dict[str, Any]) -> None:
    asserted = template["Rules"]["EncryptedUnlessToldOtherwise"]["Assertions"][0]["Assert"]
    assert asserted == {
        "Fn::Or": [
            {"Fn::Not": [{"Fn::Equals": [{"Ref": "CertificateArn"}, ""]}]},
            {"Fn::Equals": [{"Ref": "AllowPlainHttp"}, "true"]},
        ]
    }
    assert template["Parameters"]["AllowPlainHttp"]["Default"] == "false"


def test_the_service_has_private_addresses_and_rolls_back_by_itself(properties: dict[str, Any]) -> None:
    service = properties["Service"]
    assert service["LaunchType"] == "FARGATE"
    assert service["NetworkConfiguration"]["AwsvpcConfiguration"]["AssignPublicIp"] == "DISABLED"
    deployment = service["DeploymentConfiguration"]
    assert deployment["DeploymentCircuitBreaker"] == {"Enable": True, "Rollback": True}
    assert deployment["Alarms"] == {"Enable": True, "Rollback": True, "AlarmNames": [{"Ref": "ErrorAlarm"}]}
    assert (deployment["MinimumHealthyPercent"], deployment["MaximumPercent"]) == (100, 200)


def test_no_subnet_gives_public_addresses_and_tasks_lie_where_no_route_leads_out(properties: dict[str, Any]) -> None:
    for zone in "AB":
        for kind in ("Public", "Private"):
            assert properties[f"{kind}Subnet{zone}"]["MapPublicIpOnLaunch"] is False
        assert properties[f"PrivateRoutes{zone}"] == {
            "SubnetId": {"Ref": f"PrivateSubnet{zone}"}, "RouteTableId": {"Ref": "PrivateRoutes"}
        }  # fmt: skip


def test_an_update_leaves_the_number_of_tasks_to_the_scaling(properties: dict[str, Any]) -> None:
    assert "DesiredCount" not in properties["Service"]
    assert properties["Scaling"]["MinCapacity"] == {"Ref": "MinTasks"}


def test_it_scales_on_cpu_and_on_requests(properties: dict[str, Any]) -> None:
    metrics = {
        properties[name]["TargetTrackingScalingPolicyConfiguration"]["PredefinedMetricSpecification"][
            "PredefinedMetricType"
        ]
        for name in ("ScaleOnCpu", "ScaleOnRequests")
    }
    assert metrics == {"ECSServiceAverageCPUUtilization", "ALBRequestCountPerTarget"}


def test_the_keys_are_drawn_by_secrets_manager(properties: dict[str, Any]) -> None:
    assert properties["ApiKeys"]["GenerateSecretString"] == {"PasswordLength": 48, "ExcludePunctuation": True}
    secrets = properties["Task"]["ContainerDefinitions"][0]["Secrets"]
    assert secrets == [{"Name": "API_KEYS", "ValueFrom": {"Ref": "ApiKeys"}}]


def test_errors_latency_and_absence_raise_alarms(properties: dict[str, Any]) -> None:
    errors = {metric["MetricStat"]["Metric"]["MetricName"] for metric in properties["ErrorAlarm"]["Metrics"][1:]}
    assert errors == {"HTTPCode_Target_5XX_Count", "HTTPCode_ELB_5XX_Count"}
    latency, nobody = properties["LatencyAlarm"], properties["NobodyAlarm"]
    assert (latency["MetricName"], latency["ExtendedStatistic"]) == ("TargetResponseTime", "p99")
    assert (nobody["MetricName"], nobody["TreatMissingData"]) == ("HealthyHostCount", "breaching")


def test_a_task_may_connect_to_the_endpoints_and_to_s3_alone(properties: dict[str, Any]) -> None:
    own = properties["TaskGroup"]["SecurityGroupEgress"]["Fn::If"][1]
    assert [(rule["FromPort"], rule["ToPort"]) for rule in own] == [(443, 443), (443, 443)]
    assert own[0]["DestinationSecurityGroupId"] == {"Fn::GetAtt": ["EndpointGroup", "GroupId"]}
    assert own[1]["DestinationPrefixListId"] == {"Ref": "S3PrefixList"}
    bucket = properties["LayersEndpoint"]["PolicyDocument"]["Statement"][0]
    assert bucket["Action"] == "s3:GetObject"


def test_a_task_has_longer_to_end_than_the_balancer_waits_for_it(properties: dict[str, Any]) -> None:
    waits = {entry["Key"]: entry["Value"] for entry in properties["TargetGroup"]["TargetGroupAttributes"]}
    assert properties["Task"]["ContainerDefinitions"][0]["StopTimeout"] > int(
        waits["deregistration_delay.timeout_seconds"]
    )


def test_what_costs_by_the_hour_is_in_the_template(template: dict[str, Any]) -> None:
    assert set(cloudformation.HOURLY) <= set(template["Resources"])
    charged = {"AWS::ElasticLoadBalancingV2::LoadBalancer", "AWS::EC2::VPCEndpoint", "AWS::ECS::Service"}
    named = {name for name, resource in template["Resources"].items() if resource["Type"] in charged}
    assert named - set(cloudformation.HOURLY) == {"LayersEndpoint"}  # one for S3 costs nothing


# Again, away, and as a rehearsal


def test_run_again_it_updates_and_keeps_what_was_asked_before(deployed: Deployed, tmp_path: Path) -> None:
    again = Recorder(tmp_path)
    again.release = Release(tmp_path / "bento", "2-bbbb", MODEL, tmp_path / "sample.png")
    again.deploy(deployed.environment, parameters={"MinTasks": "3"})
    with using(deployed.environment):
        stack = cloudformation.find(make_aws_client(REGION), "bone-fracture")
    assert stack is not None
    assert stack.status == "UPDATE_COMPLETE"
    images = ask(deployed.environment, "ecr", "describe-images", "--repository-name", "bone-fracture",
                 "--image-ids", "imageTag=2-bbbb")  # fmt: skip
    assert stack.parameters["Image"].endswith(images["imageDetails"][0]["imageDigest"])
    assert stack.parameters["CertificateArn"] == deployed.certificate
    assert stack.parameters["MinTasks"] == "3"
    third = Recorder(tmp_path)
    third.release = again.release
    third.deploy(deployed.environment)
    assert third.built == []  # its image is in the registry


def test_a_rehearsal_shows_every_command_and_makes_nothing(cloud: Environment, tmp_path: Path) -> None:
    region = "eu-west-2"
    recorder = Recorder(tmp_path)
    recorder.deploy(cloud, region, dry=True, plain_http=True)
    changes = [line for line in recorder.lines if line.endswith("# not run")]
    making = "aws cloudformation create-stack --stack-name bone-fracture"
    begins = ["fracture image", f"{making}-registry", "docker login", "docker push", "docker logout", f"{making} "]
    assert [line.startswith(f"$ {begin}") for line, begin in zip(changes, begins, strict=True)] == [True] * 6
    assert recorder.lines[-1] == "nothing was changed"
    assert recorder.built == []
    assert ask(cloud, "cloudformation", "describe-stacks", region=region)["Stacks"] == []
    assert ask(cloud, "ecr", "describe-repositories", region=region)["repositories"] == []


def test_the_smoke_tests_key_is_the_secrets_first_and_never_shown(cloud: Environment) -> None:
    made = ask(cloud, "secretsmanager", "create-secret", "--name", "keys", "--secret-string", "first-key,second-key")
    lines: list[str] = []
    with using(cloud):
        assert service.first_key(make_aws_client(REGION, show=lines.append), made["ARN"]) == "first-key"
    assert lines == []


# Bad input: one line, and nothing made


def refused(environment: Environment, *arguments: str) -> str:
    """The one line of `fracture deploy aws`, run as a person runs it."""
    done = subprocess.run(
        [sys.executable, "-c", "from pipeline.cli import main; main()", "deploy", "aws", *arguments],
        cwd=ROOT, env={**environment, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False,
        stdin=subprocess.DEVNULL, timeout=120,
    )  # fmt: skip
    assert done.returncode == 1, done.stdout + done.stderr
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert done.stderr.startswith("error: ")
    return done.stderr


CALLER = {"out": {"Account": "123456789012", "Arn": "arn:aws:iam::123456789012:user/someone"}}
REGIONS = {"out": {"Regions": [{"RegionName": REGION}]}}
PARAMETERS = {
    "out": {
        "Parameters": [
            {"ParameterKey": name, **({"DefaultValue": str(given["Default"])} if "Default" in given else {})}
            for name, given in read_template(TEMPLATES / "service.yaml")["Parameters"].items()
        ]
    }
}
NONE = {"err": "An error occurred (ValidationError): Stack with id x does not exist", "code": 254}


def described(status: str) -> dict[str, Any]:
    stack = {"StackName": "bone-fracture", "StackId": "arn:stack", "StackStatus": status}
    return {"out": {"Stacks": [stack]}}


def stand_in(tmp_path: Path, **answers: Any) -> dict[str, str]:
    """Variables with which `aws` gives recorded answers: operation_with_underscores=answers, and a login."""
    spelled: dict[str, Any] = {"sts get-caller-identity": [CALLER], "ec2 describe-regions": [REGIONS],
                               "cloudformation get-template-summary": [PARAMETERS]}  # fmt: skip
    for name, given in answers.items():
        service, _, operation = name.partition("_")
        spelled[f"{service} {operation.replace('_', '-')}"] = given
    folder = recorded(tmp_path / "bin", spelled)
    (folder / "docker").write_text("#!/bin/sh\n")
    (folder / "docker").chmod(0o755)
    return {"PATH": f"{folder}:/usr/bin:/bin", "HOME": str(tmp_path)}


def calls(tmp_path: Path) -> str:
    return (tmp_path / "bin/calls.txt").read_text()


def test_without_the_client_one_line_says_how_to_get_it(tmp_path: Path) -> None:
    folder = stand_in(tmp_path)["PATH"].partition(":")[0]
    (Path(folder) / "aws").unlink()
    message = refused({"PATH": folder, "HOME": str(tmp_path)}, "--region", REGION)
    assert "aws: not found; install the AWS CLI" in message


def test_without_a_container_tool_one_line_names_them(tmp_path: Path) -> None:
    folder = recorded(tmp_path / "bin", {})
    assert "docker, podman, buildah" in refused({"PATH": str(folder)}, "--region", REGION)


def test_without_a_login_the_real_client_is_understood(tool_environment: Environment) -> None:
    with using(tool_environment), pytest.raises(InputError, match="nobody is logged in to AWS") as caught:
        preflight.preflight(AwsRequest(REGION, TEMPLATES, plain_http=True), make_aws_client(REGION))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("said", "line"),
    [
        (
            "An error occurred (ExpiredToken) when calling the GetCallerIdentity operation",
            "the login to AWS has expired",
        ),
        ("Error when retrieving token from sso: Token has expired and refresh failed", "the login to AWS has expired"),
        ("An error occurred (InvalidClientTokenId) when calling", "AWS does not accept the login in eu-central-1"),
        ("The config profile (work) could not be found", "nobody is logged in to AWS"),
        (
            'Could not connect to the endpoint URL: "https://sts.eu-central-9.amazonaws.com/"',
            "no answer; check the region",
        ),
        ("An error occurred (AccessDenied) when calling: User is not authorized to perform", "docs/cloud/aws.md lists"),
    ],
)
def test_what_the_client_says_becomes_one_line(said: str, line: str, tmp_path: Path) -> None:
    environment = stand_in(tmp_path, sts_get_caller_identity=[{"err": f"\n{said}\n", "code": 254}])
    with using(environment), pytest.raises(InputError, match=line) as caught:
        preflight.preflight(AwsRequest(REGION, TEMPLATES, plain_http=True), make_aws_client(REGION))
    assert "\n" not in str(caught.value)
    assert calls(tmp_path).count("\n") == 1


def test_an_expired_login_ends_the_command_with_one_line(tmp_path: Path) -> None:
    gone = {"err": "An error occurred (ExpiredTokenException): The security token is expired", "code": 255}
    environment = stand_in(tmp_path, sts_get_caller_identity=[gone])
    assert "run `aws sso login`" in refused(environment, "--region", REGION, "--allow-plain-http", "--dry-run")


def test_a_region_that_is_none_is_refused_before_anything_is_asked(tmp_path: Path) -> None:
    assert "--region Frankfurt: is no region's name" in refused(stand_in(tmp_path), "--region", "Frankfurt")


def test_a_region_that_aws_does_not_know_is_one_line(tmp_path: Path) -> None:
    environment = stand_in(tmp_path, ec2_describe_regions=[{"out": {"Regions": []}}])
    message = refused(environment, "--region", "mars-north-1", "--allow-plain-http", "--dry-run")
    assert "--region mars-north-1: AWS knows no such region" in message


def test_a_setting_that_the_template_does_not_know_is_one_line(tmp_path: Path) -> None:
    environment = stand_in(tmp_path, cloudformation_describe_stacks=[NONE])
    message = refused(environment, "--region", REGION, "--set", "Tasks=3", "--dry-run")
    assert "--set Tasks: is not a parameter; choose one of AlarmTopic, " in message
    assert "MinTasks" in message


@pytest.mark.parametrize(
    ("setting", "line"),
    [
        ("Size=huge", "--set Size=huge: choose one of small, medium, large"),
        ("MinTasks=0", "--set MinTasks=0: at least 1"),
        ("MinTasks=many", "--set MinTasks=many: write a whole number"),
        ("MinTasks=9", "--set MinTasks=9: is more than MaxTasks=6"),
        ("LogDays=2", "--set LogDays=2: choose one of 1, 3, 5, "),
        ("ClientRange=10.0.0.1/8", "--set ClientRange=10.0.0.1/8: write a range of addresses like 192.0.2.0/24"),
        ("VpcId=mine", "--set VpcId=mine: does not look like "),
    ],
)
def test_a_setting_that_the_template_forbids_is_one_line(setting: str, line: str, tmp_path: Path) -> None:
    environment = stand_in(tmp_path, cloudformation_describe_stacks=[NONE])
    assert line in refused(environment, "--region", REGION, "--set", setting, "--dry-run")


def test_without_a_certificate_it_wants_to_be_told_so(tmp_path: Path) -> None:
    environment = stand_in(tmp_path, cloudformation_describe_stacks=[NONE])
    message = refused(environment, "--region", REGION, "--dry-run")
    assert "no certificate: give --certificate ARN" in message
    assert "--allow-plain-http" in message


def test_a_certificate_of_another_region_is_refused_before_anything_is_asked(tmp_path: Path) -> None:
    arn = "arn:aws:acm:us-east-1:123456789012:certificate/none"
    message = refused(stand_in(tmp_path), "--region", REGION, "--certificate", arn, "--dry-run")
    assert f"lies in us-east-1; one of {REGION} is needed" in message
    assert not (tmp_path / "bin/calls.txt").exists()


def test_a_certificate_has_to_be_there_and_issued(cloud: Environment) -> None:
    asked = ask(cloud, "acm", "request-certificate", "--domain-name", "x.example.org")["CertificateArn"]
    client = make_aws_client(REGION)
    with using(cloud), pytest.raises(InputError, match="is PENDING_VALIDATION, not ISSUED"):
        preflight.find_domain(AwsRequest(REGION, TEMPLATES), client, {"CertificateArn": asked})
    with using(cloud), pytest.raises(InputError, match=f"there is none in {REGION}"):
        preflight.find_domain(AwsRequest(REGION, TEMPLATES), client, {"CertificateArn": asked[:-4] + "0000"})


def test_a_certificate_for_several_names_needs_one(tmp_path: Path) -> None:
    found = {"out": {"Certificate": {"Status": "ISSUED", "DomainName": "*.example.org"}}}
    environment, parameters = stand_in(tmp_path, acm_describe_certificate=[found]), {"CertificateArn": "arn"}
    with using(environment):
        with pytest.raises(InputError, match="say with --domain"):
            preflight.find_domain(AwsRequest(REGION, TEMPLATES), make_aws_client(REGION), parameters)
        request = AwsRequest(REGION, TEMPLATES, domain="a.example.org")
        assert preflight.find_domain(request, make_aws_client(REGION), parameters) == "a.example.org"


def test_half_a_network_is_refused() -> None:
    with pytest.raises(InputError, match="belong together"):
        preflight.check_network({"VpcId": "vpc-1", "PublicSubnets": "subnet-1"})


def test_a_quota_is_met_before_anything_is_made(tmp_path: Path) -> None:
    environment = stand_in(
        tmp_path,
        cloudformation_describe_stacks=[NONE],
        ec2_describe_vpcs=[{"out": {"Vpcs": [{}] * 5}}],
        **{"service-quotas_get_service_quota": [{"out": {"Quota": {"Value": 5.0}}}]},
    )
    recorder = Recorder(tmp_path)
    with pytest.raises(InputError, match="quota: 6 VPCs are needed and 5 allowed"):
        recorder.deploy(environment, plain_http=True)
    assert "create" not in calls(tmp_path)


def test_a_half_made_stack_is_named_with_what_it_costs(tmp_path: Path) -> None:
    left = [
        {"LogicalResourceId": "LoadBalancer", "ResourceStatus": "DELETE_FAILED"},
        {"LogicalResourceId": "Network", "ResourceStatus": "CREATE_COMPLETE"},
        {"LogicalResourceId": "Logs", "ResourceStatus": "DELETE_COMPLETE"},
    ]
    environment = stand_in(
        tmp_path,
        cloudformation_describe_stacks=[described("DELETE_FAILED")],
        cloudformation_describe_stack_resources=[{"out": {"StackResources": left}}],
    )
    message = refused(environment, "--region", REGION, "--allow-plain-http", "--dry-run")
    assert "left are LoadBalancer, Network: about 0.78 USD a day" in message
    assert "--delete" in message


def test_a_stack_that_is_being_changed_is_left_alone(tmp_path: Path) -> None:
    environment = stand_in(tmp_path, cloudformation_describe_stacks=[described("UPDATE_IN_PROGRESS")])
    with using(environment), pytest.raises(InputError, match="is being changed just now"):
        preflight.preflight(AwsRequest(REGION, TEMPLATES, plain_http=True), make_aws_client(REGION))


EVENTS = {
    "StackEvents": [
        {"LogicalResourceId": "bone-fracture", "ResourceStatus": "DELETE_COMPLETE"},
        {"LogicalResourceId": "Task", "ResourceStatus": "CREATE_FAILED",
         "ResourceStatusReason": "Resource creation cancelled"},
        {"LogicalResourceId": "Listener", "ResourceStatus": "CREATE_FAILED",
         "ResourceStatusReason": "Certificate is not valid"},
        {"LogicalResourceId": "bone-fracture", "PhysicalResourceId": "arn:stack",
         "ResourceStatus": "CREATE_IN_PROGRESS", "ResourceStatusReason": "User Initiated"},
        {"LogicalResourceId": "Old", "ResourceStatus": "UPDATE_FAILED", "ResourceStatusReason": "of another change"},
    ]
}  # fmt: skip


def _making(tmp_path: Path, *states: str) -> None:
    """Make a stack that goes through these states."""
    environment = stand_in(
        tmp_path,
        cloudformation_describe_stacks=[described(state) for state in states],
        cloudformation_create_stack=[{"out": {"StackId": "arn:stack"}}],
        cloudformation_describe_stack_events=[{"out": EVENTS}],
        cloudformation_describe_stack_resources=[
            {"out": {"StackResources": [{"LogicalResourceId": "Network", "ResourceStatus": "DELETE_FAILED"}]}}
        ],
    )
    wish = cloudformation.Wish("bone-fracture", TEMPLATES / "service.yaml", {})
    with using(environment):
        cloudformation.apply(make_aws_client(REGION, show=lambda _: None), None, wish, 0)


def test_a_stack_that_cannot_be_made_is_taken_back_and_says_why(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nothing of it is left: Listener: Certificate is not valid$"):
        _making(tmp_path, "CREATE_IN_PROGRESS", "DELETE_IN_PROGRESS", "DELETE_COMPLETE")
    assert "--on-failure DELETE" in calls(tmp_path)


def test_a_stack_that_cannot_be_taken_back_names_what_is_left(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nor taken back .DELETE_FAILED.; left are Network: about 0.00 USD a day"):
        _making(tmp_path, "CREATE_IN_PROGRESS", "DELETE_FAILED")


def test_an_update_that_fails_says_that_the_former_version_serves_on(tmp_path: Path) -> None:
    environment = stand_in(
        tmp_path,
        cloudformation_describe_stacks=[described("UPDATE_IN_PROGRESS"), described("UPDATE_ROLLBACK_COMPLETE")],
        cloudformation_update_stack=[{"out": {"StackId": "arn:stack"}}],
        cloudformation_describe_stack_events=[{"out": EVENTS}],
    )
    wish = cloudformation.Wish("bone-fracture", TEMPLATES / "service.yaml", {})
    stack = cloudformation.Stack("bone-fracture", "arn:stack", "CREATE_COMPLETE", {}, {})
    with using(environment), pytest.raises(InputError, match="what was there before serves on"):
        cloudformation.apply(make_aws_client(REGION, show=lambda _: None), stack, wish, 0)


def test_a_service_that_does_not_answer_is_named_with_its_log(tmp_path: Path) -> None:
    def silent(endpoint: Endpoint, release: Release, key: str) -> None:
        raise InputError("not ready within 600 s")

    recorder = Recorder(tmp_path)
    stack = cloudformation.Stack("bone-fracture", "arn", "", {"BalancerAddress": "b.example", "LogGroup": "group"}, {})
    account = Account("host", "", None, None, {})
    hands = Hands("docker", lambda: recorder.release, recorder.build, lambda *_: None, silent, 0)
    found = service.describe(make_aws_client(REGION), stack, account)
    with pytest.raises(InputError, match=r"stands and costs.*aws logs tail group"):
        deployment.look(found, recorder.release, hands, recorder.lines.append)


def test_another_model_than_the_champion_has_to_be_agreed_to(tmp_path: Path) -> None:
    message = refused(stand_in(tmp_path), "--region", REGION, "--model", "models:/bone-fracture/3")
    assert "is not the champion" in message
    assert "--yes" in message


def test_deleting_has_to_be_agreed_to(tmp_path: Path) -> None:
    assert "add --yes" in refused(stand_in(tmp_path), "--region", REGION, "--delete")
    assert not (tmp_path / "bin/calls.txt").exists()


def test_a_setting_without_a_value_is_one_line(tmp_path: Path) -> None:
    assert "--set MinTasks: write KEY=VALUE" in refused(stand_in(tmp_path), "--region", REGION, "--set", "MinTasks")


def test_interrupted_it_says_what_goes_on_and_costs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(deployment, "deploy", mock.Mock(side_effect=KeyboardInterrupt))
    with using(stand_in(tmp_path)), pytest.raises(typer.Exit) as ended:
        command.aws(REGION, dry_run=True)
    assert ended.value.exit_code == 130
    assert "CloudFormation finishes by itself" in capsys.readouterr().err


def test_the_tag_of_an_image_follows_its_content_and_base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from serving import bundle

    (tmp_path / "src").mkdir()
    manifest = mock.Mock(version="2+site", samples=("samples/a.png",))
    made = mock.Mock(folder=tmp_path, bento=tmp_path, manifest=manifest)
    monkeypatch.setattr(releasing, "make", lambda *_: made)
    monkeypatch.setattr(bundle, "read", lambda *_, **__: mock.Mock(manifest=manifest, sha256=MODEL))
    tags = []
    for content in ("one", "two", "one"):
        (tmp_path / "src/service.py").write_text(content)
        tags.append(releasing.release(tmp_path, "models:/x@champion").tag)
    assert tags[0] == tags[2] != tags[1]
    assert releasing.release(tmp_path, "models:/x@champion", "python:3.11.99-slim-bookworm").tag not in tags
    assert tags[0].startswith("2.site-")


def test_a_push_that_fails_names_the_registry_that_stays(cloud: Environment, tmp_path: Path) -> None:
    recorder = Recorder(tmp_path)

    def fail(_address: str, _login: Login) -> None:
        raise InputError("docker push: no route to host")

    hands = replace(recorder.hands(), push=fail)
    region = "eu-west-3"
    with using(cloud), pytest.raises(InputError, match=r"no route to host; the registry bone-fracture-registry stays"):
        deployment.deploy(Aws(AwsRequest(region, TEMPLATES, plain_http=True), make_aws_client(region)), hands)
    stacks = ask(cloud, "cloudformation", "describe-stacks", region=region)["Stacks"]
    assert [stack["StackName"] for stack in stacks] == ["bone-fracture-registry"]
