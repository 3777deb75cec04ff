"""The manifests of deploy/kubernetes, rendered for each cloud."""

import re
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from serving.http.app import create_app
from serving.http.settings import MIB, Settings
from tests.deploy import checkers
from tests.deploy.checkers import ROOT

FOLDER = ROOT / "deploy/kubernetes"
OVERLAYS = ("aks", "eks")
VERSIONS = ("1.31", "1.33", "1.35", "1.37")
RESIDENT_MB = 350
"""What one worker of one thread holds at most; measured by benchmarks.serving.endurance and the container's tests."""

Manifests = dict[str, Any]


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Each overlay as one file of manifests."""
    folder = tmp_path_factory.mktemp("rendered")
    files = {name: folder / f"{name}.yaml" for name in OVERLAYS}
    for name, file in files.items():
        file.write_text(checkers.kustomize(FOLDER / name))
    return files


@pytest.fixture(params=OVERLAYS)
def overlay(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def manifests(overlay: str, rendered: dict[str, Path]) -> Manifests:
    """Kind -> manifest; there is one of each."""
    documents = list(YAML(typ="safe").load_all(rendered[overlay].read_text()))
    kinds = {document["kind"]: document for document in documents}
    assert len(kinds) == len(documents)
    return kinds


@pytest.fixture
def pod(manifests: Manifests) -> dict[str, Any]:
    """What the Deployment's pods are made from."""
    spec: dict[str, Any] = manifests["Deployment"]["spec"]["template"]["spec"]
    return spec


@pytest.fixture
def container(pod: dict[str, Any]) -> dict[str, Any]:
    (only,) = pod["containers"]
    assert not pod.get("initContainers")
    return dict(only)


def _environment(container: dict[str, Any]) -> dict[str, Any]:
    return {entry["name"]: entry for entry in container["env"]}


# Schemas (policies are asked in test_policies.py)


@pytest.mark.parametrize("version", VERSIONS)
def test_manifests_follow_the_published_schemas_to_the_letter(rendered: dict[str, Path], version: str) -> None:
    answer = checkers.run("kubernetes-validate", "--strict", "-k", version, *rendered.values())
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert "WARN" not in answer.stdout + answer.stderr


