"""What runs a Ray cluster: KubeRay's manifests, the cluster launcher's files, the shared certificate."""

import json
import re
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from deploy.ray import certificates
from tests.deploy import checkers
from tests.deploy.checkers import ROOT
from tests.deploy.test_kubernetes import VERSIONS
from tests.pipeline.archive.clusters import TOOLS

FOLDER = ROOT / "deploy/ray"
SCORING = ("cluster", "job")
TRAINING = ("prepare", "search", "train")
LAUNCHERS = ("aws", "azure")
TOKEN_AND_TLS = {"RAY_AUTH_MODE": "token", "RAY_USE_TLS": "1"}
_YAML = YAML(typ="safe")

Manifest = dict[str, Any]


def render() -> dict[str, list[Manifest]]:
    """The manifests of each overlay."""
    names = (*SCORING, *TRAINING, "project")
    return {name: list(_YAML.load_all(checkers.kustomize(FOLDER / "kubernetes" / name))) for name in names}


@pytest.fixture(scope="module")
def rendered() -> dict[str, list[Manifest]]:
    return render()


@pytest.fixture(params=(*SCORING, *TRAINING))
def manifests(request: pytest.FixtureRequest, rendered: dict[str, list[Manifest]]) -> list[Manifest]:
    return rendered[str(request.param)]


@pytest.fixture(params=SCORING)
def scoring(request: pytest.FixtureRequest, rendered: dict[str, list[Manifest]]) -> list[Manifest]:
    return rendered[str(request.param)]


@pytest.fixture(params=TRAINING)
def training(request: pytest.FixtureRequest, rendered: dict[str, list[Manifest]]) -> list[Manifest]:
    return rendered[str(request.param)]


def _one(manifests: list[Manifest], kind: str) -> Manifest:
    (found,) = (one for one in manifests if one["kind"] == kind)
    return found


def _cluster(manifests: list[Manifest]) -> Manifest:
    """What the cluster is made from, alone or in a job."""
    for one in manifests:
        if one["kind"] == "RayCluster":
            return dict(one["spec"])
    return dict(_one(manifests, "RayJob")["spec"]["rayClusterSpec"])


def _pods(manifests: list[Manifest]) -> dict[str, Manifest]:
    """The pod templates of KubeRay's manifests, as pods."""
    if not any(one["apiVersion"].startswith("ray.io/") for one in manifests):
        return {}
    cluster = _cluster(manifests)
    (workers,) = cluster["workerGroupSpecs"]
    templates = {"head": cluster["headGroupSpec"]["template"], "worker": workers["template"]}
    for one in manifests:
        if one["kind"] == "RayJob":
            templates["submitter"] = one["spec"]["submitterPodTemplate"]
    return {
        name: {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": name,
                "namespace": _one(manifests, "Namespace")["metadata"]["name"],
                **template["metadata"],
            },
            "spec": template["spec"],
        }
        for name, template in templates.items()
    }


