"""A canary in Kubernetes: a second Deployment behind the service's Service, whose pods are its share of the requests.

A Service spreads requests evenly over its pods, so that c pods of n + c answer c / (n + c) of them. The autoscaler
keeps at least the n pods of the service that this takes: the share may become smaller under load, and never larger.
"""

import copy
import json
import math
import re
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pipeline.cloud.canary.steps import Canary, Candidate, Standing
from pipeline.cloud.client import Client, Reason
from pipeline.errors import InputError

NAMESPACE = SERVICE = "bone-fracture"
CANARY = "bone-fracture-canary"
_NAME, _PART = "app.kubernetes.io/name", "app.kubernetes.io/part-of"
"""Labels: the first says which Deployment a pod is of, with the second it gets requests (deploy/kubernetes/base)."""
_MODEL, _LEAST = "bone-fracture/model", "bone-fracture/min-replicas"
"""Annotations of the canary: its registered model, and how many pods the autoscaler kept before."""
_CONTAINER = "service"
_BY_DIGEST = re.compile(r"[^\s@]+@sha256:[0-9a-f]{64}")
_LONGEST_WAIT = 900.0
_ASK_MODEL = """
import json, os, urllib.request
entry = os.environ.get("API_KEYS", "").split(",")[0].strip()
parts = entry.split(":", 3)
key = parts[3] if len(parts) == 4 and parts[1] in ("reader", "sender") else entry
request = urllib.request.Request("http://127.0.0.1:3000/model", headers={"X-API-Key": key})
print(json.dumps(json.load(urllib.request.urlopen(request, timeout=30))["sha256"]))
"""
"""Run in the canary's pod: no network policy stands in the way, and no key leaves it."""


def make_kubectl(context: str, show: Callable[[str], None] = print) -> Client:
    """kubectl, for one context of the kubeconfig and the service's namespace."""
    return Client(
        program="kubectl",
        install="install kubectl",
        reasons=(
            Reason(r"context .* does not exist|no context exists", "--context {said}; `kubectl config get-contexts`"),
            Reason(r"(?i)unable to connect|connection refused|i/o timeout|no such host", "no cluster answers ({said})"),
            Reason(r"(?i)unauthorized|must be logged in|getting credentials", "the cluster's login is over ({said})"),
            Reason(
                r"\(Forbidden\)|(?i:is forbidden)",
                "the login may not do that ({said}); docs/cloud/kubernetes.md lists the permissions",
            ),
        ),
        before=("--context", context, "--namespace", NAMESPACE),
        show=show,
    )


def pods(share: int, least: int, most: int) -> tuple[int, int]:
    """Pods of the service and of the canary for at most `share` percent of the requests.

    `least` and `most` are the autoscaler's limits for the service. InputError when more than `most` would be needed.
    """
    service = max(least, math.ceil((100 - share) / share))
    if service > most:
        raise InputError(
            f"--share {share}: takes {service} pods of the service beside one of the canary, and the autoscaler allows "
            f"{most}; ask for at least {math.ceil(100 / (most + 1))} %"
        )
    return service, max(1, share * service // (100 - share))


def canary_of(service: Mapping[str, Any], image: str, model: str, least: int) -> dict[str, Any]:
    """The canary's Deployment, made from the service's: one pod of another image that gets no requests yet."""
    template = copy.deepcopy(dict(service["spec"]["template"]))
    spec = template["spec"]
    labels = {key: value for key, value in template["metadata"]["labels"].items() if key != _PART}
    labels[_NAME] = CANARY
    for container in spec["containers"]:
        if container["name"] == _CONTAINER:
            container["image"] = image
    for constraint in spec.get("topologySpreadConstraints", ()):
        constraint["labelSelector"] = {"matchLabels": {_NAME: CANARY}}
    annotations = {
        key: value for key, value in service["metadata"].get("annotations", {}).items() if key.startswith("checkov.io/")
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "name": CANARY,
            "namespace": NAMESPACE,
            "labels": {_NAME: CANARY},
            "annotations": {**annotations, _MODEL: model, _LEAST: str(least)},
        },
        "spec": {
            "replicas": 1,
            "revisionHistoryLimit": 1,
            "progressDeadlineSeconds": service["spec"].get("progressDeadlineSeconds", 300),
            "selector": {"matchLabels": {_NAME: CANARY}},
            "strategy": service["spec"]["strategy"],
            "template": {"metadata": {"labels": labels}, "spec": spec},
        },
    }


