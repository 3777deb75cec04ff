"""What deploy/hospital holds for a cluster and for compose: by schemas, and agreeing with itself."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from hospital import config
from hospital.config import Config
from serving import bundle
from tests.deploy import checkers
from tests.deploy.checkers import ROOT
from tests.deploy.test_kubernetes import VERSIONS

FOLDER = ROOT / "deploy/hospital"
Manifests = dict[tuple[str, str], Any]


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The manifests in one file."""
    file = tmp_path_factory.mktemp("rendered") / "hospital.yaml"
    file.write_text(checkers.kustomize(FOLDER / "kubernetes"))
    return file


@pytest.fixture
def manifests(rendered: Path) -> Manifests:
    """Kind and name -> manifest."""
    documents = YAML(typ="safe").load_all(rendered.read_text())
    return {(one["kind"], one["metadata"]["name"]): one for one in documents}


@pytest.fixture
def pod(manifests: Manifests) -> dict[str, Any]:
    """What the gateway's pod is made from."""
    return dict(manifests["StatefulSet", "fracture-hospital"]["spec"]["template"]["spec"])


@pytest.fixture
def container(pod: dict[str, Any]) -> dict[str, Any]:
    (only,) = pod["containers"]
    return dict(only)


def in_cluster() -> Config:
    return config.read(FOLDER / "kubernetes/hospital.toml")


@pytest.mark.parametrize("version", VERSIONS)
def test_manifests_follow_the_published_schemas_to_the_letter(rendered: Path, version: str) -> None:
    answer = checkers.run("kubernetes-validate", "--strict", "-k", version, rendered)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert "WARN" not in answer.stdout + answer.stderr


def test_everything_lies_in_the_one_namespace_that_refuses_more_rights(manifests: Manifests) -> None:
    namespace = manifests.pop(("Namespace", "fracture-hospital"))
    assert {one["metadata"]["namespace"] for one in manifests.values()} == {namespace["metadata"]["name"]}
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"


def test_no_secret_is_among_the_manifests(manifests: Manifests) -> None:
    assert "Secret" not in {kind for kind, _ in manifests}


def test_spool_outlives_the_pod(
    manifests: Manifests, container: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = manifests["StatefulSet", "fracture-hospital"]["spec"]
    (claim,) = spec["volumeClaimTemplates"]
    assert spec["replicas"] == 1
    assert set(spec["persistentVolumeClaimRetentionPolicy"].values()) == {"Retain"}
    (place,) = (one["mountPath"] for one in container["volumeMounts"] if one["name"] == claim["metadata"]["name"])
    assert in_cluster().spool.is_relative_to(place)


def test_configuration_of_the_pod_is_one(manifests: Manifests) -> None:
    (told,) = (one["data"]["hospital.toml"] for (kind, _), one in manifests.items() if kind == "ConfigMap")
    assert told == (FOLDER / "kubernetes/hospital.toml").read_text()
    found = in_cluster()
    assert found.receiver.host == found.operation.host == "0.0.0.0"  # noqa: S104  of the pod
    assert found.receiver.peers


def test_ports_lead_to_those_of_the_configuration(manifests: Manifests, container: dict[str, Any]) -> None:
    found = in_cluster()
    ports = {one["name"]: one["containerPort"] for one in container["ports"]}
    assert ports == {"dicom": found.receiver.port, "operation": found.operation.port}
    targets = {
        port["targetPort"] for (kind, _), one in manifests.items() if kind == "Service" for port in one["spec"]["ports"]
    }
    assert targets == set(ports)


def test_only_the_pacs_reaches_the_dicom_port_and_is_reached(manifests: Manifests) -> None:
    site = dict(re.findall(r"^([A-Z_]+)=(.*)$", (FOLDER / "kubernetes/site.env").read_text(), re.MULTILINE))
    spec = manifests["NetworkPolicy", "fracture-hospital"]["spec"]
    pacs = [{"ipBlock": {"cidr": site["PACS"]}}]
    assert [rule["from"] for rule in spec["ingress"] if rule["ports"][0]["port"] == "dicom"] == [pacs]
    assert spec["egress"][0]["to"] == pacs
    assert manifests["Service", "fracture-hospital"]["spec"]["loadBalancerSourceRanges"] == [site["PACS"]]


def test_the_peers_address_reaches_the_gateway_on_a_balancer_inside(manifests: Manifests) -> None:
    service = manifests["Service", "fracture-hospital"]
    assert service["spec"]["externalTrafficPolicy"] == "Local"
    assert service["metadata"]["annotations"] == {
        "service.beta.kubernetes.io/aws-load-balancer-scheme": "internal",
        "service.beta.kubernetes.io/azure-load-balancer-internal": "true",
    }


def test_the_container_runs_as_nobody_with_nothing(pod: dict[str, Any], container: dict[str, Any]) -> None:
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert pod["securityContext"]["runAsUser"] >= 10_000
    assert pod["automountServiceAccountToken"] is False


# Compose and its image


def compose() -> dict[str, Any]:
    return dict(YAML(typ="safe").load(FOLDER / "compose.yaml"))


def test_the_compose_file_is_one_by_its_schema() -> None:
    answer = checkers.run("check-jsonschema", "--builtin-schema", "vendor.compose-spec", FOLDER / "compose.yaml")
    assert answer.returncode == 0, answer.stdout


def test_every_service_is_locked_down_and_every_port_stays_on_this_machine() -> None:
    for name, service in compose()["services"].items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert all(port.startswith("127.0.0.1:") for port in service["ports"]), name


def test_compose_mounts_and_sends_to_the_build_what_is_there() -> None:
    services = compose()["services"]
    contexts = services["gateway"]["build"]["additional_contexts"]
    for name, place in contexts.items():
        assert (FOLDER / re.sub(r"\$\{\w+:-(.*)\}", r"\1", place)).is_dir(), name
    copied = set(re.findall(r"COPY --from=(\w+)", (FOLDER / "Dockerfile").read_text()))
    assert copied == set(contexts)
    for service in services.values():
        for volume in service["volumes"]:
            source = volume.partition(":")[0]
            assert source in compose()["volumes"] or (FOLDER / source).is_file()


def test_compose_holds_no_secret_of_its_own() -> None:
    for service in compose()["services"].values():
        for name, value in service["environment"].items():
            assert re.search(r"\$\{\w+:\?", value), name


def test_gateway_and_pacs_of_compose_know_each_other() -> None:
    gateway, pacs = config.read(FOLDER / "container.toml"), json.loads((FOLDER / "orthanc.json").read_text())
    (destination,) = gateway.destinations
    assert isinstance(destination, config.Dicom)
    assert (destination.host, destination.port, destination.ae_title) == ("pacs", pacs["DicomPort"], pacs["DicomAet"])
    assert [peer.ae_title for peer in gateway.receiver.peers] == [pacs["DicomAet"]]
    assert pacs["DicomModalities"]["fracture"] == [gateway.receiver.ae_title, "gateway", gateway.receiver.port]


def test_what_the_image_holds_is_enough_to_start(tmp_path: Path) -> None:
    for name in ("hospital", "serving"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(bundle.find_default(ROOT), tmp_path / "bundle")
    (tmp_path / "hospital.toml").write_text("[model]\nprocesses = 1\n")
    done = subprocess.run(
        [sys.executable, "-m", "hospital", "--config", "hospital.toml", "check"],
        cwd=tmp_path, env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "model: " in done.stdout
