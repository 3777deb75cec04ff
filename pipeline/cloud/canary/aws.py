"""A canary on AWS: a stack beside the service's, with tasks, a target group and the rules that lead there."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from pipeline.cloud.aws import cloudformation, preflight
from pipeline.cloud.aws.cloudformation import Stack, Wish
from pipeline.cloud.aws.preflight import Account, AwsRequest
from pipeline.cloud.aws.registry import Ecr
from pipeline.cloud.aws.service import describe
from pipeline.cloud.canary.steps import Canary, Candidate, Standing
from pipeline.cloud.client import Client, RefusedError
from pipeline.cloud.deployment import look, publish
from pipeline.errors import InputError

_TRY = {"X-Fracture-Canary": "always"}
"""The header that leads to the canary whatever its share is (deploy/aws/canary.yaml)."""
_ALARMS = ("errors", "nobody")
_FROM_SERVICE = ("Size", "MaxTasks", "AlarmTopic")


@dataclass(frozen=True)
class _Beside:
    """The service's stack, and the ids of what it holds."""

    stack: Stack
    resources: Mapping[str, str]

    @property
    def image(self) -> str:
        return self.stack.parameters["Image"]


class AwsCanary(Canary):
    """A second set of tasks behind the service's load balancer."""

    has_alarms = True

    def __init__(self, request: AwsRequest, client: Client, pause: float = 10.0) -> None:
        """`pause` is the time in seconds between two looks at a stack that changes."""
        super().__init__(client)
        self.request = request
        self._pause = pause

    def find(self) -> Standing | None:
        """The canary with the share that the load balancer gives it now, whatever its stack says."""
        beside, stack = self._service, self._stack()
        if stack is None or stack.status in {"ROLLBACK_COMPLETE", "DELETE_COMPLETE"}:
            return None
        rules = self._rules(beside)
        share = max((weight for rule in rules for weight in _weights(rule, beside)), default=0)
        return Standing(stack.parameters.get("Image", ""), stack.parameters.get("Model", ""), share)

    def place(self, candidate: Candidate) -> None:
        """Push the image, and make or change the stack with a share of 0."""
        beside, request = self._service, self.request
        host = beside.image.partition("/")[0]
        wish = Wish(request.registry, request.folder / "registry.yaml", {"Repository": request.name})
        registry = cloudformation.find(self.client, request.registry)
        images = Ecr(self.client, host, request.name, wish, registry, self._pause)
        image = f"{images.repository}@{publish(images, candidate.release, candidate.hands, self.client.show)}"
        if image == beside.image:
            raise InputError(
                f"{request.name}: serves {candidate.model} to everybody already; promote another version first"
            )
        self._apply({**self._given(beside), "Image": image, "Model": candidate.model, "Share": "0", "Rest": "100"})

    def try_out(self, candidate: Candidate) -> None:
        """Ask through the load balancer, with the header that leads to the canary."""
        stack = self._service.stack
        domain = preflight.find_domain(self.request, self.client, stack.parameters)
        service = describe(self.client, stack, Account("", domain, stack, None, stack.parameters), _TRY)
        service = replace(service, name=self.request.canary, before=(), after=())
        look(service, candidate.release, candidate.hands, self.client.show)

    def shift(self, share: int) -> int:
        """Change the weights in the stack."""
        beside, stack = self._service, self._stack()
        if stack is None:
            raise InputError(f"{self.request.canary}: is gone; somebody else ended the canary")
        given = stack.parameters
        if given.get("Share") != "0" and not self._rules(beside):
            # The rule was changed behind CloudFormation's back, which would leave it so; it has to be made anew.
            self._apply({**given, "Share": "0", "Rest": "100"})
        self._apply({**given, "Share": str(share), "Rest": str(100 - share)})
        return share

    def withdraw(self) -> None:
        """Lead every request of the rule that divides them to the service: at once, whatever state the stack is in."""
        self._undivide()
        stack = self._stack()
        if stack is not None and stack.status.endswith("_IN_PROGRESS"):
            # It may be about to make the rule that was not there yet.
            cloudformation.settle(self.client, stack.id, self._pause)
            self._undivide()

    def remove(self) -> None:
        """Delete the stack and wait for it."""
        stack = self._stack()
        if stack is not None:
            cloudformation.remove(self.client, stack, self._pause)

    def take_over(self) -> None:
        """Give the service's stack the canary's image; it replaces task by task, and goes back by itself."""
        beside, found, request = self._service, self.find(), self.request
        if found is None:
            raise InputError(f"{request.canary}: is gone; somebody else ended the canary")
        remedy = f"fracture deploy aws --region {request.region} --name {request.name} --delete"
        cloudformation.require_settled(self.client, beside.stack, request.region, remedy)
        kept = dict.fromkeys(preflight.wanted(request, self.client, beside.stack))
        parameters = {**kept, "Image": found.image}
        wish = Wish(request.name, request.folder / "service.yaml", parameters)
        cloudformation.apply(self.client, beside.stack, wish, self._pause)
        del self._service

    def alarms(self) -> list[str]:
        """Those of CloudWatch that belong to the service or to the canary and are in alarm."""
        found = self.client.read(
            "cloudwatch",
            "describe-alarms",
            "--alarm-types",
            "MetricAlarm",
            "--alarm-name-prefix",
            f"{self.request.name}-",
        )["MetricAlarms"]
        names = {alarm["AlarmName"] for alarm in found}
        missing = [name for name in (f"{self.request.canary}-{kind}" for kind in _ALARMS) if name not in names]
        if missing:
            raise InputError(f"{', '.join(missing)}: this alarm is gone from CloudWatch")
        return [f"{alarm['AlarmName']} (CloudWatch)" for alarm in found if alarm["StateValue"] == "ALARM"]

    @cached_property
    def _service(self) -> _Beside:
        request, client = self.request, self.client
        preflight.check_name(request)
        client.require()
        stack = cloudformation.find(client, request.name)
        if stack is None or "Image" not in stack.parameters:
            raise InputError(
                f"{request.name}: there is no service in {request.region} to have a canary; "
                f"fracture deploy aws --region {request.region} makes it"
            )
        found = client.read("cloudformation", "describe-stack-resources", "--stack-name", stack.id)["StackResources"]
        ids = {one.get("LogicalResourceId", ""): one.get("PhysicalResourceId", "") for one in found}
        return _Beside(stack, ids)

    def _stack(self) -> Stack | None:
        return cloudformation.find(self.client, self.request.canary)

    def _rules(self, beside: _Beside) -> list[dict[str, Any]]:
        """The rules that divide requests between the service and the canary."""
        answer = self.client.read("elbv2", "describe-rules", "--listener-arn", beside.resources["Listener"])
        return [rule for rule in answer["Rules"] if _weights(rule, beside)]

    def _undivide(self) -> None:
        beside = self._service
        everything = json.dumps([{"Type": "forward", "TargetGroupArn": beside.resources["TargetGroup"]}])
        for rule in self._rules(beside):
            try:
                self.client.change("elbv2", "modify-rule", "--rule-arn", rule["RuleArn"], "--actions", everything)
            except RefusedError as error:
                if "RuleNotFound" not in error.said:
                    raise

    def _given(self, beside: _Beside) -> dict[str, str]:
        """The stack's parameters that name parts of the service."""
        parts, settings = beside.resources, beside.stack.parameters
        own = "Network" in parts
        return {
            "Listener": parts["Listener"],
            "LoadBalancer": parts["LoadBalancer"].partition(":loadbalancer/")[2],
            "ServiceTargetGroup": parts["TargetGroup"],
            "VpcId": parts["Network"] if own else settings["VpcId"],
            "Subnets": f"{parts['PrivateSubnetA']},{parts['PrivateSubnetB']}" if own else settings["PrivateSubnets"],
            "TaskGroup": parts["TaskGroup"],
            "Cluster": parts["Cluster"],
            "ExecutionRole": parts["ExecutionRole"],
            "TaskRole": parts["TaskRole"],
            "ApiKeys": beside.stack.outputs.get("ApiKeys", ""),
            "Logs": parts["Logs"],
            **{name: settings[name] for name in _FROM_SERVICE if name in settings},
        }

    def _apply(self, parameters: Mapping[str, str]) -> None:
        request = self.request
        stack = self._stack()
        remedy = f"fracture deploy canary end --region {request.region} --name {request.name}"
        cloudformation.require_settled(self.client, stack, request.region, remedy)
        wish = Wish(request.canary, request.folder / "canary.yaml", parameters)
        if cloudformation.apply(self.client, stack, wish, self._pause) is None:
            raise InputError(f"{request.canary}: is gone; somebody else deleted it")


def _weights(rule: Mapping[str, Any], beside: _Beside) -> list[int]:
    """The weights of others in a rule that divides requests between the service and them; empty for another rule."""
    ours = beside.resources["TargetGroup"]
    for action in rule.get("Actions", ()):
        groups = action.get("ForwardConfig", {}).get("TargetGroups", ())
        if ours in {group["TargetGroupArn"] for group in groups} and len(groups) > 1:
            return [int(group.get("Weight", 0)) for group in groups if group["TargetGroupArn"] != ours]
    return []
