"""A bento to AWS: registry, image, the stack of deploy/aws/service.yaml, and a look whether it answers."""

import base64
import ipaddress
import itertools
import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from pipeline.cloud import push, stacks
from pipeline.cloud.client import Client, Reason, RefusedError
from pipeline.cloud.probe import Endpoint
from pipeline.cloud.push import Login
from pipeline.cloud.stacks import Stack, Wish
from pipeline.errors import InputError

RIGHTS = "docs/cloud/aws.md lists the rights it needs"
_REGION = re.compile(r"[a-z]{2,5}(-[a-z]+)+-\d+")
_NAME = re.compile(r"[a-z](-?[a-z0-9]){0,40}")
_SIZES = {"small": 1, "medium": 2, "large": 4}  # vCPUs; deploy/aws/service.yaml says the same
_REGISTRY_USER = "AWS"

# service-quotas: code, what it counts.
_VPCS, _BALANCERS, _FARGATE = ("vpc", "L-F678F1CE"), ("elasticloadbalancing", "L-53DA6B97"), ("fargate", "L-3032A538")


@dataclass(frozen=True)
class Request:
    """What a person asks for; what they leave out stays as it is in an existing stack."""

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


@dataclass(frozen=True)
class Release:
    """What is to be served."""

    bento: Path
    tag: str  # of the image; names the same content for ever
    model: str  # sha256 of the bundle, as the service's answers give it
    picture: Path  # a sample radiograph


@dataclass(frozen=True)
class Hands:
    """What else a deployment works with; tests put others in their place."""

    tool: str  # docker, podman or buildah
    prepare: Callable[[], Release]
    build: Callable[[Path, str], str]  # bento, address -> the address of the local image
    push: Callable[[str, Login], None]  # address, login
    check: Callable[[Endpoint, Release, str], None]  # endpoint, release, API key; InputError
    pause: float = 10.0  # seconds between two looks at a stack


@dataclass(frozen=True)
class Account:
    """What the preflight found."""

    host: str  # of the registry
    domain: str
    service: Stack | None
    registry: Stack | None
    parameters: Mapping[str, str]  # of the service's stack, all but the image


def make_client(region: str, dry: bool = False, show: Callable[[str], None] = print) -> Client:
    """The AWS CLI for one region; InputError when the region's name cannot be one."""
    if not _REGION.fullmatch(region):
        raise InputError(f"--region {region}: is no region's name; write one like eu-central-1")
    return Client(
        program="aws",
        install="install the AWS CLI (version 2 of its makers, or `make cloud-setup` and .venv-cloud/bin on the PATH)",
        options=("--region", region, "--output", "json"),
        reasons=(
            Reason(
                r"(?i)unable to locate credentials|config profile .* could not be found|partial credentials",
                "nobody is logged in to AWS ({said}); run `aws sso login` or `aws configure`, or set AWS_PROFILE",
            ),
            Reason(
                r"(?i)expired|error loading sso token|error when retrieving token from sso",
                "the login to AWS has expired; run `aws sso login` (or whatever you log in with) again",
            ),
            Reason(
                r"InvalidClientTokenId|UnrecognizedClient|AuthFailure|SignatureDoesNotMatch|InvalidAccessKeyId",
                f"AWS does not accept the login in {region}: a wrong key, or a region that is not switched on for the "
                "account ({said})",
            ),
            Reason(
                r"Could not connect to the endpoint|InvalidRegion|(?i:invalid endpoint)|InvalidParameterValue.*region",
                f"--region {region}: nobody answers there; check the region's name and the network",
            ),
            Reason(
                r"AccessDenied|UnauthorizedOperation|not authorized to perform",
                "the login may not do that ({said}); " + RIGHTS,
            ),
            Reason(r"Throttling|RequestLimitExceeded|Rate exceeded", "AWS asks for patience ({said}); try again later"),
            Reason(
                r"LimitExceeded|QuotaExceeded|TooMany\w+|(?i:limit (was |has been )?(reached|exceeded))",
                "a quota of the account is used up ({said}); raise it under Service Quotas",
            ),
        ),
        dry=dry,
        show=show,
    )


