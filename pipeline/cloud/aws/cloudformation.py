"""CloudFormation stacks: find, create, update and await them, and tell what a failed one leaves behind."""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pipeline.cloud.client import Client, RefusedError
from pipeline.errors import InputError

_LONGEST_WAIT = 3600.0

# US dollars an hour at list price, us-east-1, of what costs by the hour: docs/cloud/aws.md says where from and when.
HOURLY = {
    "LoadBalancer": 0.0225 + 2 * 0.005,  # with a public address in each of two zones
    "RegistryEndpoint": 2 * 0.01,
    "ImageEndpoint": 2 * 0.01,
    "SecretEndpoint": 2 * 0.01,
    "LogEndpoint": 2 * 0.01,
    "Service": 2 * (0.04048 + 2 * 0.004445),  # two small tasks
}


@dataclass(frozen=True)
class Stack:
    """A stack as CloudFormation describes it."""

    name: str
    id: str
    status: str
    outputs: Mapping[str, str]
    parameters: Mapping[str, str]


@dataclass(frozen=True)
class Wish:
    """A stack as it is to be."""

    name: str
    template: Path
    parameters: Mapping[str, str | None]
    """None keeps a value as it is."""


def find(client: Client, name: str) -> Stack | None:
    """The stack of that name or id, None when there is none."""
    try:
        answer = client.read("cloudformation", "describe-stacks", "--stack-name", name)
    except RefusedError as error:
        if "does not exist" in error.said:
            return None
        raise
    found = answer["Stacks"][0]
    return Stack(
        name=found["StackName"],
        id=found["StackId"],
        status=found["StackStatus"],
        outputs={entry["OutputKey"]: entry.get("OutputValue", "") for entry in found.get("Outputs", ())},
        parameters={entry["ParameterKey"]: entry["ParameterValue"] for entry in found.get("Parameters", ())},
    )


def apply(client: Client, stack: Stack | None, wish: Wish, pause: float) -> Stack | None:
    """Create or update a stack and wait; None in a dry run. InputError names what went wrong and what is left."""
    name = wish.name
    if stack and stack.status == "ROLLBACK_COMPLETE":
        client.show(f"{name}: what an earlier try left of it is removed")
        client.change("cloudformation", "delete-stack", "--stack-name", name)
        if not client.dry:
            settle(client, stack.id, pause)
        stack = None
    given = [_given(key, value) for key, value in sorted(wish.parameters.items())]
    words = [
        "--stack-name",
        name,
        "--template-body",
        f"file://{wish.template}",
        "--parameters",
        json.dumps(given),
        "--capabilities",
        "CAPABILITY_IAM",
        "--tags",
        "Key=project,Value=bone-fracture",
    ]
    if stack is None:
        made = client.change("cloudformation", "create-stack", *words, "--on-failure", "DELETE")
        return None if made is None else _created(client, name, made["StackId"], pause)
    try:
        if client.change("cloudformation", "update-stack", *words) is None:
            return None
    except RefusedError as error:
        if "No updates are to be performed" not in error.said:
            raise
        client.show(f"{name}: is as it should be")
        return stack
    client.show(f"updating {name}")
    status = settle(client, stack.id, pause)
    if status != "UPDATE_COMPLETE":
        raise InputError(
            f"{name}: the update was taken back and what was there before serves on ({status}): "
            f"{first_failure(client, stack.id)}"
        )
    return find(client, stack.id)


def _given(key: str, value: str | None) -> dict[str, str | bool]:
    return {"ParameterKey": key, **({"UsePreviousValue": True} if value is None else {"ParameterValue": value})}


def _created(client: Client, name: str, stack_id: str, pause: float) -> Stack | None:
    client.show(f"making {name}")
    status = settle(client, stack_id, pause)
    if status == "CREATE_COMPLETE":
        return find(client, stack_id)
    reason = first_failure(client, stack_id)
    if status == "DELETE_COMPLETE":
        raise InputError(f"{name}: could not be made and was taken back, nothing of it is left: {reason}")
    stack = Stack(name, stack_id, status, {}, {})
    raise InputError(f"{name}: could not be made ({reason}) nor taken back ({status}); {left_of(client, stack)}")


