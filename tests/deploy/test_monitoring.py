"""What watches a service: the rules with their cases, and every query of the dashboard put to a real Prometheus."""

import json
import os
import re
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import httpx
import numpy as np
import pytest
import uvicorn
from prometheus_client import CollectorRegistry
from ruamel.yaml import YAML

from serving import bundle
from serving.http.admission import Engine
from serving.http.app import create_app
from serving.http.problems import REFUSED_BY_GUARD
from serving.http.settings import Settings
from serving.store.database import Database
from tests.deploy import checkers
from tests.deploy.checkers import ROOT
from tests.deploy.prometheus import FOLDER, RULES, Prometheus, watching

OPERATOR = ROOT / "tests/deploy/operator"
NEEDS_A_WEEK = "moved1d"
"""What compares with a week ago has no value in a test of some seconds; tests-days.yml has its cases."""


def _yaml(path: Path) -> Any:
    return YAML(typ="safe").load(path.read_text())


def _run(*words: str | Path, folder: Path = FOLDER) -> str:
    done = subprocess.run([*map(str, words)], cwd=folder, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def _alerts() -> set[str]:
    return {rule["alert"] for group in _yaml(RULES / "alerts.yml")["groups"] for rule in group["rules"]}


def _panels() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((FOLDER / "grafana/dashboards/fracture.json").read_text())["panels"]
    return found


def _queries() -> list[str]:
    return [target["expr"] for panel in _panels() for target in panel.get("targets", [])]


@pytest.mark.prometheus
def test_configuration_and_rules_are_valid() -> None:
    _run("promtool", "check", "config", "prometheus.yml")


@pytest.mark.prometheus
@pytest.mark.parametrize("cases", ["tests-minutes.yml", "tests-days.yml"])
def test_every_alert_fires_when_it_should_and_not_before(cases: str) -> None:
    _run("promtool", "test", "rules", cases, folder=RULES)


def test_every_alert_has_a_case_in_which_it_fires_and_one_in_which_it_does_not() -> None:
    fires: set[str] = set()
    quiet: set[str] = set()
    for name in ("tests-minutes.yml", "tests-days.yml"):
        for case in _yaml(RULES / name)["tests"]:
            for asked in case["alert_rule_test"]:
                (fires if asked.get("exp_alerts") else quiet).add(asked["alertname"])
    assert fires == _alerts()
    assert quiet == _alerts()


def test_the_refusals_that_are_watched_are_those_of_the_guard() -> None:
    (listed,) = re.findall(r'fracture_rejected_total\{code=~"(.*?)"', (RULES / "recording.yml").read_text())
    assert set(listed.split("|")) == REFUSED_BY_GUARD


def test_every_alert_says_what_to_do() -> None:
    for group in _yaml(RULES / "alerts.yml")["groups"]:
        for rule in group["rules"]:
            assert rule["labels"]["severity"] in {"page", "ticket"}
            assert {"summary", "description"} == set(rule["annotations"])


@pytest.mark.alertmanager
@pytest.mark.parametrize(
    ("labels", "receiver"),
    [("severity=page", "page"), ("severity=ticket", "ticket"), ("alertname=Other", "ticket")],
)
def test_alerts_are_routed_by_their_severity(labels: str, receiver: str) -> None:
    _run("amtool", "check-config", "alertmanager.yml")
    said = _run("amtool", "config", "routes", "test", "--config.file=alertmanager.yml", labels)
    assert said.strip() == receiver


@pytest.mark.alertmanager
@pytest.mark.parametrize(
    ("labels", "receivers"),
    [
        (["alertname=FractureScoresMoved", "severity=ticket"], "retrain,ticket"),
        (["alertname=FractureAgreementDown", "severity=page"], "retrain,page"),
        (["alertname=FractureDown", "severity=page"], "page"),
    ],
)
def test_what_moved_also_asks_for_a_training_where_that_is_wanted(labels: list[str], receivers: str) -> None:
    _run("amtool", "check-config", "alertmanager-retrain.yml")
    said = _run("amtool", "config", "routes", "test", "--config.file=alertmanager-retrain.yml", *labels)
    assert said.strip() == receivers


def test_the_two_configurations_of_alertmanager_differ_by_the_training_alone() -> None:
    plain, training = (_yaml(FOLDER / f"alertmanager{more}.yml") for more in ("", "-retrain"))
    assert training["route"]["routes"].pop(0)["receiver"] == "retrain"
    assert training["route"]["routes"].pop() == {"receiver": plain["route"]["receiver"]}
    assert training["receivers"].pop()["name"] == "retrain"
    assert training == plain


def test_the_alerts_that_ask_for_a_training_are_those_of_the_bridge() -> None:
    (route, *_) = _yaml(FOLDER / "alertmanager-retrain.yml")["route"]["routes"]
    (listed,) = re.findall(r'^ALERTS = "(.*)"$', (FOLDER / "bridge.py").read_text(), re.MULTILINE)
    assert route["matchers"] == [f'alertname=~"{listed.replace(",", "|")}"']
    assert set(listed.split(",")) <= _alerts()


@pytest.fixture(scope="module")
def service(bundle_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Run a service with a store on loopback."""
    url = f"sqlite:///{tmp_path_factory.mktemp('store') / 'answers.db'}"
    database = Database(url)
    database.upgrade()
    app = create_app()
    settings = Settings(store_url=url, feedback_key="f" * 32)
    app.state.engine = Engine(bundle.read(bundle_folder), settings, CollectorRegistry())
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="error"))
    running = threading.Thread(target=server.run, daemon=True)
    running.start()
    while not server.started:
        assert running.is_alive(), "the server did not start"
        time.sleep(0.02)
    yield f"127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    running.join(timeout=30)
    app.state.engine.close()
    database.close()


@pytest.fixture(scope="module")
def prometheus(service: str, bundle_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """Run a Prometheus with the project's files, faster, while the service answers, refuses and hears readers."""
    with watching(service, tmp_path_factory.mktemp("prometheus")) as found:
        _use(f"http://{service}", sorted((bundle_folder / "samples").iterdir())[0].read_bytes())
        found.wait(lambda: (found.value("sum(fracture:agreement:ratio7d)") or 0) > 0)
        found.wait(lambda: found.value("sum(fracture:refusals:ratio6h)") is not None)
        yield found


def _use(address: str, radiograph: bytes) -> None:
    """Answer, refuse and judge some images, twice with a scrape in between, so that rates have something to show."""
    with httpx.Client(base_url=address, timeout=60) as client:
        for _ in range(4):
            answer = client.post("/predict", files={"image": radiograph}).json()
            client.post("/predict", files={"image": _blank()})
            said = {"answer_id": answer["answer_id"], "feedback_token": answer["feedback_token"], "opinion": "agree"}
            assert client.post("/feedback", json=said).status_code == 200
            time.sleep(1.5)


def _blank() -> bytes:
    return bytes(cv2.imencode(".png", np.full((200, 200), 90, np.uint8))[1])


@pytest.mark.prometheus
def test_every_query_of_the_dashboard_is_answered(prometheus: Prometheus) -> None:
    empty = []
    for query in _queries():
        written = query.replace("$job", "fracture").replace("$__rate_interval", "1m")
        if not prometheus.ask(written) and NEEDS_A_WEEK not in query:
            empty.append(query)
    assert empty == []


@pytest.mark.prometheus
def test_every_recording_rule_finds_the_metrics_that_it_names(prometheus: Prometheus) -> None:
    records = {rule["record"] for group in _yaml(RULES / "recording.yml")["groups"] for rule in group["rules"]}
    # The service has no week behind it and no canary beside it.
    expected = {name for name in records if NEEDS_A_WEEK not in name} - {"fracture:canary:apart6h"}
    assert [name for name in sorted(expected) if not prometheus.ask(name)] == []


@pytest.mark.prometheus
def test_no_alert_fires_on_a_service_that_works(prometheus: Prometheus) -> None:
    assert prometheus.firing() == set()


def test_the_dashboard_is_one_that_grafana_provisions() -> None:
    dashboard = json.loads((FOLDER / "grafana/dashboards/fracture.json").read_text())
    assert {"uid", "title", "schemaVersion", "panels", "templating", "time"} <= set(dashboard)
    assert "id" not in dashboard  # Grafana gives one itself
    ids = [panel["id"] for panel in dashboard["panels"]]
    assert len(set(ids)) == len(ids)
    for panel in dashboard["panels"]:
        place = panel["gridPos"]
        assert place["x"] >= 0
        assert place["x"] + place["w"] <= 24
        assert panel["type"] in {"row", "stat", "timeseries", "heatmap"}
    names = {variable["name"] for variable in dashboard["templating"]["list"]}
    used = set(re.findall(r"\$\{?([a-z]+)\}?", json.dumps(dashboard)))
    assert used == names


def test_no_two_panels_lie_on_each_other() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in _panels():
        place = panel["gridPos"]
        columns = range(place["x"], place["x"] + place["w"])
        cells = {(x, y) for x in columns for y in range(place["y"], place["y"] + place["h"])}
        assert not cells & taken, panel["title"]
        taken |= cells


def test_compose_mounts_what_is_there_and_keeps_every_port_on_this_machine() -> None:
    compose = _yaml(FOLDER / "compose.yaml")
    more = _yaml(FOLDER / "compose.retrain.yaml")["services"]
    assert (FOLDER / more["alertmanager"]["volumes"][0].partition(":")[0]).is_file()
    compose["services"]["bridge"] = more["bridge"]
    made_by_hand = {"./secrets"}
    for name, service in compose["services"].items():
        assert service["read_only"], name
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))
        for volume in service.get("volumes", []):
            source = volume.partition(":")[0]
            assert source in compose["volumes"] or source in made_by_hand or (FOLDER / source).exists(), volume
    assert compose["services"]["fracture"]["depends_on"]["upgrade"]["condition"] == "service_completed_successfully"