def deploy(request: Request, client: Client, hands: Hands) -> None:
    """Bring the service to what is asked, and say where it answers.

    Raises InputError; what a failure leaves behind and costs is named.
    """
    account = preflight(request, client)
    if client.dry:
        _rehearse(request, client, account, hands.tool)
        return
    release = hands.prepare()
    digest = _published(request, client, account, hands, release)
    wish = _service(request, account, digest)
    try:
        stack = stacks.apply(client, account.service, wish, hands.pause)
    except InputError as error:
        raise InputError(f"{error}; {_registry_stays(request)}") from None
    if stack is None:
        raise InputError(f"{request.name}: is gone; somebody else deleted it")
    _look(client, stack, account, hands, release)


def _registry_stays(request: Request) -> str:
    return (
        f"the registry {request.registry} stays with its images (0.10 USD a GB and month), for the next try or "
        "until --delete"
    )


def preflight(request: Request, client: Client) -> Account:
    """Everything that can be wrong before anything is made: program, login, region, stacks, certificate, quotas.

    Raises InputError.
    """
    _check_words(request)
    client.require()
    caller = client.read("sts", "get-caller-identity")
    known = client.read("ec2", "describe-regions", "--region-names", request.region)["Regions"]
    if not known:
        raise InputError(f"--region {request.region}: AWS knows no such region, or it is not switched on here")
    service, registry = stacks.find(client, request.name), stacks.find(client, request.registry)
    remedy = f"fracture deploy aws --region {request.region} --name {request.name} --delete"
    for stack in (service, registry):
        stacks.require_settled(client, stack, request.region, remedy)
    parameters = _wanted(request, client, service)
    domain = _domain(request, client, parameters)
    _check_network(parameters)
    if service is None or service.status == "ROLLBACK_COMPLETE":
        _check_quotas(client, parameters)
    if not parameters.get("VpcId") and not parameters.get("S3PrefixList"):
        parameters["S3PrefixList"] = _prefix_list(client, request.region)
    partition, number = caller["Arn"].split(":")[1], caller["Account"]
    suffix = "amazonaws.com.cn" if partition == "aws-cn" else "amazonaws.com"
    host = f"{number}.dkr.ecr.{request.region}.{suffix}"
    return Account(host, domain, service, registry, parameters)


def delete(request: Request, client: Client, pause: float = 10.0) -> bool:
    """Delete the service's stack and the registry's, and say what is left; False when there was nothing.

    Raises InputError with what could not be deleted and costs.
    """
    client.require()
    found = [stack for stack in (stacks.find(client, request.name), stacks.find(client, request.registry)) if stack]
    for stack in found:
        client.change("cloudformation", "delete-stack", "--stack-name", stack.name)
        if client.dry:
            continue
        client.show(f"deleting {stack.name}")
        status = stacks.settle(client, stack.id, pause)
        if status != "DELETE_COMPLETE":
            raise InputError(
                f"{stack.name}: cannot be deleted whole ({stacks.first_failure(client, stack.id)}); "
                f"{stacks.left_of(client, stack)}; try again, or delete it in the CloudFormation console"
            )
    return bool(found)


def left_running(request: Request) -> str:
    """What a command that was cut off may have left, for a person."""
    return (
        f"CloudFormation finishes by itself what it has begun with {request.name} in {request.region} "
        f"(about {24 * sum(stacks.HOURLY.values()):.2f} USD a day once it stands); run the command again, or with "
        "--delete"
    )


def check_name(request: Request) -> None:
    """InputError for a name that AWS does not take."""
    if not _NAME.fullmatch(request.name):
        raise InputError(f"--name {request.name}: use lower case letters, digits and single hyphens, at most 41")


def _check_words(request: Request) -> None:
    check_name(request)
    if not request.certificate:
        return
    parts = request.certificate.split(":", 5)
    if len(parts) < 6 or parts[2] != "acm":
        raise InputError(f"--certificate {request.certificate}: is no ARN of a certificate (arn:aws:acm:...)")
    if parts[3] != request.region:
        raise InputError(f"--certificate {request.certificate}: lies in {parts[3]}; one of {request.region} is needed")


def _wanted(request: Request, client: Client, service: Stack | None) -> dict[str, str]:
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
            raise InputError(f"--set {name}: is nothing that can be set; there are {free}")
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


def _domain(request: Request, client: Client, parameters: Mapping[str, str]) -> str:
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


