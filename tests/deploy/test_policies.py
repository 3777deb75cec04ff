"""What is deployed keeps to checkov's policies, and each exception has its reason.

One run for all files: most of its time goes into its start.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.deploy import checkers, test_canary_kubernetes, test_kubernetes, test_ray
from tests.deploy.checkers import ROOT, Policies

FRAMEWORKS = ("bicep", "cloudformation", "dockerfile", "github_actions", "kubernetes")
DEPLOY = ROOT / "deploy"


@dataclass(frozen=True)
class Expected:
    """At least so many checks that pass, the policies with an exception, and the words that its reason takes."""

    passed: int
    exceptions: frozenset[str] = frozenset()
    words: int = 6


def _numbers(start: str, *numbers: int) -> frozenset[str]:
    return frozenset(f"{start}_{number}" for number in numbers)


WRITTEN = {
    "aws/canary.yaml": Expected(1),
    "aws/registry.yaml": Expected(3, _numbers("CKV_AWS", 136)),
    "aws/service.yaml": Expected(30, _numbers("CKV_AWS", 2, 65, 91, 103, 149, 158, 260)),
    "aws/tracking.yaml": Expected(41, _numbers("CKV_AWS", 18, 65, 91, 118, 149, 157, 158, 161), 9),
    "azure/main.bicep": Expected(10, _numbers("CKV_AZURE", 41, 114, 139, 163, 166)),
    "azure/tracking.bicep": Expected(18, _numbers("CKV_AZURE", 36, 41, 43, 206), 9),
    "hospital/Dockerfile": Expected(30, _numbers("CKV_DOCKER", 7)),
    "image/Dockerfile": Expected(30, _numbers("CKV_DOCKER", 7)),
    "ray/Dockerfile": Expected(30, _numbers("CKV_DOCKER", 2, 7)),
    "tracking/Dockerfile": Expected(30, _numbers("CKV_DOCKER", 7)),
}
"""Of deploy/."""
RENDERED = {
    "eks": Expected(75, _numbers("CKV_K8S", 15, 35)),
    "aks": Expected(75, _numbers("CKV_K8S", 15, 35)),
    "hospital": Expected(60, _numbers("CKV_K8S", 15, 35)),
    "canary": Expected(75, _numbers("CKV_K8S", 15, 35)),
    "job": Expected(75, _numbers("CKV_K8S", 8, 9, 15, 38)),
    "prepare": Expected(75, _numbers("CKV_K8S", 8, 9, 15)),
    "project": Expected(50, _numbers("CKV_K8S", 8, 9, 15)),
}
"""Manifests as a cluster gets them; of those for Ray what holds the others' parts."""
WORKFLOW = Expected(10)


def _render(folder: Path) -> dict[str, Path]:
    """Write each of RENDERED to a file."""
    overlays = {name: test_kubernetes.FOLDER / name for name in test_kubernetes.OVERLAYS}
    overlays["hospital"] = DEPLOY / "hospital/kubernetes"
    files = {name: folder / f"{name}.yaml" for name in (*overlays, "canary")}
    for name, overlay in overlays.items():
        files[name].write_text(checkers.kustomize(overlay))
    canary = test_canary_kubernetes.write_canary(folder).read_text()
    service = checkers.kustomize(test_canary_kubernetes.OVERLAY)
    files["canary"].write_text(f"{service}---\n{canary}\n")  # beside the service
    return files | {file.stem: file for file in test_ray.write_pods(test_ray.render(), folder)}


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Policies]:
    """What checkov says of each file, by the names above and for workflows by their file's."""
    files = {name: DEPLOY / name for name in WRITTEN} | _render(tmp_path_factory.mktemp("rendered"))
    files |= {file.name: file for file in (ROOT / ".github/workflows").glob("*.yml")}
    said = checkers.checkov(FRAMEWORKS, list(files.values()))
    return {name: said[file] for name, file in files.items()}


def test_every_template_and_dockerfile_is_checked(found: Mapping[str, Policies]) -> None:
    there = [path for kind in ("aws/*.yaml", "azure/*.bicep", "*/Dockerfile") for path in DEPLOY.glob(kind)]
    assert {str(path.relative_to(DEPLOY)) for path in there} == set(WRITTEN)
    assert set(found) >= {*WRITTEN, *RENDERED}


@pytest.mark.parametrize("name", [*WRITTEN, *RENDERED])
def test_no_policy_is_broken_and_each_exception_has_its_reason(name: str, found: Mapping[str, Policies]) -> None:
    expected = (WRITTEN | RENDERED)[name]
    policies = found[name]
    assert policies.failed == []
    assert policies.passed >= expected.passed
    assert set(policies.exceptions) == expected.exceptions
    assert all(len(reason.split()) >= expected.words for reason in policies.exceptions.values())


def test_no_policy_is_broken_by_a_workflow(found: Mapping[str, Policies]) -> None:
    workflows = {name: policies for name, policies in found.items() if name.endswith(".yml")}
    assert workflows
    for policies in workflows.values():
        assert policies.failed == []
        assert policies.exceptions == {}
        assert policies.passed >= WORKFLOW.passed