class KubernetesCanary(Canary):
    """A second Deployment in the service's namespace."""

    def __init__(self, client: Client, image: str = "", pause: float = 2.0) -> None:
        """`image` is that of the champion, by digest, pushed by a person; `pause` the seconds between two looks."""
        super().__init__(client)
        self.image = image
        self._pause = pause

    def find(self) -> Standing | None:
        """The canary with the share that its pods make."""
        service, found = self._service(), self._get(CANARY)
        if found is None:
            return None
        spec = found["spec"]
        count, beside = (int(one.get("replicas", 1)) for one in (spec, service["spec"]))
        serves = _PART in spec["template"]["metadata"]["labels"]
        share = 100 * count // (count + beside) if serves and count else 0
        model = found["metadata"].get("annotations", {}).get(_MODEL, "")
        return Standing(_image(found), model, max(share, 1) if serves and count else 0)

    def place(self, candidate: Candidate) -> None:
        """Run one pod of the image, which no request reaches."""
        if not _BY_DIGEST.fullmatch(self.image):
            raise InputError(f"--image {self.image}: name the champion's image by digest, REPOSITORY@sha256:...")
        service, found = self._service(), self._get(CANARY)
        if _image(service) == self.image:
            raise InputError(f"--image {self.image}: is served already; promote another version first")
        least = self._least(found)
        # `apply` leaves what others added, and so would leave a former canary's pods their requests.
        self.client.tell("delete", "deployment", CANARY, "--ignore-not-found")
        self._apply(canary_of(service, self.image, candidate.model, least))
        self._wait(CANARY)

    def try_out(self, candidate: Candidate) -> None:
        """Ask a pod of the canary which model it holds; the readiness probe has asked the rest."""
        words = ("exec", f"deployment/{CANARY}", "--container", _CONTAINER, "--", "python3", "-c", _ASK_MODEL)
        found, wanted = str(self.client.read(*words)), candidate.release.model
        if found != wanted:
            raise InputError(
                f"--image {self.image}: holds model {found[:12]} and not the champion's {wanted[:12]}; build it with "
                "`fracture package` and `fracture image`"
            )

    def shift(self, share: int) -> int:
        """Have as many pods of both as this share takes, those of the service first."""
        found, scaler = self._get(CANARY), self._autoscaler()
        if found is None:
            raise InputError(f"{CANARY}: is gone; somebody else ended the canary")
        beside, count = pods(share, self._least(found), int(scaler["spec"]["maxReplicas"]))
        self._keep(beside)
        service = self._wait(SERVICE, beside)
        labels = {_PART: service["spec"]["template"]["metadata"]["labels"][_PART]}
        change = {"spec": {"replicas": count, "template": {"metadata": {"labels": labels}}}}
        self.client.change("patch", "deployment", CANARY, "--patch", json.dumps(change), "--output", "json")
        self._wait(CANARY, count)
        return 100 * count // (count + int(service["spec"]["replicas"]))

    def withdraw(self) -> None:
        """Run no pod of the canary: one that ends gets no more requests."""
        if self._get(CANARY) is not None:
            self.client.change("scale", "deployment", CANARY, "--replicas=0", "--output", "json")

    def remove(self) -> None:
        """Delete the Deployment, and let the autoscaler go down to where it was."""
        found = self._get(CANARY)
        if found is None:
            return
        self._keep(self._least(found))
        self.client.tell("delete", "deployment", CANARY, "--ignore-not-found")

    def take_over(self) -> None:
        """Give the service's Deployment the canary's image; it goes back when the new pods do not get ready."""
        found = self._get(CANARY)
        if found is None:
            raise InputError(f"{CANARY}: is gone; somebody else ended the canary")
        image = _image(found)
        words = ("set", "image", f"deployment/{SERVICE}", f"{_CONTAINER}={image}", "--output", "json")
        self.client.change(*words)
        try:
            self._wait(SERVICE)
        except InputError as error:
            self.client.tell("rollout", "undo", f"deployment/{SERVICE}")
            raise InputError(f"{error}; the former version serves on") from None
        self.client.show(
            f"write IMAGE={image} into the site.env of your overlay; the next `kubectl apply` would bring back the "
            "former one"
        )

    def _service(self) -> dict[str, Any]:
        self.client.require()
        found = self._get(SERVICE)
        if found is None:
            raise InputError(f"{SERVICE}: there is no service to have a canary; docs/cloud/kubernetes.md says how")
        selected = self.client.read("get", "service", SERVICE, "--output", "json")["spec"]["selector"]
        if set(selected) != {_PART}:
            raise InputError(f"{SERVICE}: its Service is of an older version; apply the overlay again")
        return found

    def _get(self, name: str) -> dict[str, Any] | None:
        found: dict[str, Any] | None = self.client.read(
            "get", "deployment", name, "--ignore-not-found", "--output", "json"
        )
        return found

    def _autoscaler(self) -> dict[str, Any]:
        found: dict[str, Any] = self.client.read("get", "hpa", SERVICE, "--output", "json")
        return found

    def _least(self, canary: Mapping[str, Any] | None) -> int:
        """How many pods the autoscaler kept before this canary, or keeps now."""
        known = canary["metadata"].get("annotations", {}).get(_LEAST) if canary else None
        return int(known or self._autoscaler()["spec"].get("minReplicas", 1))

    def _keep(self, least: int) -> None:
        change = json.dumps({"spec": {"minReplicas": least}})
        self.client.change("patch", "hpa", SERVICE, "--patch", change, "--output", "json")

    def _apply(self, manifest: Mapping[str, Any]) -> None:
        with tempfile.TemporaryDirectory(prefix="fracture-kubernetes-") as name:
            path = Path(name) / "canary.json"
            path.write_text(json.dumps(manifest), encoding="utf-8")
            self.client.change("apply", "--filename", str(path), "--output", "json")

    def _wait(self, name: str, least: int = 0) -> dict[str, Any]:
        """A Deployment once it runs what it is to run, with at least so many pods; InputError when it cannot."""
        end = time.monotonic() + _LONGEST_WAIT
        while True:
            found = self._get(name)
            if found is None:
                raise InputError(f"{name}: is gone; somebody else deleted it")
            if _is_settled(found, least):
                return found
            for condition in found.get("status", {}).get("conditions", ()):
                if _is_seen(found) and condition.get("reason") == "ProgressDeadlineExceeded":
                    raise InputError(f"{name}: its pods do not get ready; look at `kubectl -n {NAMESPACE} get pods`")
            if time.monotonic() > end:
                raise InputError(f"{name}: its pods were not ready within {_LONGEST_WAIT / 60:g} min")
            time.sleep(self._pause)


def _image(deployment: Mapping[str, Any]) -> str:
    containers = deployment["spec"]["template"]["spec"]["containers"]
    return str(next(one["image"] for one in containers if one["name"] == _CONTAINER))


def _is_settled(deployment: Mapping[str, Any], least: int) -> bool:
    status, wanted = deployment.get("status", {}), int(deployment["spec"].get("replicas", 1))
    counts = [int(status.get(name, 0)) for name in ("replicas", "updatedReplicas", "availableReplicas")]
    return _is_seen(deployment) and wanted >= least and counts == [wanted] * 3


def _is_seen(deployment: Mapping[str, Any]) -> bool:
    """Whether the status is one of the Deployment as it is now."""
    seen = int(deployment.get("status", {}).get("observedGeneration", 0))
    return seen >= int(deployment["metadata"].get("generation", 0))