def test_the_operators_rules_are_those_of_prometheus() -> None:
    groups = [group for name in ("recording.yml", "alerts.yml") for group in _yaml(RULES / name)["groups"]]
    assert _yaml(FOLDER / "kubernetes/prometheus-rule.yaml")["spec"]["groups"] == groups


@pytest.mark.operator
@pytest.mark.parametrize(
    ("change", "said"),
    [({}, ["ServiceMonitor ok"]), ({"port": 5}, ["ServiceMonitor data/spec/endpoints/0/port must be string"])],
)
def test_the_operators_schema_takes_the_service_monitor_and_would_not_take_a_wrong_one(
    change: dict[str, Any], said: list[str]
) -> None:
    document = _yaml(FOLDER / "kubernetes/service-monitor.yaml")
    document["spec"]["endpoints"][0] |= change
    assert _of_operator(document) == said


@pytest.mark.operator
def test_the_operators_schema_takes_the_rules() -> None:
    assert _of_operator(_yaml(FOLDER / "kubernetes/prometheus-rule.yaml")) == ["PrometheusRule ok"]


def _of_operator(document: Any) -> list[str]:
    """What the schemas of the operator say of an object."""
    if not (OPERATOR / "node_modules").is_dir():
        if os.environ.get("CI") == "true":
            pytest.fail("tests/deploy/operator is not installed, and CI leaves nothing out")
        pytest.skip("left out: npm ci --ignore-scripts --prefix tests/deploy/operator")
    done = subprocess.run(
        ["node", OPERATOR / "check.mjs"], input=json.dumps(document), capture_output=True, text=True, check=False
    )
    assert not done.stderr
    return done.stdout.splitlines()