def test_a_misspelt_field_is_found(rendered: dict[str, Path], tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text(rendered["eks"].read_text().replace("readOnlyRootFilesystem", "readOnlyRootFileSystem"))
    assert checkers.run("kubernetes-validate", "--strict", "-k", VERSIONS[-1], wrong).returncode != 0


# What is run


def test_each_cloud_gets_the_same_kinds(manifests: Manifests) -> None:
    assert set(manifests) == {
        "Deployment", "HorizontalPodAutoscaler", "Ingress", "Namespace", "NetworkPolicy", "PodDisruptionBudget",
        "Service", "ServiceAccount",
    }  # fmt: skip


def test_everything_lies_in_the_one_namespace(manifests: Manifests) -> None:
    name = manifests.pop("Namespace")["metadata"]["name"]
    assert {manifest["metadata"]["namespace"] for manifest in manifests.values()} == {name}


def test_the_namespace_refuses_pods_with_more_rights(manifests: Manifests) -> None:
    assert manifests["Namespace"]["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"


def test_the_image_is_named_by_the_site_and_by_its_digest(overlay: str, container: dict[str, Any]) -> None:
    site = dict(re.findall(r"^([A-Z_0-9]+)=(.*)$", (FOLDER / overlay / "site.env").read_text(), re.MULTILINE))
    assert container["image"] == site["IMAGE"]
    assert re.search(r"@sha256:[0-9a-f]{64}$", container["image"])


def test_no_placeholder_is_left(overlay: str, rendered: dict[str, Path]) -> None:
    words = re.findall(r"(?<![\w-])[A-Z][A-Z_0-9]+(?![\w-])", rendered[overlay].read_text())
    known = {"ALL", "TCP", "HTTPS", "API_KEYS", "HOME", "BENTOML_HOME", "BENTOML_DO_NOT_TRACK", "FRACTURE_WORKERS"}
    assert set(words) <= known | {"FRACTURE_THREADS", "CKV_K8S_35", "CKV_K8S_15"}


def test_site_values_hold_no_secret() -> None:
    for overlay in OVERLAYS:
        assert not re.search(r"KEY|PASSWORD|TOKEN", (FOLDER / overlay / "site.env").read_text())


def test_the_service_leads_to_the_port_the_container_answers_on(
    manifests: Manifests, container: dict[str, Any]
) -> None:
    assert container["ports"] == [{"name": "http", "containerPort": 3000}]
    (port,) = manifests["Service"]["spec"]["ports"]
    assert port["targetPort"] == "http"
    assert manifests["Service"]["spec"]["type"] == "ClusterIP"


def test_everything_selects_the_pods(manifests: Manifests) -> None:
    labels = manifests["Deployment"]["spec"]["template"]["metadata"]["labels"].items()
    selectors = [
        manifests["Deployment"]["spec"]["selector"]["matchLabels"],
        manifests["Service"]["spec"]["selector"],
        manifests["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"],
    ]
    for selector in selectors:
        assert selector
        assert selector.items() <= labels
    (expression,) = manifests["NetworkPolicy"]["spec"]["podSelector"]["matchExpressions"]
    assert expression["operator"] == "In"
    assert dict(labels)[expression["key"]] in expression["values"]


@pytest.mark.parametrize(
    ("probe", "path"), [("livenessProbe", "/livez"), ("readinessProbe", "/readyz"), ("startupProbe", "/readyz")]
)
def test_probes_ask_the_service(container: dict[str, Any], probe: str, path: str) -> None:
    assert container[probe]["httpGet"] == {"path": path, "port": "http"}


def test_a_start_may_take_two_minutes_and_a_busy_worker_a_minute(container: dict[str, Any]) -> None:
    startup, liveness = container["startupProbe"], container["livenessProbe"]
    assert startup["periodSeconds"] * startup["failureThreshold"] >= 120
    assert liveness["periodSeconds"] * liveness["failureThreshold"] >= 60


def test_a_pod_is_one_worker_of_one_thread(container: dict[str, Any]) -> None:
    environment = _environment(container)
    assert environment["FRACTURE_WORKERS"]["value"] == environment["FRACTURE_THREADS"]["value"] == "1"


def test_memory_covers_the_measured_worker_and_what_it_may_receive(container: dict[str, Any]) -> None:
    assert container["resources"]["requests"] == {"cpu": "1", "memory": "512Mi"}
    assert RESIDENT_MB * 1_000_000 < 512 * MIB
    assert container["resources"]["limits"] == {"cpu": "2", "memory": "1Gi"}
    assert RESIDENT_MB * 1_000_000 + Settings().max_buffered < 1024 * MIB


def test_keys_come_from_a_secret_that_has_to_be_there(container: dict[str, Any]) -> None:
    assert _environment(container)["API_KEYS"] == {
        "name": "API_KEYS",
        "valueFrom": {"secretKeyRef": {"name": "bone-fracture-api-keys", "key": "API_KEYS"}},
    }


def test_no_secret_is_among_the_manifests(rendered: dict[str, Path], overlay: str) -> None:
    assert not re.search(r"^kind: Secret", rendered[overlay].read_text(), re.MULTILINE)


# What it may do


def test_the_container_runs_as_nobody_with_nothing(pod: dict[str, Any], container: dict[str, Any]) -> None:
    assert container["securityContext"] == {
        "privileged": False,
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "runAsNonRoot": True,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] >= 10_000
    assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod)


def test_only_tmp_is_writable_and_bentoml_lives_below_it(pod: dict[str, Any], container: dict[str, Any]) -> None:
    (volume,) = pod["volumes"]
    assert volume["emptyDir"]["medium"] == "Memory"
    assert container["volumeMounts"] == [{"name": volume["name"], "mountPath": "/tmp"}]  # noqa: S108  the container's
    environment = _environment(container)
    assert environment["BENTOML_HOME"]["value"].startswith("/tmp/")  # noqa: S108
    assert environment["HOME"]["value"] == "/tmp"  # noqa: S108


def test_the_pod_holds_no_token_of_the_cluster(manifests: Manifests, pod: dict[str, Any]) -> None:
    assert pod["automountServiceAccountToken"] is False
    assert manifests["ServiceAccount"]["automountServiceAccountToken"] is False
    assert pod["serviceAccountName"] == manifests["ServiceAccount"]["metadata"]["name"]


def test_only_the_load_balancer_gets_in_and_nothing_gets_out(overlay: str, manifests: Manifests) -> None:
    spec = manifests["NetworkPolicy"]["spec"]
    assert set(spec["policyTypes"]) == {"Ingress", "Egress"}
    assert spec["egress"] == []
    (rule,) = spec["ingress"]
    assert rule["ports"] == [{"port": "http", "protocol": "TCP"}]
    expected = {"eks": ["10.0.0.0/24", "10.0.1.0/24"], "aks": ["10.225.0.0/24"]}[overlay]
    assert rule["from"] == [{"ipBlock": {"cidr": addresses}} for addresses in expected]


def test_without_an_overlay_nobody_gets_in() -> None:
    base = YAML(typ="safe").load((FOLDER / "base/network-policy.yaml").read_text())
    assert base["spec"]["ingress"] == []


# How it scales and is replaced


def test_pods_spread_over_zones_and_nodes(pod: dict[str, Any]) -> None:
    constraints = pod["topologySpreadConstraints"]
    assert [c["topologyKey"] for c in constraints] == ["topology.kubernetes.io/zone", "kubernetes.io/hostname"]
    assert {c["maxSkew"] for c in constraints} == {1}


def test_the_autoscaler_alone_says_how_many(manifests: Manifests) -> None:
    assert "replicas" not in manifests["Deployment"]["spec"]
    spec = manifests["HorizontalPodAutoscaler"]["spec"]
    assert spec["scaleTargetRef"]["name"] == manifests["Deployment"]["metadata"]["name"]
    assert spec["minReplicas"] >= 2
    assert spec["maxReplicas"] > spec["minReplicas"]
    assert [metric["resource"]["name"] for metric in spec["metrics"]] == ["cpu"]


def test_a_disruption_takes_one_pod_at_a_time(manifests: Manifests) -> None:
    spec = manifests["PodDisruptionBudget"]["spec"]
    assert spec["maxUnavailable"] == 1 < manifests["HorizontalPodAutoscaler"]["spec"]["minReplicas"]


def test_no_pod_goes_before_its_successor_answers(manifests: Manifests) -> None:
    strategy = manifests["Deployment"]["spec"]["strategy"]
    assert strategy == {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}}


