"""The Bicep template of deploy/azure, on the parse tree of pycep. No Bicep compiler and no subscription has seen it."""

import json
import re
from typing import Any

import pytest

from serving.http.settings import Settings
from tests.deploy import bicep
from tests.deploy.checkers import ROOT

TEMPLATE = ROOT / "deploy/azure/main.bicep"
PARAMETERS = ROOT / "deploy/azure/main.parameters.json"
ACR_PULL = "7f951dda-4ed3-4680-a7ca-43fe172d538d"
KEY_VAULT_SECRETS_USER = "4633458b-17de-408a-b874-0445c86b69e6"


@pytest.fixture(scope="module")
def tree() -> dict[str, Any]:
    return bicep.parse(TEMPLATE)


@pytest.fixture(scope="module")
def resources(tree: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return bicep.resources(tree)


@pytest.fixture(scope="module")
def app(resources: dict[str, dict[str, Any]]) -> dict[str, Any]:
    properties: dict[str, Any] = resources["app"]["properties"]
    return properties


@pytest.fixture(scope="module")
def container(app: dict[str, Any]) -> dict[str, Any]:
    (only,) = app["template"]["containers"]
    return dict(only)


def test_every_name_used_is_declared(tree: dict[str, Any]) -> None:
    declared = {name for section in ("parameters", "variables", "resources") for name in tree[section]}
    text = re.sub(r"//.*", "", TEMPLATE.read_text())
    used = set(re.findall(r"(?<![.\w'])([A-Za-z]\w*)!?\.(?:id|properties)\b", text))
    used |= set(re.findall(r"\$\{([A-Za-z]\w*)", text)) - {"index"}
    assert used <= declared


# What lets whom in


def test_only_https_comes_in_from_the_addresses_given(app: dict[str, Any], tree: dict[str, Any]) -> None:
    ingress = app["configuration"]["ingress"]
    assert ingress["allowInsecure"] is False
    assert ingress["targetPort"] == "port"
    assert tree["variables"]["port"]["value"] == 3000
    restrictions = ingress["ipSecurityRestrictions"]
    assert restrictions["loop_type"]["detail"]["array_name"] == "allowedAddresses"
    assert restrictions["config"]["action"] == "Allow"
    assert {"type": "min_length", "argument": 1} in tree["parameters"]["allowedAddresses"]["decorators"]


def test_the_registry_knows_no_password_and_no_stranger(resources: dict[str, dict[str, Any]]) -> None:
    (registry,) = bicep.of_type(resources, "Microsoft.ContainerRegistry/registries").values()
    assert registry["properties"] == {"adminUserEnabled": False, "anonymousPullEnabled": False}


def test_two_roles_are_given_and_each_for_one_thing(resources: dict[str, dict[str, Any]], tree: dict[str, Any]) -> None:
    given = bicep.of_type(resources, "Microsoft.Authorization/roleAssignments").values()
    assert {(role["properties"]["roleDefinitionId"], role["scope"]) for role in given} == {
        ("acrPull", "registry"),
        ("secretsUser", "keysInPlace"),
    }
    assert ACR_PULL in tree["variables"]["acrPull"]["value"]
    assert KEY_VAULT_SECRETS_USER in tree["variables"]["secretsUser"]["value"]


def test_the_identity_that_pulls_can_only_pull(resources: dict[str, dict[str, Any]]) -> None:
    given = bicep.of_type(resources, "Microsoft.Authorization/roleAssignments").values()
    of_puller = [role for role in given if role["properties"]["principalId"].startswith("puller.")]
    assert [role["properties"]["roleDefinitionId"] for role in of_puller] == ["acrPull"]


def test_code_in_the_container_gets_no_token(app: dict[str, Any], resources: dict[str, dict[str, Any]]) -> None:
    identity = resources["app"]["identity"]
    assert identity["type"] == "UserAssigned"
    assert set(identity["userAssignedIdentities"]) == {"${puller.id}", "${keyReader.id}"}
    assert app["configuration"]["identitySettings"] == [
        {"identity": "puller.id", "lifecycle": "None"},
        {"identity": "keyReader.id", "lifecycle": "None"},
    ]


def test_the_image_is_pulled_with_the_identity(app: dict[str, Any]) -> None:
    (registry,) = app["configuration"]["registries"]
    assert registry == {"server": "registry.properties.loginServer", "identity": "puller.id"}


def test_keys_come_from_the_vault(app: dict[str, Any], container: dict[str, Any]) -> None:
    (secret,) = app["configuration"]["secrets"]
    assert secret["keyVaultUrl"] == "${vault.properties.vaultUri}secrets/${keysSecret}"
    assert secret["identity"] == "keyReader.id"
    assert {"name": "API_KEYS", "secretRef": "keysSecret"} in container["env"]


def test_the_vault_has_one_door_and_it_is_private(resources: dict[str, dict[str, Any]]) -> None:
    (vault,) = bicep.of_type(resources, "Microsoft.KeyVault/vaults").values()
    properties = vault["properties"]
    assert properties["publicNetworkAccess"] == "Disabled"
    assert properties["networkAcls"] == {"defaultAction": "Deny", "bypass": "None"}
    assert properties["enableRbacAuthorization"] is True
    assert properties["enableSoftDelete"] is True
    assert properties["enablePurgeProtection"] is True
    (door,) = bicep.of_type(resources, "Microsoft.Network/privateEndpoints").values()
    (connection,) = door["properties"]["privateLinkServiceConnections"]
    assert connection["properties"] == {"privateLinkServiceId": "vault.id", "groupIds": ["vault"]}
    (zone,) = bicep.of_type(resources, "Microsoft.Network/privateDnsZones").values()
    assert zone["name"] == "privatelink.vaultcore.azure.net"


def test_the_app_waits_for_what_it_needs_to_start(resources: dict[str, dict[str, Any]]) -> None:
    assert set(resources["app"]["dependsOn"]) == {"mayPull", "mayRead", "vaultDoorName", "vaultZoneLink"}
    assert resources["mayRead"]["dependsOn"] == ["keys"]


def test_keys_are_a_secure_parameter_and_stay_when_none_are_given(
    tree: dict[str, Any], resources: dict[str, dict[str, Any]]
) -> None:
    keys = tree["parameters"]["apiKeys"]
    assert {"type": "secure"} in keys["decorators"]
    assert keys["default"] == ""
    assert "apiKeys" in str(resources["keys"]["condition"])


def test_the_parameters_file_holds_no_secret_and_only_known_names(tree: dict[str, Any]) -> None:
    given = json.loads(PARAMETERS.read_text())["parameters"]
    secure = {name for name, p in tree["parameters"].items() if {"type": "secure"} in p["decorators"]}
    assert secure == {"apiKeys"}
    assert not set(given) & secure
    assert set(given) <= set(tree["parameters"])
    required = {name for name, p in tree["parameters"].items() if p["default"] is None}
    assert required <= set(given)


def test_no_account_key_and_no_password_is_read_or_shown(tree: dict[str, Any]) -> None:
    text = TEMPLATE.read_text()
    assert not re.search(r"listKeys|listCredentials|sharedKey|password", text, re.IGNORECASE)
    assert set(tree["outputs"]) == {"registryServer", "address"}


# What runs


def test_without_an_image_only_what_it_needs_is_made(resources: dict[str, dict[str, Any]]) -> None:
    later = {name for name, found in resources.items() if found["condition"] == "withApp"}
    assert later == {"app", "mayRead", "failing", "slow", "absent"}


@pytest.mark.parametrize(("kind", "path"), [("Startup", "/readyz"), ("Readiness", "/readyz"), ("Liveness", "/livez")])
def test_probes_ask_the_service(container: dict[str, Any], kind: str, path: str) -> None:
    (probe,) = [probe for probe in container["probes"] if probe["type"] == kind]
    assert probe["httpGet"] == {"path": path, "port": "port"}


def test_probes_keep_within_what_the_platform_allows(container: dict[str, Any]) -> None:
    for probe in container["probes"]:
        assert 1 <= probe["failureThreshold"] <= 10
        assert 1 <= probe["timeoutSeconds"] < probe["periodSeconds"] <= 240


def test_a_start_and_a_busy_worker_have_a_minute(container: dict[str, Any]) -> None:
    patience = {probe["type"]: probe["periodSeconds"] * probe["failureThreshold"] for probe in container["probes"]}
    assert patience["Startup"] >= 60
    assert patience["Liveness"] >= 60


def test_a_replica_is_one_worker_with_a_core(container: dict[str, Any]) -> None:
    assert container["resources"] == {"cpu": "json(1.0)", "memory": "2Gi"}
    environment = {entry["name"]: entry.get("value") for entry in container["env"]}
    assert environment["FRACTURE_WORKERS"] == environment["FRACTURE_THREADS"] == "1"
    assert str(environment["BENTOML_HOME"]).startswith("/tmp/")  # noqa: S108  the container's


def test_what_is_written_is_gone_with_the_replica(app: dict[str, Any], container: dict[str, Any]) -> None:
    assert app["template"]["volumes"] == [{"name": "tmp", "storageType": "EmptyDir"}]
    assert container["volumeMounts"] == [{"volumeName": "tmp", "mountPath": "/tmp"}]  # noqa: S108


def test_replicas_follow_requests_and_cpu(app: dict[str, Any], tree: dict[str, Any]) -> None:
    scale = app["template"]["scale"]
    assert (scale["minReplicas"], scale["maxReplicas"]) == ("minReplicas", "maxReplicas")
    assert tree["parameters"]["minReplicas"]["default"] == 2
    requests, cpu = scale["rules"]
    assert int(requests["http"]["metadata"]["concurrentRequests"]) < Settings().concurrency
    assert cpu["custom"] == {"type": "cpu", "metadata": {"type": "Utilization", "value": "70"}}


def test_a_leaving_replica_may_end_its_longest_request(app: dict[str, Any]) -> None:
    assert '"timeout": 2 * settings.timeout + 10' in (ROOT / "service.py").read_text()
    assert app["template"]["terminationGracePeriodSeconds"] > 2 * Settings().timeout + 10


def test_a_revision_takes_over_only_when_it_answers(app: dict[str, Any]) -> None:
    assert app["configuration"]["activeRevisionsMode"] == "Single"


# What is watched


def test_logs_are_kept_for_a_time_and_need_no_key(resources: dict[str, dict[str, Any]]) -> None:
    properties = resources["logs"]["properties"]
    assert properties["retentionInDays"] == "logRetentionDays"
    assert properties["features"] == {"disableLocalAuth": True}
    assert resources["appsEnvironment"]["properties"]["appLogsConfiguration"] == {"destination": "azure-monitor"}
    settings = bicep.of_type(resources, "Microsoft.Insights/diagnosticSettings").values()
    assert {setting["scope"] for setting in settings} == {"appsEnvironment", "vault"}
    assert {setting["properties"]["workspaceId"] for setting in settings} == {"logs.id"}


def test_people_are_told_of_errors_slowness_and_absence(resources: dict[str, dict[str, Any]]) -> None:
    alerts = bicep.of_type(resources, "Microsoft.Insights/metricAlerts").values()
    found = {}
    for alert in alerts:
        properties = alert["properties"]
        assert properties["enabled"] is True
        assert properties["scopes"] == ["app.id"]
        assert properties["actions"] == [{"actionGroupId": "people.id"}]
        (criterion,) = properties["criteria"]["allOf"]
        found[criterion["metricName"]] = (criterion["timeAggregation"], criterion["operator"], criterion["threshold"])
        if criterion["metricName"] == "Requests":
            (dimension,) = criterion["dimensions"]
            assert dimension["name"] == "statusCodeCategory"
            assert dimension["values"] == ["5xx"]
    assert found == {
        "Requests": ("Total", "GreaterThan", 5),
        "ResponseTime": ("Average", "GreaterThan", "latencyMilliseconds"),
        "Replicas": ("Maximum", "LessThan", 1),
    }


def test_the_address_is_put_out(tree: dict[str, Any]) -> None:
    assert "https://${app!.properties.configuration.ingress.fqdn}" in str(tree["outputs"]["address"])