def _check_network(parameters: Mapping[str, str]) -> None:
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


def _digest(client: Client, repository: str, tag: str) -> str | None:
    """The digest of a pushed image, None when there is no such tag."""
    try:
        answer = client.read(
            "ecr", "describe-images", "--repository-name", repository, "--image-ids", f"imageTag={tag}"
        )
    except RefusedError as error:
        if "NotFoundException" in error.said:
            return None
        raise
    return str(answer["imageDetails"][0]["imageDigest"])


def _password(client: Client) -> str:
    """The registry's password, from the token: `get-login-password` prints no JSON."""
    token = client.read("ecr", "get-authorization-token", "--query", "authorizationData[0].authorizationToken")
    return base64.b64decode(token).decode().partition(":")[2]


def _published(request: Request, client: Client, account: Account, hands: Hands, release: Release) -> str:
    """The digest of the release's image in the registry, built and pushed where it is not there yet."""
    address = f"{account.host}/{request.name}:{release.tag}"
    found = _digest(client, request.name, release.tag) if account.registry else None
    if found is not None:
        client.show(f"{address}: is in the registry")
        return found
    client.show(f"building {address}")
    hands.build(release.bento, address)
    stacks.apply(client, account.registry, _registry(request), hands.pause)
    client.show(f"pushing {address}")
    try:
        hands.push(address, Login(account.host, _REGISTRY_USER, _password(client)))
    except InputError as error:
        raise InputError(f"{error}; {_registry_stays(request)}") from None
    found = _digest(client, request.name, release.tag)
    if found is None:
        raise InputError(f"{address}: was pushed and is not there; look at `aws ecr describe-images`")
    return found


def _rehearse(request: Request, client: Client, account: Account, tool: str) -> None:
    """Show what `deploy` would run after the preflight."""
    address = f"{account.host}/{request.name}:TAG"

    def show(words: Sequence[str]) -> None:
        client.show(f"$ {shlex.join(words)}    # not run")

    show(["fracture", "image", "--tag", address])
    stacks.apply(client, account.registry, _registry(request), 0)
    for words in push.commands(tool, address, Login(account.host, _REGISTRY_USER, "")):
        show(words)
    stacks.apply(client, account.service, _service(request, account, "DIGEST"), 0)
    client.show("# then: wait for /readyz, score a sample radiograph, print the address")
    client.show("nothing was changed")


def _service(request: Request, account: Account, digest: str) -> Wish:
    image = f"{account.host}/{request.name}@{digest}"
    return Wish(request.name, request.folder / "service.yaml", {**account.parameters, "Image": image})


def _registry(request: Request) -> Wish:
    return Wish(request.registry, request.folder / "registry.yaml", {"Repository": request.name})


def _look(client: Client, stack: Stack, account: Account, hands: Hands, release: Release) -> None:
    tls = stack.outputs.get("Protocol") == "https"
    balancer = stack.outputs["BalancerAddress"]
    endpoint = Endpoint(balancer, 443 if tls else 80, account.domain if tls else balancer, tls)
    if account.parameters.get("Scheme") == "internal":
        client.show(f"{endpoint.url} answers inside its network only, and was not asked from here")
        return
    try:
        hands.check(endpoint, release, _key(client, stack))
    except InputError as error:
        logs = stack.outputs.get("LogGroup", "")
        raise InputError(
            f"{stack.name} stands and costs, but does not answer as it should: {error}; its log: `aws logs tail {logs}`"
        ) from None
    if tls:
        client.show(f"DNS: {account.domain} has to be a CNAME (or alias) of {balancer}")
    client.show(f"ready: {endpoint.url}")
    if "ApiKeys" in stack.outputs:
        client.show(
            f"its key: aws secretsmanager get-secret-value --region {stack.id.split(':')[3]} --query SecretString "
            f"--output text --secret-id {stack.outputs['ApiKeys']}"
        )


def _key(client: Client, stack: Stack) -> str:
    """The first of the service's API keys, which is not shown."""
    secret = stack.outputs.get("ApiKeys", "")
    if not secret:
        return ""
    answer: dict[str, Any] = client.read("secretsmanager", "get-secret-value", "--secret-id", secret)
    return str(answer["SecretString"]).split(",")[0].strip()