def _longest_request() -> float:
    assert '"timeout": 2 * settings.timeout + 10' in (ROOT / "service.py").read_text()
    return 2 * Settings().timeout + 10


def test_a_leaving_pod_may_end_its_longest_request(pod: dict[str, Any], container: dict[str, Any]) -> None:
    pause = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    readiness = container["readinessProbe"]
    assert pause >= readiness["periodSeconds"] * readiness["failureThreshold"] + 10
    assert pod["terminationGracePeriodSeconds"] > pause + _longest_request()


# How it is reached


def test_only_https_is_answered_and_the_site_names_the_host(manifests: Manifests) -> None:
    spec = manifests["Ingress"]["spec"]
    (rule,) = spec["rules"]
    assert [entry["hosts"] for entry in spec["tls"]] == [[rule["host"]]]
    assert rule["host"] == "fracture.example.org"


def test_every_route_is_reachable_but_the_metrics(manifests: Manifests) -> None:
    paths = manifests["Ingress"]["spec"]["rules"][0]["http"]["paths"]

    def leads_in(route: str) -> bool:
        return any(
            route == entry["path"] or (entry["pathType"] == "Prefix" and route.startswith(entry["path"] + "/"))
            for entry in paths
        )

    routes = {re.sub(r"\{name\}", "x.png", str(getattr(route, "path", ""))) for route in create_app().routes}
    routes -= {"/{path:path}", "/offline", "/offline/{path:path}"}  # no cluster holds a page for devices
    assert {route for route in routes if not leads_in(route)} == {"/metrics"}
    assert leads_in("/web/app.js")
    assert leads_in("/readyz")


