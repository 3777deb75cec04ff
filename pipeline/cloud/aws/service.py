"""The service on AWS: two stacks of deploy/aws, one for the images and one for all that answers."""

import shlex
from collections.abc import Callable, Mapping
from typing import Any

from pipeline.cloud import push
from pipeline.cloud.aws import cloudformation, preflight
from pipeline.cloud.aws.cloudformation import Stack, Wish
from pipeline.cloud.aws.preflight import Account, AwsRequest
from pipeline.cloud.aws.registry import USER, Ecr
from pipeline.cloud.client import Client
from pipeline.cloud.deployment import Cloud, Hands, Release, Service, publish
from pipeline.cloud.probe import Endpoint
from pipeline.cloud.push import Login
from pipeline.errors import InputError


class Aws(Cloud[Account]):
    """The service on Fargate, behind a load balancer."""

    def __init__(self, request: AwsRequest, client: Client, pause: float = 10.0) -> None:
        """`pause` is the time in seconds between two looks at a stack that is deleted."""
        super().__init__(client)
        self.request = request
        self._pause = pause

    def preflight(self) -> Account:
        """See `preflight.preflight`."""
        return preflight.preflight(self.request, self.client)

    def rehearse(self, plan: Account, tool: str) -> None:
        """Show the commands that `make` would run."""
        images = self._images(plan, 0)
        address = f"{images.repository}:TAG"
        self._show_words(["fracture", "image", "--tag", address])
        images.make()
        for words in push.commands(tool, address, Login(plan.host, USER, "")):
            self._show_words(words)
        cloudformation.apply(self.client, plan.service, self._service(plan, "DIGEST"), 0)

    def make(self, plan: Account, hands: Hands, release: Release) -> Service:
        """Bring both stacks to what is asked."""
        images = self._images(plan, hands.pause)
        digest = publish(images, release, hands, self.client.show)
        try:
            stack = cloudformation.apply(self.client, plan.service, self._service(plan, digest), hands.pause)
        except InputError as error:
            raise InputError(f"{error}; {images.left_behind}") from None
        if stack is None:
            raise InputError(f"{self.request.name}: is gone; somebody else deleted it")
        return describe(self.client, stack, plan)

    def delete(self, ask: Callable[[str], None]) -> bool:
        """Delete the stacks; InputError with what could not be deleted and costs."""
        request, client = self.request, self.client
        preflight.check_name(request)
        ask(f"delete {request.name} in {request.region}, with its images, keys and logs?")
        client.require()
        names = (request.canary, request.name, request.registry)  # the canary's tasks run in the service's cluster
        found = [cloudformation.find(client, name) for name in names]
        for stack in filter(None, found):
            cloudformation.remove(client, stack, self._pause)
        return any(found)

    def left_running(self) -> str:
        """What CloudFormation still does after an interruption, and what that costs."""
        daily = 24 * sum(cloudformation.HOURLY.values())
        return (
            f"CloudFormation finishes by itself what it has begun with {self.request.name} in {self.request.region} "
            f"(about {daily:.2f} USD a day once it stands); run the command again, or with --delete"
        )

    def _images(self, plan: Account, pause: float) -> Ecr:
        request = self.request
        wish = Wish(request.registry, request.folder / "registry.yaml", {"Repository": request.name})
        return Ecr(self.client, plan.host, request.name, wish, plan.registry, pause)

    def _service(self, plan: Account, digest: str) -> Wish:
        request = self.request
        image = f"{plan.host}/{request.name}@{digest}"
        return Wish(request.name, request.folder / "service.yaml", {**plan.parameters, "Image": image})

    def _show_words(self, words: list[str]) -> None:
        self.client.show(f"$ {shlex.join(words)}    # not run")


def describe(client: Client, stack: Stack, account: Account, headers: Mapping[str, str] | None = None) -> Service:
    """The service that a stack holds; `headers` choose one of its versions."""
    tls = stack.outputs.get("Protocol") == "https"
    balancer = stack.outputs["BalancerAddress"]
    secret = stack.outputs.get("ApiKeys", "")
    fetch = (
        f"its key: aws secretsmanager get-secret-value --region {stack.id.split(':')[3]} --query SecretString "
        f"--output text --secret-id {secret}"
        if secret
        else ""
    )
    return Service(
        name=stack.name,
        endpoint=Endpoint(balancer, 443 if tls else 80, account.domain if tls else balancer, tls, headers or {}),
        key=lambda: first_key(client, secret),
        log=f"`aws logs tail {stack.outputs.get('LogGroup', '')}`",
        internal=account.parameters.get("Scheme") == "internal",
        before=(f"DNS: {account.domain} has to be a CNAME (or alias) of {balancer}",) if tls else (),
        after=(fetch,) if fetch else (),
    )


def first_key(client: Client, secret: str) -> str:
    """The first of the API keys in a secret, which is not shown; empty without a secret."""
    if not secret:
        return ""
    answer: dict[str, Any] = client.read("secretsmanager", "get-secret-value", "--secret-id", secret)
    return str(answer["SecretString"]).split(",")[0].strip()
