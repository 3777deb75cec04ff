"""The tracking server's templates: checked, and the one of AWS made and deleted by a moto server.

What moto does not make of a stack (secrets, bucket policy, alarms, outputs), or does not keep (deletion protection, a
bucket's settings, rules out of a security group, the service's deployment settings), is asserted on the template.
"""

import ast
import json
import re
import runpy
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from mlflow.server import security_utils

from tests.deploy import bicep, checkers
from tests.deploy.certificates import Certificate
from tests.deploy.checkers import ROOT
from tests.deploy.standins import read_template

AWS = ROOT / "deploy/aws/tracking.yaml"
AZURE = ROOT / "deploy/azure/tracking.bicep"
START = ROOT / "deploy/tracking/start.py"
DOCUMENT = ROOT / "docs/cloud/tracking-cloud.md"
WRITABLE = "/tmp"  # noqa: S108  of a container, not of this machine
IMAGE = f"123456789012.dkr.ecr.eu-north-1.amazonaws.com/bone-fracture-tracking@sha256:{'a' * 64}"
Environment = Mapping[str, str]

SECRET = ("PGPASSWORD", "MLFLOW_AUTH_ADMIN_PASSWORD", "MLFLOW_FLASK_SERVER_SECRET_KEY")
OPEN = ("PGHOST", "PGPORT", "PGDATABASE", "PGUSER", "TRACKING_ARTIFACTS", "MLFLOW_AUTH_ADMIN_USERNAME", "TRACKING_HOST")
# Read by libpq, Python and the clouds' libraries, whatever the start script does.
FOR_OTHERS = {"PGSSLMODE", "HOME", "TMPDIR"}


def ask(environment: Environment, region: str, *words: str | Path) -> Any:
    """The real client's JSON answer."""
    done = subprocess.run(
        ["aws", *map(str, words), "--region", region, "--output", "json"],
        env=dict(environment), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout) if done.stdout.strip().startswith(("{", "[")) else None


@dataclass(frozen=True)
class Stack:
    """What moto made: logical -> physical names, and what was asked for."""

    environment: Environment
    region: str
    parameters: Mapping[str, str]
    resources: Mapping[str, str]

    def ask(self, *words: str) -> Any:
        return ask(self.environment, self.region, *words)


def make(environment: Environment, region: str, certificate: Certificate, folder: Path) -> Stack:
    """The stack in the region's default network, by the command that docs/cloud/tracking-cloud.md gives."""
    words = ["--certificate", f"fileb://{certificate.chain}", "--private-key", f"fileb://{certificate.key}"]
    subnets = ask(environment, region, "ec2", "describe-subnets")["Subnets"]
    names = ",".join(subnet["SubnetId"] for subnet in subnets[:2])
    parameters = {
        "Repository": "bone-fracture-tracking",
        "Image": IMAGE,
        "Domain": "mlflow.example.org",
        "CertificateArn": ask(environment, region, "acm", "import-certificate", *words)["CertificateArn"],
        "VpcId": subnets[0]["VpcId"],
        "BalancerSubnets": names,
        "PrivateSubnets": names,
        "ClientRange": "192.0.2.0/24",
    }
    # Moto 5.2 takes the name of a database's parameter group for the group itself, and fails.
    given, left_out = re.subn(r"\n +DBParameterGroupName: .+", "", AWS.read_text())
    assert left_out == 1
    template = folder / "tracking.yaml"
    template.write_text(given)
    ask(environment, region, "cloudformation", "deploy", "--stack-name", "tracking", "--template-file", template,
        "--capabilities", "CAPABILITY_IAM", "--parameter-overrides",
        *(f"{name}={value}" for name, value in parameters.items()))  # fmt: skip
    found = ask(environment, region, "cloudformation", "describe-stack-resources", "--stack-name", "tracking")
    return Stack(
        environment, region, parameters,
        {entry.get("LogicalResourceId", ""): entry.get("PhysicalResourceId", "") for entry in found["StackResources"]},
    )  # fmt: skip


@pytest.fixture(scope="module")
def stack(cloud: Environment, certificate: Certificate, tmp_path_factory: pytest.TempPathFactory) -> Stack:
    return make(cloud, "eu-north-1", certificate, tmp_path_factory.mktemp("tracking"))


