"""A stand-in for kubectl and the cluster behind it: objects in a file, whose pods are ready at once."""

import json
from functools import cache
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from tests.deploy.checkers import kustomize
from tests.deploy.standins import write_program

KUBECTL = """
import json, sys
path = PATH
state = json.load(open(path))
words = [word for word in sys.argv[1:]]
state["calls"].append(words)
objects = state["objects"]

def merge(into, change):
    for key, value in change.items():
        if isinstance(value, dict):
            merge(into.setdefault(key, {}), value)
        else:
            into[key] = value

def settle():
    scaler, service = objects["hpa/bone-fracture"], objects["deployment/bone-fracture"]
    least, most = scaler["spec"]["minReplicas"], scaler["spec"]["maxReplicas"]
    service["spec"]["replicas"] = min(max(service["spec"].get("replicas", least), least), most)
    for name, one in objects.items():
        if name.startswith("deployment/"):
            count = one["spec"]["replicas"]
            broken = one["spec"]["template"]["spec"]["containers"][0]["image"] in state["broken"]
            one["status"] = {"replicas": count, "updatedReplicas": count, "availableReplicas": 0 if broken else count}
            one["status"]["conditions"] = [{"reason": "ProgressDeadlineExceeded"}] if broken else []

assert words[:4] == ["--context", "site", "--namespace", "bone-fracture"], words
verb, *words = words[4:]
answer = None
if state["away"]:
    sys.exit("Unable to connect to the server: dial tcp 192.0.2.1:443: i/o timeout")
if verb == "get":
    answer = objects.get("/".join(words[:2]))
    if answer is None and "--ignore-not-found" not in words:
        sys.exit("Error from server (NotFound)")
elif verb == "apply":
    answer = json.load(open(words[words.index("--filename") + 1]))
    merge(objects.setdefault("deployment/" + answer["metadata"]["name"], {}), answer)
elif verb == "patch":
    answer = objects["/".join(words[:2])]
    merge(answer, json.loads(words[words.index("--patch") + 1]))
elif verb == "scale":
    answer = objects["/".join(words[:2])]
    answer["spec"]["replicas"] = int(words[2].partition("=")[2])
elif verb == "set":
    answer = objects[words[1]]
    container, _, image = words[2].partition("=")
    state["former"] = answer["spec"]["template"]["spec"]["containers"][0]["image"]
    answer["spec"]["template"]["spec"]["containers"][0]["image"] = image
elif verb == "rollout":
    objects[words[1]]["spec"]["template"]["spec"]["containers"][0]["image"] = state["former"]
elif verb == "delete":
    objects.pop("/".join(words[:2]), None)
    print("deleted")
elif verb == "exec":
    answer = state["model"]
else:
    sys.exit("not known: " + verb)
settle()
json.dump(state, open(path, "w"))
if answer is not None:
    json.dump(answer, sys.stdout)
"""


@cache
def rendered(overlay: Path) -> str:
    """The manifests of an overlay as a JSON list."""
    return json.dumps(list(YAML(typ="safe").load_all(kustomize(overlay))))


class Cluster:
    """The objects of an overlay as a cluster would hold them."""

    def __init__(self, folder: Path, overlay: Path, model: str) -> None:
        """`model` is the sha256 that a canary's pod answers with."""
        self._path = folder / "cluster.json"
        self.program = folder / "kubectl"
        documents = json.loads(rendered(overlay))
        kinds = {"Deployment": "deployment", "Service": "service", "HorizontalPodAutoscaler": "hpa"}
        objects = {
            f"{kinds[one['kind']]}/{one['metadata']['name']}": one for one in documents if one["kind"] in kinds
        }  # fmt: skip
        objects["deployment/bone-fracture"]["spec"]["replicas"] = 2
        self._write({"objects": objects, "model": model, "broken": [], "away": False, "calls": []})
        write_program(self.program, KUBECTL.replace("PATH", repr(str(self._path))))

    def read(self) -> dict[str, Any]:
        """Everything that it holds."""
        state: dict[str, Any] = json.loads(self._path.read_text())
        return state

    def change(self, **values: Any) -> None:
        """Change what it holds."""
        self._write({**self.read(), **values})

    def _write(self, state: dict[str, Any]) -> None:
        self._path.write_text(json.dumps(state))

    def deployment(self, name: str) -> dict[str, Any] | None:
        """A Deployment, None where there is none."""
        found: dict[str, Any] | None = self.read()["objects"].get(f"deployment/{name}")
        return found

    def serving(self) -> dict[str, int]:
        """Pods that the Service leads to, by their Deployment."""
        objects = self.read()["objects"]
        wanted = objects["service/bone-fracture"]["spec"]["selector"].items()
        return {
            name.partition("/")[2]: one["spec"]["replicas"]
            for name, one in objects.items()
            if name.startswith("deployment/") and wanted <= one["spec"]["template"]["metadata"]["labels"].items()
        }
