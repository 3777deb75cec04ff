"""Check a request against the account, the templates and the quotas before anything is created."""

import ipaddress
import itertools
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from pipeline.cloud.aws import cloudformation
from pipeline.cloud.aws.cloudformation import Stack
from pipeline.cloud.client import Client, RefusedError
from pipeline.errors import InputError

_NAME = re.compile(r"[a-z](-?[a-z0-9]){0,40}")
_SIZES = {"small": 1, "medium": 2, "large": 4}  # vCPUs; deploy/aws/service.yaml says the same

# service-quotas: code, what it counts.
_VPCS, _BALANCERS, _FARGATE = ("vpc", "L-F678F1CE"), ("elasticloadbalancing", "L-53DA6B97"), ("fargate", "L-3032A538")


@dataclass(frozen=True)
class AwsRequest:
    """What is asked for; an existing stack keeps what is left out."""

    region: str
    folder: Path  # of the templates
    name: str = "bone-fracture"  # of the stack and of the registry's repository
    certificate: str = ""
    domain: str = ""  # by default the certificate's
    plain_http: bool = False
    parameters: Mapping[str, str] = field(default_factory=dict)  # further ones of service.yaml

    @property
    def registry(self) -> str:
        """The name of the registry's stack."""
        return f"{self.name}-registry"

    @property
    def canary(self) -> str:
        """The name of the stack of a second version."""
        return f"{self.name}-canary"


@dataclass(frozen=True)
class Account:
    """What the preflight found."""

    host: str  # of the registry
    domain: str
    service: Stack | None
    registry: Stack | None
    parameters: Mapping[str, str]  # of the service's stack, all but the image


def preflight(request: AwsRequest, client: Client) -> Account:
    """Everything that can be wrong before anything is made: program, login, region, stacks, certificate, quotas.

    Raises InputError.
    """
    _check_words(request)
    client.require()
    caller = client.read("sts", "get-caller-identity")
    known = client.read("ec2", "describe-regions", "--region-names", request.region)["Regions"]
    if not known:
        raise InputError(f"--region {request.region}: AWS knows no such region, or it is not switched on here")
    service, registry = cloudformation.find(client, request.name), cloudformation.find(client, request.registry)
    remedy = f"fracture deploy aws --region {request.region} --name {request.name} --delete"
    for stack in (service, registry):
        cloudformation.require_settled(client, stack, request.region, remedy)
    parameters = wanted(request, client, service)
    domain = find_domain(request, client, parameters)
    check_network(parameters)
    if service is None or service.status == "ROLLBACK_COMPLETE":
        _check_quotas(client, parameters)
    if not parameters.get("VpcId") and not parameters.get("S3PrefixList"):
        parameters["S3PrefixList"] = _prefix_list(client, request.region)
    partition, number = caller["Arn"].split(":")[1], caller["Account"]
    suffix = "amazonaws.com.cn" if partition == "aws-cn" else "amazonaws.com"
    host = f"{number}.dkr.ecr.{request.region}.{suffix}"
    return Account(host, domain, service, registry, parameters)


def check_name(request: AwsRequest) -> None:
    """InputError for a name that AWS does not take."""
    if not _NAME.fullmatch(request.name):
        raise InputError(f"--name {request.name}: use lower case letters, digits and single hyphens, at most 41")


def _check_words(request: AwsRequest) -> None:
    check_name(request)
    if not request.certificate:
        return
    parts = request.certificate.split(":", 5)
    if len(parts) < 6 or parts[2] != "acm":
        raise InputError(f"--certificate {request.certificate}: is no ARN of a certificate (arn:aws:acm:...)")
    if parts[3] != request.region:
        raise InputError(f"--certificate {request.certificate}: lies in {parts[3]}; one of {request.region} is needed")


def wanted(request: AwsRequest, client: Client, service: Stack | None) -> dict[str, str]:
    """What the service's stack has and is to have, where it differs from the template; all but the image.

    InputError for a parameter that the template does not know.
    """
    template = f"file://{request.folder / 'service.yaml'}"
    known = {
        entry["ParameterKey"]: str(entry["DefaultValue"]) if "DefaultValue" in entry else None
        for entry in client.read("cloudformation", "get-template-summary", "--template-body", template)["Parameters"]
    }
    for name in request.parameters:
        if name not in known or name in {"Image", "Repository"}:
            free = ", ".join(sorted(set(known) - {"Image", "Repository"}))
            raise InputError(f"--set {name}: is not a parameter; choose one of {free}")
    rules = _rules(request.folder / "service.yaml")
    for name, value in request.parameters.items():
        _check_value(name, value, rules[name])
    parameters = {**(service.parameters if service else {}), **request.parameters, "Repository": request.name}
    if request.certificate:
        parameters["CertificateArn"] = request.certificate
    if request.plain_http:
        parameters["AllowPlainHttp"] = "true"
    least, most = (int(parameters.get(name, known[name] or "1")) for name in ("MinTasks", "MaxTasks"))
    if least > most:
        raise InputError(f"--set MinTasks={least}: is more than MaxTasks={most}")
    return {name: value for name, value in parameters.items() if name != "Image" and value != known.get(name, value)}