def settle(client: Client, stack_id: str, pause: float) -> str:
    """Wait while a stack changes; its last status. A deleted stack is still found by its id."""
    end = time.monotonic() + _LONGEST_WAIT
    shown = ""
    while True:
        stack = find(client, stack_id)
        status = stack.status if stack else "DELETE_COMPLETE"
        if not status.endswith("_IN_PROGRESS"):
            return status
        if status != shown:
            client.show(f"  {status.replace('_', ' ').lower()} ...")
            shown = status
        if time.monotonic() > end:
            raise InputError(f"{stack_id}: still {status} after {_LONGEST_WAIT / 60:g} min; look at its events")
        time.sleep(pause)


def remove(client: Client, stack: Stack, pause: float) -> None:
    """Delete a stack and wait, in a dry run only show how; InputError with what AWS would not delete, and its cost."""
    client.change("cloudformation", "delete-stack", "--stack-name", stack.name)
    if client.dry:
        return
    client.show(f"deleting {stack.name}")
    status = settle(client, stack.id, pause)
    if status != "DELETE_COMPLETE":
        raise InputError(
            f"{stack.name}: cannot be deleted whole ({first_failure(client, stack.id)}); {left_of(client, stack)}; "
            "try again, or delete it in the CloudFormation console"
        )


def first_failure(client: Client, stack_id: str) -> str:
    """Why the last change of a stack failed: the first resource that did, in CloudFormation's own words."""
    events = client.read("cloudformation", "describe-stack-events", "--stack-name", stack_id)["StackEvents"]
    first = ""
    for event in events:  # the latest first
        if event["ResourceStatus"].endswith("_FAILED") and "cancelled" not in event.get("ResourceStatusReason", ""):
            first = f"{event['LogicalResourceId']}: {event.get('ResourceStatusReason', 'no reason given')}"
        if event.get("PhysicalResourceId") == stack_id and event.get("ResourceStatusReason") == "User Initiated":
            break
    return first or "CloudFormation gives no reason"


def left_of(client: Client, stack: Stack) -> str:
    """What is left of a stack and what that costs."""
    resources = client.read("cloudformation", "describe-stack-resources", "--stack-name", stack.id)["StackResources"]
    names = [
        str(entry["LogicalResourceId"])
        for entry in resources
        if entry["ResourceStatus"] not in {"DELETE_COMPLETE", "CREATE_FAILED", "DELETE_SKIPPED"}
    ]
    if not names:
        return "nothing of it is left"
    daily = 24 * sum(HOURLY.get(name, 0) for name in names)
    return f"left are {', '.join(names)}: about {daily:.2f} USD a day at list price"


def require_settled(client: Client, stack: Stack | None, region: str, remedy: str) -> None:
    """Raise InputError for a stack that is being changed, or half made; `remedy` is the command that takes it down."""
    if stack is None or stack.status in {"CREATE_COMPLETE", "UPDATE_COMPLETE", "UPDATE_ROLLBACK_COMPLETE"}:
        return
    if stack.status == "ROLLBACK_COMPLETE":  # nothing of it is left but the name; it makes room for the next
        return
    if stack.status.endswith("_IN_PROGRESS"):
        raise InputError(f"{stack.name}: is being changed just now ({stack.status}); wait until that is over")
    if stack.status == "UPDATE_ROLLBACK_FAILED":
        raise InputError(
            f"{stack.name}: an update could not be taken back ({first_failure(client, stack.id)}); mend that and run "
            f"`aws cloudformation continue-update-rollback --stack-name {stack.name} --region {region}`"
        )
    raise InputError(
        f"{stack.name}: is half made ({stack.status}), {left_of(client, stack)}; take it down with `{remedy}`"
    )