def test_all_paths_lead_to_the_service(manifests: Manifests) -> None:
    service = manifests["Service"]
    backend = {"service": {"name": service["metadata"]["name"], "port": {"name": service["spec"]["ports"][0]["name"]}}}
    assert all(entry["backend"] == backend for entry in manifests["Ingress"]["spec"]["rules"][0]["http"]["paths"])


@pytest.fixture(scope="module")
def eks(rendered: dict[str, Path]) -> Manifests:
    return {document["kind"]: document for document in YAML(typ="safe").load_all(rendered["eks"].read_text())}


def _alb(eks: Manifests) -> dict[str, str]:
    prefix = "alb.ingress.kubernetes.io/"
    annotations = eks["Ingress"]["metadata"]["annotations"]
    return {name.removeprefix(prefix): value for name, value in annotations.items() if name.startswith(prefix)}


def test_eks_listens_to_tls_1_2_and_newer_only(eks: Manifests) -> None:
    options = _alb(eks)
    assert eks["Ingress"]["spec"]["ingressClassName"] == "alb"
    assert options["listen-ports"] == '[{"HTTPS": 443}]'
    assert options["ssl-policy"].startswith("ELBSecurityPolicy-TLS13-1-2")
    assert options["certificate-arn"].startswith("arn:aws:acm:")


def test_eks_is_reached_from_inside_only_until_told_otherwise(eks: Manifests) -> None:
    options = _alb(eks)
    assert options["scheme"] == "internal"
    assert options["inbound-cidrs"] == "10.0.0.0/8"
    assert options["subnets"].count("subnet-") == 2


def test_eks_counts_a_pod_as_ready_when_its_balancer_does(eks: Manifests) -> None:
    assert eks["Namespace"]["metadata"]["labels"]["elbv2.k8s.aws/pod-readiness-gate-inject"] == "enabled"
    options = _alb(eks)
    assert options["target-type"] == "ip"
    assert options["healthcheck-path"] == "/readyz"


def test_eks_waits_as_long_as_a_request_takes(eks: Manifests) -> None:
    options = _alb(eks)
    idle = re.search(r"idle_timeout.timeout_seconds=(\d+)", options["load-balancer-attributes"])
    leaving = re.search(r"deregistration_delay.timeout_seconds=(\d+)", options["target-group-attributes"])
    assert idle
    assert leaving
    assert int(idle[1]) > _longest_request()
    assert int(leaving[1]) > _longest_request()


def test_aks_names_its_gateway_and_the_secret_with_its_certificate(rendered: dict[str, Path]) -> None:
    ingress = next(d for d in YAML(typ="safe").load_all(rendered["aks"].read_text()) if d["kind"] == "Ingress")
    assert ingress["spec"]["ingressClassName"] == "azure-alb-external"
    assert ingress["spec"]["tls"][0]["secretName"] == "bone-fracture-tls"
    assert ingress["metadata"]["annotations"] == {
        "alb.networking.azure.io/alb-name": "gateway",
        "alb.networking.azure.io/alb-namespace": "gateway",
    }