@pytest.fixture(scope="module")
def task(stack: Stack) -> dict[str, Any]:
    described = stack.ask("ecs", "describe-task-definition", "--task-definition", stack.resources["Task"])
    return dict(described["taskDefinition"])


@pytest.fixture(scope="module")
def server(task: dict[str, Any]) -> dict[str, Any]:
    (only,) = task["containerDefinitions"]
    return dict(only)


@pytest.fixture(scope="module")
def template() -> dict[str, Any]:
    return read_template(AWS)


@pytest.fixture(scope="module")
def properties(template: dict[str, Any]) -> dict[str, Any]:
    return {name: resource.get("Properties", {}) for name, resource in template["Resources"].items()}


@pytest.fixture(scope="module")
def tree() -> dict[str, Any]:
    return bicep.parse(AZURE)


@pytest.fixture(scope="module")
def resources(tree: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return bicep.resources(tree)


@pytest.fixture(scope="module")
def app(resources: dict[str, dict[str, Any]]) -> dict[str, Any]:
    return dict(resources["app"]["properties"])


@pytest.fixture(scope="module")
def container(app: dict[str, Any]) -> dict[str, Any]:
    (only,) = app["template"]["containers"]
    return dict(only)


# Both


@pytest.mark.parametrize("left_out", [None, *SECRET, *OPEN])
def test_the_start_program_asks_for_the_names_that_are_given_and_no_others(left_out: str | None) -> None:
    given = {
        "PGHOST": "database.internal",
        "PGPORT": "5432",
        "PGDATABASE": "mlflow",
        "PGUSER": "mlflow",
        "PGPASSWORD": "8f3kd92mxq71vbz04c",
        "TRACKING_ARTIFACTS": "s3://bucket/artifacts",
        "TRACKING_HOST": "mlflow.example.org",
        "MLFLOW_AUTH_ADMIN_USERNAME": "chief",
        "MLFLOW_AUTH_ADMIN_PASSWORD": "q8Zr1vN5tYw2Lk7Bd0",
        "MLFLOW_FLASK_SERVER_SECRET_KEY": "b1946ac92492d2347c6235b4d2611184c0ffee",
    }
    assert set(given) == {*SECRET, *OPEN}
    wrong = runpy.run_path(str(START))["problem"]({name: value for name, value in given.items() if name != left_out})
    if left_out in {None, "PGPORT"}:  # libpq's own default
        assert wrong is None
    else:
        assert wrong is not None
        assert wrong.startswith(f"{left_out} is not set")


def test_mlflow_answers_under_its_name_alone_and_to_its_own_page() -> None:
    name, page = "mlflow.example.org", "https://mlflow.example.org"
    assert security_utils.is_allowed_host_header([name], name)
    assert not security_utils.is_allowed_host_header([name], "10.0.0.7:5000")
    assert security_utils.is_health_endpoint("/health")  # asked for by address, before any name is looked at
    assert security_utils.should_block_cors_request(page, "POST", None)  # start.py names this origin
    assert not security_utils.should_block_cors_request(page, "POST", [page])


def test_the_documented_commands_give_what_has_to_be_given(template: dict[str, Any], tree: dict[str, Any]) -> None:
    text = DOCUMENT.read_text()
    on_aws, on_azure = text.partition("deploy/aws/tracking.yaml ")[2].partition("# Azure")[::2]
    given = set(re.findall(r"\b([A-Z]\w+)=", on_aws))
    required = {name for name, parameter in template["Parameters"].items() if "Default" not in parameter}
    assert required == given
    in_file = set(on_azure.partition("(")[2].partition(")")[0].split(", "))
    given = in_file | set(re.findall(r"\b([a-z]\w+)=", on_azure.partition("Point the domain")[0]))
    assert given == {name for name, parameter in tree["parameters"].items() if parameter["default"] is None}
    secure = {name for name, parameter in tree["parameters"].items() if {"type": "secure"} in parameter["decorators"]}
    assert secure == {"adminPassword", "databasePassword", "sessionKey"}
    assert secure < in_file


# AWS: the template


def test_cfn_lint_finds_nothing() -> None:
    done = checkers.run("cfn-lint", "--include-checks", "I", "--", AWS)
    assert (done.returncode, done.stdout) == (0, ""), done.stdout + done.stderr


def test_the_template_can_be_sent_as_it_is() -> None:
    assert AWS.stat().st_size < 51_200  # CloudFormation's limit without a bucket


# AWS: what is made


def test_only_https_is_listened_to(stack: Stack) -> None:
    balancer = stack.resources["LoadBalancer"]
    (listener,) = stack.ask("elbv2", "describe-listeners", "--load-balancer-arn", balancer)["Listeners"]
    assert (listener["Port"], listener["Protocol"]) == (443, "HTTPS")
    assert listener["SslPolicy"] == "ELBSecurityPolicy-TLS13-1-2-2021-06"
    assert listener["Certificates"] == [{"CertificateArn": stack.parameters["CertificateArn"]}]


def test_the_balancer_lies_inside_the_network_unless_told_otherwise(stack: Stack) -> None:
    found = stack.ask("elbv2", "describe-load-balancers")["LoadBalancers"]
    assert [balancer["Scheme"] for balancer in found] == ["internal"]


def test_the_task_is_asked_for_its_health(stack: Stack) -> None:
    (found,) = stack.ask("elbv2", "describe-target-groups")["TargetGroups"]
    assert (found["HealthCheckPath"], found["Port"], found["TargetType"]) == ("/health", 5000, "ip")


def test_clients_reach_the_balancer_it_the_task_and_the_task_the_database(stack: Stack) -> None:
    def comes_in(group: str) -> tuple[int, list[str], list[str]]:
        (found,) = stack.ask("ec2", "describe-security-groups", "--group-ids", stack.resources[group])["SecurityGroups"]
        (rule,) = found["IpPermissions"]
        assert rule["FromPort"] == rule["ToPort"]
        ranges = [entry["CidrIp"] for entry in rule["IpRanges"]]
        return rule["FromPort"], ranges, [pair["GroupId"] for pair in rule["UserIdGroupPairs"]]

    assert comes_in("BalancerGroup") == (443, ["192.0.2.0/24"], [])
    assert comes_in("TaskGroup") == (5000, [], [stack.resources["BalancerGroup"]])
    assert comes_in("DatabaseGroup") == (5432, [], [stack.resources["TaskGroup"]])


def test_the_database_is_private_encrypted_and_backed_up(stack: Stack) -> None:
    (found,) = stack.ask("rds", "describe-db-instances")["DBInstances"]
    assert (found["Engine"], found["EngineVersion"], found["DBName"]) == ("postgres", "17", "mlflow")
    assert found["PubliclyAccessible"] is False
    assert found["StorageEncrypted"] is True
    assert found["BackupRetentionPeriod"] == 14
    subnets = {subnet["SubnetIdentifier"] for subnet in found["DBSubnetGroup"]["Subnets"]}
    assert subnets == set(stack.parameters["PrivateSubnets"].split(","))


def test_the_server_runs_as_a_user_without_rights_and_writes_below_tmp_only(server: dict[str, Any]) -> None:
    assert server["image"] == IMAGE
    assert server["user"] == "10001:10001"
    assert server["privileged"] is False
    assert server["linuxParameters"]["capabilities"] == {"drop": ["ALL"]}
    assert server["readonlyRootFilesystem"] is True
    assert server["mountPoints"] == [{"sourceVolume": "tmp", "containerPath": WRITABLE, "readOnly": False}]


def test_the_server_on_aws_is_told_what_it_reads(stack: Stack, server: dict[str, Any]) -> None:
    values = {entry["name"]: entry["value"] for entry in server["environment"]}
    assert set(values) == {*OPEN, *FOR_OTHERS, "AWS_DEFAULT_REGION"}
    assert tuple(entry["name"] for entry in server["secrets"]) == SECRET
    (database,) = stack.ask("rds", "describe-db-instances")["DBInstances"]
    assert values["PGHOST"] == database["Endpoint"]["Address"]
    assert values["PGPORT"] == "5432"
    assert values["PGDATABASE"] == database["DBName"]
    assert values["PGUSER"] == database["MasterUsername"]
    assert values["TRACKING_ARTIFACTS"] == f"s3://{stack.resources['Artifacts']}/artifacts"
    assert values["TRACKING_HOST"] == "mlflow.example.org"


def test_logs_are_kept_thirty_days(stack: Stack, server: dict[str, Any]) -> None:
    (group,) = stack.ask("logs", "describe-log-groups")["logGroups"]
    assert group["retentionInDays"] == 30
    assert server["logConfiguration"]["options"]["awslogs-group"] == group["logGroupName"]


def _statements(stack: Stack, role: str) -> list[dict[str, Any]]:
    name = stack.resources[role]
    assert stack.ask("iam", "list-attached-role-policies", "--role-name", name)["AttachedPolicies"] == []
    (policy,) = stack.ask("iam", "list-role-policies", "--role-name", name)["PolicyNames"]
    document = stack.ask("iam", "get-role-policy", "--role-name", name, "--policy-name", policy)["PolicyDocument"]
    # Moto writes it as Python does.
    parsed: dict[str, Any] = ast.literal_eval(document) if isinstance(document, str) else document
    return list(parsed["Statement"])


def test_the_server_may_use_its_bucket_and_nothing_else(stack: Stack) -> None:
    bucket = f"arn:aws:s3:::{stack.resources['Artifacts']}"
    assert _statements(stack, "TaskRole") == [
        {"Effect": "Allow", "Action": "s3:ListBucket", "Resource": bucket},
        {
            "Effect": "Allow",
            "Action": ["s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload"],
            "Resource": f"{bucket}/artifacts/*",
        },
    ]


def test_its_starter_may_do_little(stack: Stack) -> None:
    statements = _statements(stack, "ExecutionRole")
    everywhere = [entry["Action"] for entry in statements if entry["Resource"] == "*"]
    assert everywhere == ["ecr:GetAuthorizationToken"]
    assert not [entry for entry in statements if "*" in str(entry["Action"])]


def test_deleted_it_leaves_the_bucket_with_its_artifacts_and_nothing_that_runs(
    cloud: Environment, certificate: Certificate, tmp_path: Path
) -> None:
    stack = make(cloud, "eu-south-1", certificate, tmp_path)
    bucket = stack.resources["Artifacts"]
    stack.ask("s3api", "put-object", "--bucket", bucket, "--key", "artifacts/model", "--body", str(AWS))
    stack.ask("cloudformation", "delete-stack", "--stack-name", "tracking")
    stack.ask("cloudformation", "wait", "stack-delete-complete", "--stack-name", "tracking")
    (kept,) = stack.ask("s3api", "list-objects-v2", "--bucket", bucket)["Contents"]
    assert kept["Key"] == "artifacts/model"
    for words, key in (
        (("rds", "describe-db-instances"), "DBInstances"), (("elbv2", "describe-load-balancers"), "LoadBalancers"),
        (("rds", "describe-db-subnet-groups"), "DBSubnetGroups"), (("logs", "describe-log-groups"), "logGroups"),
    ):  # fmt: skip
        assert stack.ask(*words)[key] == []


# AWS: what moto does not make or keep


def test_the_database_is_not_lost_by_accident(template: dict[str, Any], properties: dict[str, Any]) -> None:
    database = template["Resources"]["Database"]
    assert database["DeletionPolicy"] == database["UpdateReplacePolicy"] == "Snapshot"
    assert properties["Database"]["DeletionProtection"] == {"Ref": "Protected"}
    assert template["Parameters"]["Protected"]["Default"] == "true"


def test_the_database_takes_encrypted_connections_from_the_task_alone(properties: dict[str, Any]) -> None:
    assert properties["DatabaseSettings"]["Parameters"]["rds.force_ssl"] == "1"
    assert properties["Database"]["DBParameterGroupName"] == {"Ref": "DatabaseSettings"}
    assert properties["Database"]["VPCSecurityGroups"] == [{"Fn::GetAtt": ["DatabaseGroup", "GroupId"]}]
    variables = {
        entry["Name"]: entry["Value"] for entry in properties["Task"]["ContainerDefinitions"][0]["Environment"]
    }
    assert variables["PGSSLMODE"] == "require"


def test_secrets_are_drawn_and_the_databases_is_not_changed_under_a_running_task(properties: dict[str, Any]) -> None:
    for name in ("DatabasePassword", "AdminPassword", "SessionKey"):
        drawn = properties[name]["GenerateSecretString"]
        assert drawn["PasswordLength"] >= 32
        assert drawn["ExcludePunctuation"] is True  # RDS refuses some, and an address with a password in it breaks
    assert "ManageMasterUserPassword" not in properties["Database"]
    password = properties["Database"]["MasterUserPassword"]
    assert password == {"Fn::Sub": "{{resolve:secretsmanager:${DatabasePassword}:SecretString}}"}
    secrets = properties["Task"]["ContainerDefinitions"][0]["Secrets"]
    assert [entry["ValueFrom"] for entry in secrets] == [
        {"Ref": "DatabasePassword"}, {"Ref": "AdminPassword"}, {"Ref": "SessionKey"}
    ]  # fmt: skip
    readable = properties["ExecutionRole"]["Policies"][0]["PolicyDocument"]["Statement"][2]
    assert readable["Action"] == "secretsmanager:GetSecretValue"
    assert readable["Resource"] == [entry["ValueFrom"] for entry in secrets]


def test_the_bucket_is_private_encrypted_versioned_and_stays(
    template: dict[str, Any], properties: dict[str, Any]
) -> None:
    for name in ("Artifacts", "ArtifactsPolicy"):
        kept = template["Resources"][name]
        assert kept["DeletionPolicy"] == kept["UpdateReplacePolicy"] == "Retain"
    bucket = properties["Artifacts"]
    assert set(bucket["PublicAccessBlockConfiguration"].values()) == {True}
    assert len(bucket["PublicAccessBlockConfiguration"]) == 4
    (encryption,) = bucket["BucketEncryption"]["ServerSideEncryptionConfiguration"]
    assert encryption["ServerSideEncryptionByDefault"] == {"SSEAlgorithm": "AES256"}
    assert bucket["VersioningConfiguration"] == {"Status": "Enabled"}


def test_the_bucket_refuses_connections_without_encryption(properties: dict[str, Any]) -> None:
    assert properties["ArtifactsPolicy"]["Bucket"] == {"Ref": "Artifacts"}
    everything = [{"Fn::GetAtt": ["Artifacts", "Arn"]}, {"Fn::Sub": "${Artifacts.Arn}/*"}]
    statements = properties["ArtifactsPolicy"]["PolicyDocument"]["Statement"]
    for statement in statements:
        refused = (statement["Effect"], statement["Principal"], statement["Action"], statement["Resource"])
        assert refused == ("Deny", "*", "s3:*", everything)
    assert [statement["Condition"] for statement in statements] == [
        {"Bool": {"aws:SecureTransport": "false"}}, {"NumericLessThan": {"s3:TlsVersion": "1.2"}}
    ]  # fmt: skip


def test_groups_let_out_what_is_needed(properties: dict[str, Any]) -> None:
    def goes_out(group: str) -> list[tuple[int, Any]]:
        rules = properties[group]["SecurityGroupEgress"]
        return [(rule["ToPort"], rule.get("CidrIp") or rule["DestinationSecurityGroupId"]) for rule in rules]

    assert goes_out("BalancerGroup") == [(5000, {"Fn::GetAtt": ["TaskGroup", "GroupId"]})]
    assert goes_out("TaskGroup") == [(5432, {"Fn::GetAtt": ["DatabaseGroup", "GroupId"]}), (443, "0.0.0.0/0")]
    assert goes_out("DatabaseGroup") == [(1, "127.0.0.1/32")]


def test_there_are_never_two_servers_and_none_has_a_public_address(properties: dict[str, Any]) -> None:
    service = properties["Service"]
    assert service["DesiredCount"] == 1
    assert service["DeploymentConfiguration"]["MaximumPercent"] == 100
    assert service["DeploymentConfiguration"]["MinimumHealthyPercent"] == 0
    network = service["NetworkConfiguration"]["AwsvpcConfiguration"]
    assert (network["AssignPublicIp"], network["Subnets"]) == ("DISABLED", {"Ref": "PrivateSubnets"})


@pytest.mark.parametrize("name", ["CertificateArn", "ClientRange"])
def test_neither_encryption_nor_a_range_of_clients_can_be_left_out(name: str, template: dict[str, Any]) -> None:
    parameter = template["Parameters"][name]
    assert "Default" not in parameter
    assert not re.fullmatch(parameter["AllowedPattern"], "")


def test_it_puts_out_what_a_person_needs_next(template: dict[str, Any]) -> None:
    outputs = {name: output["Value"] for name, output in template["Outputs"].items()}
    assert outputs["Address"] == {"Fn::Sub": "https://${Domain}"}
    assert outputs["BalancerAddress"] == {"Fn::GetAtt": ["LoadBalancer", "DNSName"]}
    assert outputs["AdminPassword"] == {"Ref": "AdminPassword"}  # its name; what it holds is never put out


# Azure


def test_every_name_used_is_declared(tree: dict[str, Any]) -> None:
    declared = {name for section in ("parameters", "variables", "resources") for name in tree[section]}
    text = re.sub(r"//.*", "", AZURE.read_text())
    used = set(re.findall(r"(?<![.\w'])([A-Za-z]\w*)\.(?:id|properties|name)\b", text))
    used |= set(re.findall(r"\$\{([A-Za-z]\w*)", text))
    used |= set(re.findall(r"\b(?:parent|scope): (\w+)", text))
    for listed in re.findall(r"dependsOn: \[([\w\s]+)\]", text):
        used |= set(listed.split())
    assert used - {"door", "index", "environment"} <= declared


def test_only_https_comes_in_from_the_addresses_given(app: dict[str, Any]) -> None:
    ingress = app["configuration"]["ingress"]
    assert ingress["allowInsecure"] is False
    assert ingress["targetPort"] == "port"
    assert "allowedAddresses" in str(ingress["ipSecurityRestrictions"])


def test_the_server_on_azure_is_told_what_it_reads(container: dict[str, Any]) -> None:
    values = {entry["name"]: entry["value"] for entry in container["env"] if "value" in entry}
    secret = {entry["name"]: entry["secretRef"] for entry in container["env"] if "secretRef" in entry}
    assert set(values) == {*OPEN, *FOR_OTHERS, "AZURE_CLIENT_ID"}
    assert tuple(secret) == SECRET
    assert list(secret.values()) == ["database-password", "admin-password", "session-key"]
    assert values["PGHOST"] == "database.properties.fullyQualifiedDomainName"
    assert values["TRACKING_ARTIFACTS"] == "wasbs://${artifacts.name}@${storage.name}.${blobHost}/artifacts"
    assert values["TRACKING_HOST"] == "${name}.${appsEnvironment.properties.defaultDomain}"
    assert values["AZURE_CLIENT_ID"] == "keeper.properties.clientId"
    assert values["PGSSLMODE"] == "require"


def test_secrets_come_from_the_vault(app: dict[str, Any], resources: dict[str, dict[str, Any]]) -> None:
    stored = bicep.of_type(resources, "Microsoft.KeyVault/vaults/secrets").values()
    names = {secret["name"]: secret["properties"]["value"] for secret in stored}
    assert names == {
        "database-password": "databasePassword", "admin-password": "adminPassword", "session-key": "sessionKey"
    }  # fmt: skip
    for secret in app["configuration"]["secrets"]:
        assert secret["keyVaultUrl"] == f"${{vault.properties.vaultUri}}secrets/{secret['name']}"
        assert secret["identity"] == "secretReader.id"


def test_code_in_the_container_gets_a_token_for_artifacts_alone(
    app: dict[str, Any], resources: dict[str, dict[str, Any]]
) -> None:
    lives = {entry["identity"]: entry["lifecycle"] for entry in app["configuration"]["identitySettings"]}
    assert lives == {"pullIdentity": "None", "secretReader.id": "None", "keeper.id": "Main"}
    given = bicep.of_type(resources, "Microsoft.Authorization/roleAssignments").values()
    rights = {
        (role["scope"], role["properties"]["principalId"].partition(".")[0], role["properties"]["roleDefinitionId"])
        for role in given
    }
    assert rights == {("vault", "secretReader", "secretsUser"), ("artifacts", "keeper", "blobContributor")}


def test_vault_database_and_artifacts_have_private_doors_only(
    tree: dict[str, Any], resources: dict[str, dict[str, Any]]
) -> None:
    assert resources["vault"]["properties"]["publicNetworkAccess"] == "Disabled"
    assert resources["storage"]["properties"]["publicNetworkAccess"] == "Disabled"
    assert resources["database"]["properties"]["network"] == {"publicNetworkAccess": "Disabled"}
    doors = {door["target"]: door["group"] for door in tree["variables"]["doors"]["value"]}
    assert doors == {"vault.id": "vault", "database.id": "postgresqlServer", "storage.id": "blob"}
    for name in ("zones", "zoneLinks", "endpoints", "endpointNames"):
        assert resources[name]["loop"] == "doors"


def test_no_key_opens_the_artifacts_and_old_ones_stay_for_a_while(resources: dict[str, dict[str, Any]]) -> None:
    storage = resources["storage"]["properties"]
    assert storage["allowSharedKeyAccess"] is False
    assert storage["allowBlobPublicAccess"] is False
    assert (storage["minimumTlsVersion"], storage["supportsHttpsTrafficOnly"]) == ("TLS1_2", True)
    assert resources["artifacts"]["properties"]["publicAccess"] == "None"
    blobs = resources["blobs"]["properties"]
    assert blobs["isVersioningEnabled"] is True
    assert blobs["deleteRetentionPolicy"] == {"enabled": True, "days": "oldVersionDays"}


def test_the_database_on_azure_is_backed_up_and_takes_encrypted_connections_only(
    tree: dict[str, Any], resources: dict[str, dict[str, Any]]
) -> None:
    assert resources["database"]["properties"]["backup"]["backupRetentionDays"] == "backupDays"
    assert tree["parameters"]["backupDays"]["default"] == 14
    forced = resources["encryptedOnly"]
    assert (forced["parent"], forced["name"]) == ("database", "require_secure_transport")
    assert forced["properties"]["value"] == "ON"


def test_runs_and_artifacts_are_locked(resources: dict[str, dict[str, Any]]) -> None:
    locks = bicep.of_type(resources, "Microsoft.Authorization/locks").values()
    assert {(lock["scope"], lock["properties"]["level"]) for lock in locks} == {
        ("database", "CanNotDelete"), ("storage", "CanNotDelete")
    }  # fmt: skip


def test_one_replica_runs_and_is_asked_for_its_health(app: dict[str, Any], container: dict[str, Any]) -> None:
    assert app["template"]["scale"] == {"minReplicas": 1, "maxReplicas": 1}
    for probe in container["probes"]:
        assert probe["httpGet"] == {"path": "/health", "port": "port"}
        assert 1 <= probe["timeoutSeconds"] < probe["periodSeconds"] <= 240
        assert probe["failureThreshold"] <= 10
    assert {probe["type"] for probe in container["probes"]} == {"Startup", "Readiness", "Liveness"}


def test_the_app_waits_for_what_it_needs_to_start(resources: dict[str, dict[str, Any]]) -> None:
    assert set(resources["app"]["dependsOn"]) == {
        "adminSecret", "databaseSecret", "sessionSecret", "mayReadSecrets", "mayKeepArtifacts", "encryptedOnly",
        "endpointNames", "zoneLinks",
    }  # fmt: skip


def test_logs_are_kept_for_a_time_and_need_no_key(resources: dict[str, dict[str, Any]]) -> None:
    assert resources["logs"]["properties"]["retentionInDays"] == "logRetentionDays"
    assert resources["logs"]["properties"]["features"] == {"disableLocalAuth": True}
    settings = bicep.of_type(resources, "Microsoft.Insights/diagnosticSettings").values()
    assert {setting["scope"] for setting in settings} == {"appsEnvironment", "vault", "database"}