@pytest.fixture(scope="module")
def files(rendered: dict[str, list[Manifest]], tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return write_pods(rendered, tmp_path_factory.mktemp("pods"))


def write_pods(rendered: dict[str, list[Manifest]], folder: Path) -> list[Path]:
    """Write everything that Kubernetes knows, in files: its own kinds, and pods in place of KubeRay's."""
    written = []
    for overlay in ("job", "prepare", "project"):  # what the others hold stands there too
        manifests = rendered[overlay]
        known = [one for one in manifests if not one["apiVersion"].startswith("ray.io/")]
        with (file := folder / f"{overlay}.yaml").open("w") as target:
            YAML(typ="safe").dump_all([*known, *_pods(manifests).values()], target)
        written.append(file)
    return written


# Schemas (policies are asked in test_policies.py)


@pytest.mark.parametrize("version", VERSIONS)
def test_pods_and_the_rest_follow_the_published_schemas_to_the_letter(files: list[Path], version: str) -> None:
    answer = checkers.run("kubernetes-validate", "--strict", "-k", version, *files)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert "WARN" not in answer.stdout + answer.stderr


def test_a_misspelt_field_of_a_pod_template_is_found(files: list[Path], tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text(files[0].read_text().replace("readOnlyRootFilesystem", "readOnlyRootFileSystem"))
    assert checkers.run("kubernetes-validate", "--strict", "-k", VERSIONS[-1], wrong).returncode != 0


# Who may come in


def test_token_and_tls_are_on(manifests: list[Manifest]) -> None:
    cluster = _cluster(manifests)
    assert cluster["authOptions"] == {"mode": "token"}
    assert cluster["tlsOptions"] == {"enabled": True}


def test_no_secret_is_among_the_manifests(manifests: list[Manifest]) -> None:
    assert "Secret" not in {one["kind"] for one in manifests}
    assert not re.search(r"KEY|PASSWORD|TOKEN", (FOLDER / "kubernetes/base/site.env").read_text())


def _policies(manifests: list[Manifest]) -> dict[str, Manifest]:
    return {one["metadata"]["name"]: one["spec"] for one in manifests if one["kind"] == "NetworkPolicy"}


def test_what_no_policy_lets_in_stays_out(manifests: list[Manifest]) -> None:
    nobody = _policies(manifests)["nobody"]
    assert nobody["podSelector"] == {}
    assert set(nobody["policyTypes"]) == {"Ingress", "Egress"}
    assert nobody["ingress"] == []
    assert [port["port"] for rule in nobody["egress"] for port in rule["ports"]] == [53, 53]


def test_the_clusters_pods_reach_each_other_and_the_operator_the_dashboard_alone(manifests: list[Manifest]) -> None:
    ray = _policies(manifests)["ray"]
    pods = {"podSelector": ray["podSelector"]}
    among, operator = ray["ingress"]
    assert among == {"from": [pods]}
    assert [port["port"] for port in operator["ports"]] == [8265]
    within, outside = ray["egress"]
    assert within == {"to": [pods]}
    assert [port["port"] for port in outside["ports"]] == [443]
    assert outside["to"][0]["ipBlock"]["except"] == ["169.254.0.0/16"]  # the metadata of a node, and its role
    for pod in _pods(manifests).values():
        assert ray["podSelector"]["matchLabels"].items() <= pod["metadata"]["labels"].items()


def _tokens(manifests: list[Manifest]) -> list[str]:
    """The pods that get a token of Kubernetes."""
    return [name for name, pod in _pods(manifests).items() if pod["spec"]["automountServiceAccountToken"]]


def test_only_the_head_that_asks_for_workers_holds_a_token_of_kubernetes(scoring: list[Manifest]) -> None:
    assert _tokens(scoring) == ["head"]


def test_nobody_who_trains_holds_a_token_of_kubernetes(training: list[Manifest]) -> None:
    assert _tokens(training) == []


def test_no_account_gives_its_token_unasked(manifests: list[Manifest]) -> None:
    assert all(not one["automountServiceAccountToken"] for one in manifests if one["kind"] == "ServiceAccount")


# How it runs


def test_no_actor_runs_on_the_head(manifests: list[Manifest]) -> None:
    assert _cluster(manifests)["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"


def test_workers_come_and_go_with_the_work(scoring: list[Manifest]) -> None:
    cluster = _cluster(scoring)
    (workers,) = cluster["workerGroupSpecs"]
    assert cluster["enableInTreeAutoscaling"] is True
    assert workers["minReplicas"] == 0 < workers["maxReplicas"]


def test_a_worker_has_a_cpu_for_each_actor(manifests: list[Manifest]) -> None:
    (workers,) = _cluster(manifests)["workerGroupSpecs"]
    (container,) = workers["template"]["spec"]["containers"]
    assert container["resources"]["requests"]["cpu"] == workers["rayStartParams"]["num-cpus"]


def test_the_object_store_fits_into_shared_memory(manifests: list[Manifest]) -> None:
    cluster = _cluster(manifests)
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        spec = group["template"]["spec"]
        volumes = {volume["name"]: volume.get("emptyDir") for volume in spec["volumes"]}
        (mounted,) = (
            mount["name"]
            for mount in spec["containers"][0]["volumeMounts"]
            if mount["mountPath"] == "/dev/shm"  # noqa: S108  the container's
        )
        assert volumes[mounted] == {"medium": "Memory", "sizeLimit": "256Mi"}
        assert int(group["rayStartParams"]["object-store-memory"]) < 256 << 20


def test_workers_may_be_spot_machines_and_the_head_may_not(manifests: list[Manifest]) -> None:
    pods = _pods(manifests)
    assert "kubernetes.azure.com/scalesetpriority" in {one["key"] for one in pods["worker"]["spec"]["tolerations"]}
    assert "tolerations" not in pods["head"]["spec"]
    demanded = pods["head"]["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    assert {one["operator"] for term in demanded["nodeSelectorTerms"] for one in term["matchExpressions"]} == {"NotIn"}


def test_every_container_runs_the_sites_image(manifests: list[Manifest]) -> None:
    site = _one(manifests, "ConfigMap")["data"]
    for pod in _pods(manifests).values():
        containers = [*pod["spec"]["containers"], *pod["spec"].get("initContainers", [])]
        assert {container["image"] for container in containers} == {site["IMAGE"]}


def test_the_ray_of_the_manifests_is_that_of_the_lock(manifests: list[Manifest]) -> None:
    version = _cluster(manifests)["rayVersion"]
    assert re.search(rf"^ray=={re.escape(version)} ", (ROOT / "locks/archive.txt").read_text(), re.MULTILINE)


def _pins(name: str) -> dict[str, str]:
    """Versions by package, of a lock."""
    lines = (ROOT / "locks" / name).read_text().splitlines()
    return {(words := line.split(" ")[0].partition("=="))[0]: words[2] for line in lines if line[:1].isalpha()}


def test_the_lock_holds_the_services_own_packages_in_the_versions_of_everything_else() -> None:
    service, node, full = (_pins(name) for name in ("service.txt", "archive.txt", "full.txt"))
    assert service.items() <= node.items()
    assert all(full[name] == version for name, version in node.items() if name in full and name not in service)
    assert not {"tensorflow", "mlflow", "dvc"} & set(node)


@pytest.fixture
def job(rendered: dict[str, list[Manifest]]) -> Manifest:
    return dict(_one(rendered["job"], "RayJob")["spec"])


def test_the_cluster_of_a_job_is_that_of_the_base(job: Manifest, rendered: dict[str, list[Manifest]]) -> None:
    assert job["rayClusterSpec"] == _one(rendered["cluster"], "RayCluster")["spec"]
    assert "RayCluster" not in {one["kind"] for one in rendered["job"]}


def test_a_job_takes_its_cluster_down_and_is_tried_again(job: Manifest) -> None:
    assert job["shutdownAfterJobFinishes"] is True
    assert job["backoffLimit"] > 0


def test_a_job_asks_for_every_cpu_that_the_workers_may_have(job: Manifest, rendered: dict[str, list[Manifest]]) -> None:
    words = job["entrypoint"].split(" ")
    given = dict(zip(words[2::2], words[3::2], strict=True))
    (workers,) = job["rayClusterSpec"]["workerGroupSpecs"]
    assert int(given["--actors"]) == workers["maxReplicas"] * int(workers["rayStartParams"]["num-cpus"])
    assert given["--out"] == _one(rendered["job"], "ConfigMap")["data"]["OUT"]


def test_a_job_that_is_tried_again_finds_its_manifest(job: Manifest) -> None:
    words = job["entrypoint"].split(" ")
    head = job["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]
    (first,) = head["initContainers"]
    path = words[words.index("--manifest") + 1]
    assert first["args"][0].startswith(f"test -s {path} || ")
    (volume,) = (one for one in head["volumes"] if one["name"] == "manifest")
    assert volume["persistentVolumeClaim"]["claimName"] == "manifest"


def _options(command: str) -> set[str]:
    """The options that `fracture COMMAND` knows."""
    said = subprocess.run(
        [Path(sys.executable).parent / "fracture", command, "--help"],
        cwd=ROOT, env={"COLUMNS": "200"}, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    return set(re.findall(r"--[a-z-]+", said))


def test_the_commands_of_the_manifests_have_these_options(job: Manifest) -> None:
    head = job["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]
    assert set(re.findall(r"--[a-z-]+", job["entrypoint"])) <= _options("score")
    assert set(re.findall(r"--[a-z-]+", head["initContainers"][0]["args"][0])) <= _options("manifest")


# Preparing, searching, training


def _entry(manifests: list[Manifest]) -> list[str]:
    return list(map(str, _one(manifests, "RayJob")["spec"]["entrypoint"].split(" ")))


def _environments(manifests: list[Manifest]) -> list[dict[str, str]]:
    """The plain variables of the containers of head and workers."""
    pods = _pods(manifests)
    return [
        {one["name"]: one["value"] for one in pods[name]["spec"]["containers"][0]["env"] if "value" in one}
        for name in ("head", "worker")
    ]


def test_the_ports_of_a_training_are_reached_by_its_own_pods_alone(training: list[Manifest]) -> None:
    """They have no login, so every other way in names its port."""
    assert _one(training, "Namespace")["metadata"]["name"] == "bone-fracture-training"
    policies = _policies(training)
    assert set(policies) == {"nobody", "ray"}
    open_ways = [way["from"] for way in policies["ray"]["ingress"] if "ports" not in way]
    assert open_ways == [[{"podSelector": policies["ray"]["podSelector"]}]]
    assert all(
        one["metadata"]["namespace"] == "bone-fracture-training" for one in training if one["kind"] != "Namespace"
    )


def test_the_pod_that_fills_the_disk_is_no_node(rendered: dict[str, list[Manifest]]) -> None:
    project = rendered["project"]
    pod = _one(project, "Pod")
    assert "labels" not in pod["metadata"]
    assert "RayCluster" not in {one["kind"] for one in project}
    assert pod["spec"]["containers"][0]["image"] == _one(project, "ConfigMap")["data"]["IMAGE"]


def test_every_node_sees_the_project_under_one_path(
    training: list[Manifest], rendered: dict[str, list[Manifest]]
) -> None:
    claim = _one(training, "PersistentVolumeClaim")
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]
    assert claim["spec"]["storageClassName"] == _one(training, "ConfigMap")["data"]["STORAGE_CLASS"]
    pods = _pods(training)
    for spec in (pods["head"]["spec"], pods["worker"]["spec"], _one(rendered["project"], "Pod")["spec"]):
        (volume,) = (one for one in spec["volumes"] if "persistentVolumeClaim" in one)
        assert volume["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]
        assert {"name": volume["name"], "mountPath": "/project"} in spec["containers"][0]["volumeMounts"]


def test_every_node_runs_the_code_of_the_checkout(training: list[Manifest]) -> None:
    folder = _entry(training)[1].removeprefix("--chdir=")
    assert [one["PYTHONPATH"] for one in _environments(training)] == [f"/app/packages:{folder}"] * 2


def test_searching_and_training_run_on_the_cluster_that_prepares(rendered: dict[str, list[Manifest]]) -> None:
    first, *others = (_cluster(rendered[name]) for name in TRAINING)
    assert others == [first, first]


def test_a_job_finds_its_workers_there(training: list[Manifest]) -> None:
    (workers,) = _cluster(training)["workerGroupSpecs"]
    assert workers["minReplicas"] == workers["replicas"] == workers["maxReplicas"] > 1
    assert _cluster(training)["enableInTreeAutoscaling"] is False


def test_preparing_takes_every_cpu_of_the_workers(rendered: dict[str, list[Manifest]]) -> None:
    manifests = rendered["prepare"]
    (workers,) = _cluster(manifests)["workerGroupSpecs"]
    for given in _environments(manifests):
        assert (given["FRACTURE_ENGINE"], given["FRACTURE_RAY_ADDRESS"]) == ("ray", "auto")
        assert int(given["FRACTURE_ACTORS"]) == workers["replicas"] * int(workers["rayStartParams"]["num-cpus"])
    assert _entry(manifests)[2:] == ["dvc", "repro", "preprocess"]
    assert "preprocess" in _YAML.load((ROOT / "dvc.yaml").read_text())["stages"]


def test_a_trial_takes_a_whole_worker(rendered: dict[str, list[Manifest]]) -> None:
    words = _entry(rendered["search"])
    (workers,) = _cluster(rendered["search"])["workerGroupSpecs"]
    assert words[2:4] == ["fracture", "tune"]
    assert words[words.index("--cpus") + 1] == workers["rayStartParams"]["num-cpus"]
    assert {word for word in words[4:] if word.startswith("--")} <= _options("tune")


def test_a_training_has_a_process_for_each_worker(rendered: dict[str, list[Manifest]]) -> None:
    words = _entry(rendered["train"])
    (workers,) = _cluster(rendered["train"])["workerGroupSpecs"]
    assert words[2:] == ["dvc", "exp", "run", "-S", f"train.workers={workers['replicas']}"]


def test_the_lock_of_the_image_that_trains_adds_nothing_but_packages(training: list[Manifest]) -> None:
    node, ray, full, archive = (_pins(name) for name in ("archive-train.txt", "ray.txt", "full.txt", "archive.txt"))
    assert ray.items() <= node.items()
    assert all(full[name] == version for name, version in node.items() if name in full)
    assert all(archive[name] == version for name, version in node.items() if name not in ray)
    assert node["ray"] == _cluster(training)["rayVersion"]


# The cluster launcher


@pytest.fixture(params=LAUNCHERS)
def launcher(request: pytest.FixtureRequest) -> Path:
    return FOLDER / f"{request.param}.yaml"


def test_a_launchers_file_is_valid_by_rays_own_schema(launcher: Path) -> None:
    (schema,) = TOOLS.parent.glob("lib/python*/site-packages/ray/autoscaler/ray-schema.json")
    answer = checkers.run("check-jsonschema", "--schemafile", schema, launcher)
    assert answer.returncode == 0, answer.stdout


def test_a_launchers_misspelt_field_is_found(launcher: Path, tmp_path: Path) -> None:
    (schema,) = TOOLS.parent.glob("lib/python*/site-packages/ray/autoscaler/ray-schema.json")
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text(launcher.read_text().replace("head_node_type:", "head_node_kind:"))
    assert checkers.run("check-jsonschema", "--schemafile", schema, wrong).returncode != 0


def test_a_launchers_nodes_are_protected_before_ray_starts(launcher: Path) -> None:
    given = _YAML.load(launcher.read_text())
    (settings,) = (one for one in given["setup_commands"] if "RAY_AUTH_MODE" in one)
    assert dict(re.findall(r"\b(RAY_AUTH_MODE|RAY_USE_TLS)=(\w+)", settings)) == TOKEN_AND_TLS
    for command in given["head_start_ray_commands"] + given["worker_start_ray_commands"]:
        assert command.startswith(". ~/.fracture-ray && ")
    assert {"~/.ray/auth_token", "~/.ray/tls"} <= set(given["file_mounts"])


def test_a_launchers_workers_are_spot_machines_and_its_head_scores_nothing(launcher: Path) -> None:
    types = _YAML.load(launcher.read_text())["available_node_types"]
    assert types["head"]["resources"] == {"CPU": 0}
    assert "spot" in json.dumps(types["worker"]).lower()
    assert "spot" not in json.dumps(types["head"]).lower()


# The certificate that nodes share


def test_the_certificate_names_every_address_of_the_subnet(tmp_path: Path) -> None:
    certificates.make("10.0.3.0/28", tmp_path)
    said = subprocess.run(
        ["openssl", "x509", "-in", tmp_path / "tls.crt", "-noout", "-ext", "subjectAltName"],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    named = set(re.findall(r"IP Address:([\d.]+)", said))
    assert named == {"127.0.0.1", *(f"10.0.3.{number}" for number in range(1, 15))}


def test_the_authority_has_signed_the_certificate_and_its_key_is_gone(tmp_path: Path) -> None:
    certificates.make("10.0.3.0/30", tmp_path)
    command = ["openssl", "verify", "-CAfile", str(tmp_path / "ca.crt"), str(tmp_path / "tls.crt")]
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0
    assert {path.name for path in tmp_path.iterdir()} == {"ca.crt", "tls.crt", "tls.key"}
    assert stat.S_IMODE((tmp_path / "tls.key").stat().st_mode) == 0o600


@pytest.mark.parametrize("network", ["10.0.0.0/16", "10.0.3.7/24", "here"])
def test_a_network_that_cannot_be_named_is_refused(
    network: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        certificates.main([network, str(tmp_path / "tls")])
    assert str(ended.value).startswith("error: ")
    assert not (tmp_path / "tls").exists()
