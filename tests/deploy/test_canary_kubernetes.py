"""A canary in Kubernetes: the Deployment that is made of the service's, and how many pods its share takes."""

import json
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from pipeline.cloud.canary import steps
from pipeline.cloud.canary.kubernetes import CANARY, SERVICE, KubernetesCanary, canary_of, make_kubectl, pods
from pipeline.cloud.canary.steps import Standing
from pipeline.errors import InputError
from tests.deploy import checkers
from tests.deploy.checkers import ROOT
from tests.deploy.cluster import Cluster, rendered
from tests.pipeline.cloud.canary.memory import RELEASE, hands

OVERLAY = ROOT / "deploy/kubernetes/eks"
IMAGE = f"host/bone-fracture@sha256:{'2' * 64}"
SECOND = "bone-fracture/2"


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    """The service, with two pods, and a kubectl that reaches it."""
    made = Cluster(tmp_path, OVERLAY, RELEASE.model)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    return made


def _canary(said: list[str] | None = None, image: str = IMAGE) -> KubernetesCanary:
    return KubernetesCanary(make_kubectl("site", (said if said is not None else []).append), image, pause=0)


@pytest.mark.parametrize(
    ("share", "expected"), [(9, (11, 1)), (10, (9, 1)), (20, (4, 1)), (25, (3, 1)), (33, (3, 1)), (50, (2, 2))]
)
def test_a_share_is_a_number_of_pods_and_never_exceeded(share: int, expected: tuple[int, int]) -> None:
    service, canary = pods(share, least=2, most=12)
    assert (service, canary) == expected
    assert canary / (canary + service) <= share / 100


def test_a_share_that_takes_more_pods_than_the_autoscaler_allows_is_refused() -> None:
    with pytest.raises(InputError, match=r"--share 5: takes 19 pods .* allows 10; ask for at least 10 %"):
        pods(5, least=2, most=10)


def test_its_pods_get_requests_once_they_were_tried_and_none_when_they_are_not(cluster: Cluster) -> None:
    said: list[str] = []
    steps.start(_canary(said), hands([]), SECOND, 10)
    assert cluster.serving() == {SERVICE: 9, CANARY: 1}
    assert _canary().find() == Standing(IMAGE, SECOND, 10)
    assert said[-1].startswith(f"{SECOND} answers 10 %")
    _canary().withdraw()
    assert cluster.serving()[CANARY] == 0
    assert _canary().find() == Standing(IMAGE, SECOND, 0)
    assert steps.end(_canary())
    assert not steps.end(_canary())
    assert cluster.deployment(CANARY) is None
    assert cluster.read()["objects"]["hpa/bone-fracture"]["spec"]["minReplicas"] == 2


@pytest.mark.slow
def test_as_long_as_the_service_has_more_pods_the_share_is_smaller_and_said_so(cluster: Cluster) -> None:
    said: list[str] = []
    steps.start(_canary(), hands([]), SECOND, 10)
    steps.start(_canary(said), hands([]), SECOND, 25)
    assert cluster.read()["objects"]["hpa/bone-fracture"]["spec"]["minReplicas"] == 3
    assert said[-1].startswith(f"{SECOND} answers 10 % of the requests now, and at most 25 %")


@pytest.mark.slow
def test_another_model_than_the_champions_gets_no_request(cluster: Cluster) -> None:
    steps.start(_canary(), hands([]), SECOND, 10)
    _canary().withdraw()
    cluster.change(model="b" * 64)
    with pytest.raises(InputError, match="holds model bbbbbbbbbbbb and not the champion's aaaaaaaaaaaa"):
        steps.start(_canary(), hands([]), SECOND, 10)
    assert CANARY not in cluster.serving()


@pytest.mark.slow
def test_promoted_its_image_is_the_services(cluster: Cluster) -> None:
    said: list[str] = []
    steps.start(_canary(), hands([]), SECOND, 50)
    steps.promote(_canary(said), SECOND)
    service = cluster.deployment(SERVICE)
    assert service
    assert service["spec"]["template"]["spec"]["containers"][0]["image"] == IMAGE
    assert cluster.deployment(CANARY) is None
    assert said[0].startswith(f"write IMAGE={IMAGE} into the site.env")


@pytest.mark.slow
def test_a_service_that_does_not_start_with_it_goes_back_and_the_requests_too(cluster: Cluster) -> None:
    steps.start(_canary(), hands([]), SECOND, 50)
    cluster.change(broken=[IMAGE])
    with pytest.raises(InputError, match="the former version serves on; every request goes to the service again"):
        steps.promote(_canary(), SECOND)
    service = cluster.deployment(SERVICE)
    assert service
    assert service["spec"]["template"]["spec"]["containers"][0]["image"] != IMAGE
    assert cluster.serving()[CANARY] == 0


@pytest.mark.parametrize("image", ["", "host/bone-fracture:2", "host/bone-fracture@sha256:2"])
def test_an_image_that_is_not_named_by_its_digest_is_refused(cluster: Cluster, image: str) -> None:
    with pytest.raises(InputError, match="name the champion's image by digest"):
        steps.start(_canary(image=image), hands([]), SECOND, 10)
    assert cluster.deployment(CANARY) is None


def test_a_cluster_that_does_not_answer_is_one_line(cluster: Cluster) -> None:
    cluster.change(away=True)
    with pytest.raises(InputError, match="no cluster answers") as error:
        _canary().find()
    assert "\n" not in str(error.value)


def test_an_older_service_is_told_of(cluster: Cluster) -> None:
    objects = cluster.read()["objects"]
    objects["service/bone-fracture"]["spec"]["selector"] = {"app.kubernetes.io/name": SERVICE}
    cluster.change(objects=objects)
    with pytest.raises(InputError, match="apply the overlay again"):
        _canary().find()


def test_without_kubectl_one_line_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match="kubectl: not found"):
        _canary().find()


# The manifest


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_canary(tmp_path_factory.mktemp("canary"))


def write_canary(folder: Path) -> Path:
    """Write the canary's Deployment with a share."""
    service = next(one for one in json.loads(rendered(OVERLAY)) if one["kind"] == "Deployment")
    made = canary_of(service, IMAGE, SECOND, 2)
    made["spec"]["template"]["metadata"]["labels"]["app.kubernetes.io/part-of"] = "bone-fracture-detection"
    path = folder / "canary.yaml"
    path.write_text(json.dumps(made))  # JSON is YAML, too
    return path


@pytest.mark.slow
def test_it_follows_the_published_schemas(manifest: Path) -> None:
    answer = checkers.run("kubernetes-validate", "--strict", "-k", "1.37", manifest)
    assert answer.returncode == 0, answer.stdout + answer.stderr


def test_its_selector_is_not_that_of_the_service(manifest: Path) -> None:
    made = YAML(typ="safe").load(manifest.read_text())
    assert made["spec"]["selector"]["matchLabels"] == {"app.kubernetes.io/name": CANARY}
    assert "replicas" in made["spec"]


def test_no_policy_lets_more_into_its_pods_than_into_those_of_the_service() -> None:
    for path in ("deploy/kubernetes/base/network-policy.yaml", "deploy/monitoring/kubernetes/network-policy.yaml"):
        (expression,) = YAML(typ="safe").load((ROOT / path).read_text())["spec"]["podSelector"]["matchExpressions"]
        assert expression["values"] == [SERVICE, CANARY]