def test_the_service_monitor_finds_the_service_and_gives_it_the_name_that_the_rules_know() -> None:
    monitor = _yaml(FOLDER / "kubernetes/service-monitor.yaml")["spec"]
    service = _yaml(ROOT / "deploy/kubernetes/base/service.yaml")
    assert monitor["endpoints"][0]["port"] in {port["name"] for port in service["spec"]["ports"]}
    (labels,) = _yaml(ROOT / "deploy/kubernetes/base/kustomization.yaml")["labels"]
    assert monitor["selector"]["matchLabels"].items() <= labels["pairs"].items()
    champion, canary = monitor["endpoints"][0]["relabelings"]
    assert champion == {"targetLabel": "job", "replacement": "fracture"}
    assert (canary["regex"], canary["replacement"]) == ("bone-fracture-canary", "fracture-canary")
    assert _yaml(FOLDER / "prometheus.yml")["scrape_configs"][0]["job_name"] == "fracture"


def test_the_manifests_render() -> None:
    documents = list(YAML(typ="safe").load_all(checkers.kustomize(FOLDER / "kubernetes")))
    assert {document["kind"] for document in documents} == {"ServiceMonitor", "PrometheusRule", "NetworkPolicy"}
    assert {document["metadata"]["namespace"] for document in documents} == {"bone-fracture"}