def _rules(template: Path) -> dict[str, dict[str, Any]]:
    """What a template says of its parameters' values; CloudFormation itself looks at them only when it begins."""
    section = template.read_text(encoding="utf-8").partition("\nParameters:\n")[2]
    lines = itertools.takewhile(lambda line: not line or line[0].isspace(), section.splitlines())
    return dict(YAML(typ="safe").load("\n".join(lines)))


def _check_value(name: str, value: str, rule: Mapping[str, Any]) -> None:
    allowed = [str(one) for one in rule.get("AllowedValues", ())]
    wrong = ""
    if allowed and value not in allowed:
        wrong = f"choose one of {', '.join(allowed)}"
    elif rule["Type"] == "Number" and not re.fullmatch(r"\d+", value):
        wrong = "write a whole number"
    elif int(rule.get("MinValue", 0)) > (int(value) if rule["Type"] == "Number" else 0):
        wrong = f"at least {rule['MinValue']}"
    elif "AllowedPattern" in rule and not re.fullmatch(rule["AllowedPattern"], value):
        wrong = f"does not look like {rule['AllowedPattern']}"
    elif name == "ClientRange" and not _is_range(value):
        wrong = "write a range of addresses like 192.0.2.0/24"
    if wrong:
        raise InputError(f"--set {name}={value}: {wrong}")


def _is_range(value: str) -> bool:
    try:
        ipaddress.IPv4Network(value)
    except ValueError:
        return False
    return True


def find_domain(request: AwsRequest, client: Client, parameters: Mapping[str, str]) -> str:
    """The name the service is asked by; empty for plain HTTP. InputError when no certificate fits."""
    arn = parameters.get("CertificateArn", "")
    if not arn:
        if parameters.get("AllowPlainHttp") != "true":
            raise InputError(
                "no certificate: give --certificate ARN (`aws acm request-certificate` makes one), or "
                "--allow-plain-http for keys and radiographs without encryption"
            )
        return ""
    try:
        found = client.read("acm", "describe-certificate", "--certificate-arn", arn)["Certificate"]
    except RefusedError as error:
        if "ResourceNotFound" in error.said:
            raise InputError(f"--certificate {arn}: there is none in {request.region}") from None
        raise
    if found["Status"] != "ISSUED":
        raise InputError(f"--certificate {arn}: is {found['Status']}, not ISSUED; its domain has to be proved first")
    domain: str = request.domain or found["DomainName"]
    if domain.startswith("*"):
        raise InputError(f"--certificate {arn}: is for {domain}; say with --domain which name the service gets")
    return domain


def check_network(parameters: Mapping[str, str]) -> None:
    """InputError for half a network."""
    given = [name for name in ("VpcId", "PublicSubnets", "PrivateSubnets") if parameters.get(name)]
    if given and len(given) < 3:
        raise InputError(f"--set {given[0]}: VpcId, PublicSubnets and PrivateSubnets belong together; give all three")


def _check_quotas(client: Client, parameters: Mapping[str, str]) -> None:
    """InputError when what is to be made does not fit what the account may have."""
    if not parameters.get("VpcId"):
        _check_quota(client, _VPCS, "VPCs", len(client.read("ec2", "describe-vpcs")["Vpcs"]) + 1)
    balancers = client.read("elbv2", "describe-load-balancers")["LoadBalancers"]
    _check_quota(
        client, _BALANCERS, "application load balancers", sum(b["Type"] == "application" for b in balancers) + 1
    )
    size, tasks = parameters.get("Size", "small"), parameters.get("MinTasks", "2")
    if not tasks.isdigit():
        raise InputError(f"--set MinTasks={tasks}: is no number of tasks")
    # Twice: while a new version comes, the former one stays.
    _check_quota(client, _FARGATE, "vCPUs of Fargate", 2 * int(tasks) * _SIZES.get(size, 1))


def _check_quota(client: Client, quota: tuple[str, str], what: str, needed: int) -> None:
    service, code = quota
    try:
        answer = client.read("service-quotas", "get-service-quota", "--service-code", service, "--quota-code", code)
    except RefusedError:
        client.show(f"note: the quota of {what} cannot be read; {needed} are needed")
        return
    allowed = answer["Quota"]["Value"]
    if needed > allowed:
        raise InputError(
            f"quota: {needed} {what} are needed and {allowed:g} allowed; raise it under Service Quotas "
            f"(service {service}, quota {code}), or use an existing network or fewer tasks (--set)"
        )


def _prefix_list(client: Client, region: str) -> str:
    found = client.read(
        "ec2", "describe-managed-prefix-lists", "--filters", f"Name=prefix-list-name,Values=com.amazonaws.{region}.s3"
    )["PrefixLists"]
    if not found:
        raise InputError(f"--region {region}: has no prefix list of S3; give one with --set S3PrefixList=pl-...")
    return str(found[0]["PrefixListId"])
