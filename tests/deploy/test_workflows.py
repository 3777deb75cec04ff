"""The workflows of .github, and the script they talk to a cloud with, run against recording stand-ins."""

import json
import os
import re
import shutil
import stat
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from tests.deploy import checkers
from tests.deploy.checkers import ROOT

FOLDER = ROOT / ".github/workflows"
SCRIPT = ROOT / ".github/cloud"
NAMES = ("release", "retrain", "test")

Workflow = dict[str, Any]


@pytest.fixture(params=NAMES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def _read(name: str) -> Workflow:
    workflow: Workflow = YAML(typ="safe").load((FOLDER / f"{name}.yml").read_text())
    return workflow


def _job(name: str) -> dict[str, Any]:
    (job,) = _read(name)["jobs"].values()
    return dict(job)


def _commands(name: str) -> list[str]:
    return [step["run"] for step in _job(name)["steps"] if "run" in step]


# What the workflows are


def test_there_are_these_workflows_and_no_others() -> None:
    assert sorted(path.name for path in FOLDER.iterdir()) == [f"{name}.yml" for name in NAMES]


def test_workflows_follow_the_schema() -> None:
    answer = checkers.run(
        "check-jsonschema", "--builtin-schema", "vendor.github-workflows", *sorted(FOLDER.glob("*.yml"))
    )
    assert answer.returncode == 0, answer.stdout


def test_a_misspelt_key_is_found(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.yml"
    wrong.write_text((FOLDER / "test.yml").read_text().replace("timeout-minutes", "timeout-minute"))
    assert checkers.run("check-jsonschema", "--builtin-schema", "vendor.github-workflows", wrong).returncode == 1


def test_no_secret_is_named_anywhere() -> None:
    for path in [SCRIPT, *FOLDER.iterdir()]:
        text = path.read_text()
        assert not re.search(r"\bsecrets\s*[.\[]", text), path
        assert not re.search(r"AKIA[0-9A-Z]{16}|-----BEGIN|gh[pousr]_[A-Za-z0-9]{20}", text), path


def test_actions_are_pinned_by_their_full_commit(name: str) -> None:
    used = re.findall(r"uses: *(.*)", (FOLDER / f"{name}.yml").read_text())
    assert used
    for line in used:
        assert re.fullmatch(r"(actions/checkout|sigstore/cosign-installer)@[0-9a-f]{40} # v\d+\.\d+\.\d+", line)


def test_only_a_release_uses_an_action_of_others() -> None:
    used = {name: re.findall(r"uses: *(\S+)@", (FOLDER / f"{name}.yml").read_text()) for name in NAMES}
    assert {name for name, found in used.items() if found != ["actions/checkout"]} == {"release"}
    assert used["release"] == ["actions/checkout", "sigstore/cosign-installer"]


def test_the_checkout_leaves_no_token_behind(name: str) -> None:
    steps = [step for step in _job(name)["steps"] if step.get("uses", "").startswith("actions/checkout@")]
    assert [step["with"] for step in steps] == [{"persist-credentials": False}]


def test_nothing_a_stranger_writes_becomes_part_of_a_command(name: str) -> None:
    assert not any("${{" in command for command in _commands(name))
    assert "pull_request_target" not in _read(name)["on"]


def test_every_job_has_an_end(name: str) -> None:
    assert 0 < _job(name)["timeout-minutes"] <= 360


def test_only_what_talks_to_a_cloud_may_say_who_it_is() -> None:
    assert _read("test")["permissions"] == {"contents": "read"}
    assert "permissions" not in _job("test")
    for name in ("retrain", "release"):
        assert _read(name)["permissions"] == {}
    assert _job("release")["permissions"] == {"contents": "read", "id-token": "write"}


def test_only_the_training_may_open_a_pull_request() -> None:
    allowed = {"contents": "write", "id-token": "write", "pull-requests": "write"}
    assert _job("retrain")["permissions"] == allowed
    steps = _job("retrain")["steps"]
    assert [step["run"] for step in steps if "GH_TOKEN" in step.get("env", {})] == [".github/cloud propose"]


def test_what_talks_to_a_cloud_runs_in_an_environment_of_its_own() -> None:
    assert _job("retrain")["environment"] == "training"
    assert _job("release")["environment"] == "production"


def test_tests_run_on_every_push_and_pull_request() -> None:
    assert set(_read("test")["on"]) == {"push", "pull_request"}
    assert _commands("test")[-1].strip().split("\n")[-1] == ".ci/run"


def test_training_runs_by_hand_on_a_schedule_and_when_an_alert_asks_for_it() -> None:
    starts = _read("retrain")["on"]
    assert set(starts) == {"workflow_dispatch", "schedule", "repository_dispatch"}
    assert starts["repository_dispatch"] == {"types": ["retrain"]}


def test_training_lies_between_pull_and_push_and_ends_with_a_proposal() -> None:
    assert _commands("retrain") == [
        ".github/cloud setup", ".github/cloud login", ".github/cloud pull", ".venv/bin/dvc repro",
        ".github/cloud login", ".github/cloud push", ".github/cloud propose",
    ]  # fmt: skip


def test_nothing_is_promoted_by_a_workflow() -> None:
    for path in [SCRIPT, *FOLDER.iterdir()]:
        for line in path.read_text().splitlines():
            assert "fracture promote" not in line or "--dry-run" in line or "Nothing is promoted" in line, path


def test_a_tag_packages_and_signs_before_it_deploys() -> None:
    assert _read("release")["on"] == {"push": {"tags": ["v*"]}}
    commands = "\n".join(_commands("release"))
    order = ["cloud login", "fracture package", "cloud sign", "cloud deploy"]
    assert [commands.index(each) for each in order] == sorted(commands.index(each) for each in order)


def test_every_variable_asked_for_is_given_and_explained() -> None:
    script = SCRIPT.read_text()
    asked = {name for line in re.findall(r"need ([A-Z_ ]+)", script) for name in line.split()}
    asked |= {"DEPLOY_OPTIONS", "SIGNING_SECRET"}
    release = _job("release")["env"]
    assert asked - {"GITHUB_REF_NAME", "GH_TOKEN"} == set(release)
    assert set(_job("retrain")["env"]) <= set(release)
    explained = (ROOT / "docs/cloud/workflows.md").read_text()
    for name, value in release.items():
        assert value == f"${{{{ vars.{name} }}}}"
        assert re.search(rf"^\|.*`{name}`.*\|", explained, re.MULTILINE)


# What the script does


@dataclass(frozen=True)
class Runner:
    """A folder like a runner's checkout, with programs that write down how they were called."""

    root: Path
    environment: dict[str, str]

    def answer(self, program: str, script: str) -> None:
        """Let a program write down its arguments and then do as `script` says."""
        path = self.root / ("." if program.startswith(".venv") else "programs") / program
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f'#!/bin/sh\necho "{Path(program).name} $*" >>"{self.root}/calls"\n{script}\n')
        path.chmod(path.stat().st_mode | stat.S_IXUSR)

    def run(self, step: str, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self.root / ".github/cloud", step],
            env={**self.environment, **variables},
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip

    def calls(self) -> list[str]:
        path = self.root / "calls"
        return path.read_text().splitlines() if path.exists() else []

    def kept(self) -> dict[str, str]:
        lines = (self.root / "env").read_text().splitlines()
        return dict(line.split("=", 1) for line in lines)


AWS = {
    "CLOUD": "aws",
    "AWS_ROLE": "arn:aws:iam::111122223333:role/release",
    "AWS_REGION": "eu-central-1",
    "TRACKING_URI": "https://mlflow.example.org",
    "TRACKING_SECRET": "tracking",
}
AZURE = {
    "CLOUD": "azure",
    "AZURE_CLIENT_ID": "client",
    "AZURE_TENANT_ID": "tenant",
    "AZURE_SUBSCRIPTION_ID": "subscription",
    "TRACKING_URI": "https://mlflow.example.org",
    "TRACKING_SECRET": "vault/tracking",
}
IMAGE = f"registry.example.org/bone-fracture@sha256:{'1' * 64}"
WORKFLOW = "https://github.com/owner/project/.github/workflows/release.yml@refs/tags/v1.2.3"
ISSUER = "https://token.actions.githubusercontent.com"
SIGNED = [
    f"cosign sign --yes {IMAGE}",
    f"cosign attest --yes --type cyclonedx --predicate build/images/image.cdx.json {IMAGE}",
    f"cosign attest --yes --type slsaprovenance1 --predicate TEMP/provenance.json {IMAGE}",
    f"cosign verify --certificate-identity {WORKFLOW} --certificate-oidc-issuer {ISSUER} {IMAGE}",
    f"cosign verify-attestation --certificate-identity {WORKFLOW} --certificate-oidc-issuer {ISSUER} "
    f"--type cyclonedx {IMAGE}",
    f"cosign verify-attestation --certificate-identity {WORKFLOW} --certificate-oidc-issuer {ISSUER} "
    f"--type slsaprovenance1 {IMAGE}",
]
ACCOUNT = json.dumps({"username": "trainer", "password": "word-of-the-tracker"})


@pytest.fixture
def runner(tmp_path: Path) -> Runner:
    (tmp_path / ".github").mkdir()
    for path in (SCRIPT, ROOT / ".github/provenance.py"):
        shutil.copy(path, tmp_path / ".github")
    shutil.copytree(ROOT / "deploy/kubernetes", tmp_path / "deploy/kubernetes")
    (tmp_path / "temp").mkdir()
    runner = Runner(
        tmp_path,
        {
            "PATH": f"{tmp_path}/programs:{os.environ['PATH']}",
            "GITHUB_ENV": str(tmp_path / "env"),
            "GITHUB_STEP_SUMMARY": str(tmp_path / "summary"),
            "GITHUB_RUN_ID": "42",
            "GITHUB_RUN_ATTEMPT": "1",
            "GITHUB_REF": "refs/tags/v1.2.3",
            "GITHUB_REF_NAME": "v1.2.3",
            "GITHUB_SHA": "1" * 40,
            "GITHUB_SERVER_URL": "https://github.com",
            "GITHUB_REPOSITORY": "owner/project",
            "GITHUB_REPOSITORY_ID": "7",
            "GITHUB_REPOSITORY_OWNER_ID": "8",
            "GITHUB_EVENT_NAME": "push",
            "GITHUB_WORKFLOW_REF": "owner/project/.github/workflows/release.yml@refs/tags/v1.2.3",
            "RUNNER_ENVIRONMENT": "github-hosted",
            "RUNNER_TEMP": str(tmp_path / "temp"),
            "ACTIONS_ID_TOKEN_REQUEST_URL": "https://runner.example.org/token?v=1",
            "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "request",
        },
    )
    runner.answer("curl", """echo '{"value": "signed-identity"}'""")
    given = json.dumps({"AccessKeyId": "ASIA1", "SecretAccessKey": "key-of-an-hour", "SessionToken": "session"})
    runner.answer("aws", f"case $1 in sts) echo '{given}' ;; secretsmanager) echo '{ACCOUNT}' ;; esac")
    runner.answer("az", f"case $1 in keyvault) echo '{ACCOUNT}' ;; aks) echo 0 ;; esac")
    runner.answer("docker", f"case $1 in inspect) echo registry.example.org/bone-fracture@sha256:{'1' * 64} ;; esac")
    runner.answer("make", "")
    runner.answer(".venv/bin/dvc", "")
    runner.answer(".venv/bin/fracture", f"case $1 in deploy) echo image: {IMAGE} ;; esac")
    runner.answer("cosign", 'case "$*" in *provenance.json*) cp "$6" "$RUNNER_TEMP/signed" ;; esac')
    for name in ("fracture", "model_signing"):
        runner.answer(f".venv-sign/bin/{name}", "")
    (tmp_path / "build/images").mkdir(parents=True)
    for name in ("image.cdx.json", "image.ml.cdx.json"):
        (tmp_path / "build/images" / name).write_text("{}")
    for name in ("bundle/old/model.json", "bundle/new/model.json", "bundle/new.sigstore.json", "bento/new/bento.yaml"):
        (tmp_path / "build" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "build" / name).touch()
    os.utime(tmp_path / "build/bundle/old/model.json", (0, 0))
    return runner


def test_aws_gives_credentials_of_an_hour_for_the_signed_identity(runner: Runner) -> None:
    answer = runner.run("login", **AWS)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    asked, assumed, secret = runner.calls()
    assert asked.endswith("https://runner.example.org/token?v=1&audience=sts.amazonaws.com")
    assert assumed.startswith("aws sts assume-role-with-web-identity --role-arn arn:aws:iam::111122223333:role/release")
    assert "signed-identity" not in assumed
    assert secret.startswith("aws secretsmanager get-secret-value --secret-id tracking")
    assert runner.kept() == {
        "AWS_ACCESS_KEY_ID": "ASIA1",
        "AWS_SECRET_ACCESS_KEY": "key-of-an-hour",
        "AWS_SESSION_TOKEN": "session",
        "MLFLOW_TRACKING_URI": "https://mlflow.example.org",
        "MLFLOW_TRACKING_USERNAME": "trainer",
        "MLFLOW_TRACKING_PASSWORD": "word-of-the-tracker",
    }
    assert not list((runner.root / "temp").iterdir())


def test_azure_logs_in_with_the_signed_identity(runner: Runner) -> None:
    answer = runner.run("login", **AZURE)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    asked, login, chosen, secret = runner.calls()
    assert asked.endswith("&audience=api://AzureADTokenExchange")
    assert login == (
        "az login --service-principal --username client --tenant tenant --federated-token signed-identity --output none"
    )
    assert chosen == "az account set --subscription subscription"
    assert secret.startswith("az keyvault secret show --vault-name vault --name tracking ")


@pytest.mark.parametrize("cloud", [AWS, AZURE], ids=["aws", "azure"])
def test_the_log_shows_a_secret_only_to_mask_it(runner: Runner, cloud: dict[str, str]) -> None:
    answer = runner.run("login", **cloud)
    shown = [line for line in answer.stdout.splitlines() if not line.startswith("::add-mask::")]
    masked = [line.removeprefix("::add-mask::") for line in answer.stdout.splitlines()]
    secrets = {"word-of-the-tracker"} | ({"key-of-an-hour", "session"} if cloud is AWS else {"signed-identity"})
    assert secrets <= set(masked)
    assert not any(secret in line for secret in secrets for line in [*shown, *answer.stderr.splitlines()])


@pytest.mark.parametrize("missing", sorted(AWS))
def test_a_missing_variable_is_one_line_and_nothing_is_called(runner: Runner, missing: str) -> None:
    answer = runner.run("login", **{name: value for name, value in AWS.items() if name != missing})
    assert answer.returncode == 1
    assert answer.stdout.splitlines() == [
        f"::error::{missing} is not set; it is a variable of this workflow's environment"
    ]
    assert not runner.calls()


def test_a_refused_login_ends_the_step(runner: Runner) -> None:
    runner.answer("aws", "echo 'not authorized to perform sts:AssumeRoleWithWebIdentity' >&2; exit 254")
    answer = runner.run("login", **AWS)
    assert answer.returncode != 0
    assert "not authorized" in answer.stderr
    assert not (runner.root / "env").exists()


def test_a_secret_of_another_form_is_said_so_without_showing_it(runner: Runner) -> None:
    runner.answer("az", """case $1 in keyvault) echo '{"user": "trainer"}' ;; esac""")
    answer = runner.run("login", **AZURE)
    assert answer.returncode == 1
    assert "::error::MLFLOW_TRACKING_USERNAME: the cloud gave no such value" in answer.stdout
    assert "trainer" not in answer.stdout + answer.stderr


@pytest.mark.parametrize(("cloud", "extra"), [("aws", "s3"), ("azure", "azure")])
def test_the_environment_can_read_the_remote_of_its_cloud(runner: Runner, cloud: str, extra: str) -> None:
    assert runner.run("setup", CLOUD=cloud, DVC_REMOTE="s3://bucket/dvc").returncode == 0
    assert runner.calls() == [f"make setup EXTRA={extra}"]


def test_data_comes_from_the_remote_and_its_place_is_not_written_into_git(runner: Runner) -> None:
    answer = runner.run("pull", CLOUD="azure", DVC_REMOTE="azure://container/dvc", AZURE_STORAGE_ACCOUNT="account")
    assert answer.returncode == 0, answer.stdout
    assert runner.calls() == [
        "dvc remote add --local --force --default team azure://container/dvc",
        "dvc remote modify --local team account_name account",
        "dvc pull --run-cache data.dvc",
    ]


def test_results_go_back_and_the_figures_into_the_summary(runner: Runner) -> None:
    runner.answer(".venv/bin/dvc", "case $1 in metrics) echo figures ;; esac")
    assert runner.run("push").returncode == 0
    assert runner.calls() == ["dvc push --run-cache", "dvc metrics show --md"]
    assert (runner.root / "summary").read_text() == "figures\n"


def test_held_back_images_come_with_the_data(runner: Runner) -> None:
    (runner.root / "held_back.dvc").touch()
    assert runner.run("pull", CLOUD="aws", DVC_REMOTE="s3://bucket/dvc").returncode == 0
    assert runner.calls()[1:] == ["dvc pull --run-cache data.dvc", "dvc pull held_back.dvc"]


def _git(folder: Path, *words: str) -> str:
    done = subprocess.run(["git", *words], cwd=folder, env=GIT, capture_output=True, text=True, check=True)
    return done.stdout


GIT = {
    "PATH": os.environ["PATH"], "HOME": "/nonexistent", "GIT_CONFIG_GLOBAL": os.devnull, "GIT_AUTHOR_NAME": "t",
    "GIT_AUTHOR_EMAIL": "t@example.org", "GIT_COMMITTER_NAME": "t", "GIT_COMMITTER_EMAIL": "t@example.org",
}  # fmt: skip
PROPOSING = {
    "GH_TOKEN": "token-of-the-run", "GITHUB_EVENT_NAME": "schedule", "GITHUB_REF_NAME": "main",
    "GITHUB_SERVER_URL": "https://github.example.org", "GITHUB_REPOSITORY": "us/project",
    "GIT_CONFIG_GLOBAL": os.devnull,
}  # fmt: skip


@pytest.fixture
def trained(runner: Runner) -> Runner:
    """A checkout of a real repository with a remote beside it, in which a training changed the lock and a report."""
    root = runner.root
    (root / "reports/plots").mkdir(parents=True)
    for name in ("dvc.lock", "reports/metrics.json"):
        (root / name).write_text("before")
    (root / ".gitignore").write_text("*\n!dvc.lock\n!reports/\n!reports/metrics.json\n")
    _git(root, "init", "-q", "-b", "main")
    _git(root, "add", "dvc.lock", "reports/metrics.json")
    _git(root, "commit", "-qm", "before")
    _git(root, "init", "-q", "--bare", "remote")
    _git(root, "remote", "add", "origin", str(root / "remote"))
    for name in ("dvc.lock", "reports/metrics.json", "reports/plots/roc.png", "reports/predictions.csv"):
        (root / name).write_text("after")
    runner.answer(".venv/bin/dvc", "case $1 in metrics) echo '| metric | change |' ;; esac")
    runner.answer(".venv/bin/fracture", "echo '# version 2 against the champion'")
    runner.answer("gh", f"case $1 in pr) cat >{root}/body ;; esac")
    return runner


def test_a_training_that_changed_something_becomes_a_pull_request(trained: Runner) -> None:
    answer = trained.run("propose", **PROPOSING)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    remote = trained.root / "remote"
    changed = _git(remote, "show", "--name-only", "--format=%s", "retrain/42").split("\n")
    assert changed[0] == "Train anew, run 42"
    assert set(filter(None, changed[1:])) == {"dvc.lock", "reports/metrics.json"}
    assert "gh pr create --title Trained anew, run 42 --body-file - --base main --head retrain/42" in trained.calls()
    body = (trained.root / "body").read_text()
    assert "# version 2 against the champion" in body
    assert "| metric | change |" in body
    assert "![roc](https://github.example.org/us/project/raw/retrain-plots/42/roc.png)" in body


def test_its_plots_lie_in_a_branch_that_nothing_is_merged_from(trained: Runner) -> None:
    trained.run("propose", **PROPOSING)
    remote = trained.root / "remote"
    assert _git(remote, "ls-tree", "--name-only", "retrain-plots/42").split() == ["roc.png"]
    assert _git(remote, "rev-list", "--count", "retrain-plots/42").strip() == "1"


def test_the_proposal_names_the_token_to_no_command_and_promotes_nothing(trained: Runner) -> None:
    answer = trained.run("propose", **PROPOSING)
    said = "\n".join([*trained.calls(), answer.stdout, answer.stderr])
    assert PROPOSING["GH_TOKEN"] not in said
    assert [call for call in trained.calls() if call.startswith("fracture")] == ["fracture promote --dry-run"]


def test_a_training_that_changed_nothing_is_no_pull_request(trained: Runner) -> None:
    for name in ("dvc.lock", "reports/metrics.json"):
        (trained.root / name).write_text("before")
    answer = trained.run("propose", **PROPOSING)
    assert answer.returncode == 0
    assert "Nothing changed" in answer.stdout
    assert not trained.calls()


def test_without_a_challenger_the_pull_request_says_why(trained: Runner) -> None:
    trained.answer(".venv/bin/fracture", "echo 'error: promote: bone-fracture has no challenger' >&2; exit 1")
    assert trained.run("propose", **PROPOSING).returncode == 0
    assert "has no challenger" in (trained.root / "body").read_text()


def test_aws_and_azure_are_left_to_the_command_with_the_sites_options(runner: Runner) -> None:
    assert runner.run("deploy", **{**EKS, "TARGET": "aws"}, DEPLOY_OPTIONS="--certificate arn").returncode == 0
    assert runner.run("deploy", **{**AKS, "TARGET": "azure"}).returncode == 0
    assert [call for call in runner.calls() if call.startswith("fracture")] == [
        "fracture deploy aws --region r --certificate arn",
        "fracture deploy azure --resource-group g",
    ]


def _shown(runner: Runner, program: str) -> list[str]:
    return [
        call.replace(str(runner.root / "temp"), "TEMP") for call in runner.calls() if call.startswith(f"{program} ")
    ]


@pytest.mark.parametrize("target", ["aws", "azure", "eks", "aks"])
def test_the_image_is_signed_by_its_digest_and_checked_by_identity_and_issuer(runner: Runner, target: str) -> None:
    runner.answer("kubectl", "")
    where = AKS if target in {"azure", "aks"} else EKS
    answer = runner.run("deploy", **{**where, "TARGET": target})
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert _shown(runner, "cosign") == SIGNED


def test_an_image_is_signed_before_a_cluster_is_told_of_it(runner: Runner) -> None:
    runner.answer("kubectl", "")
    runner.answer("cosign", 'case "$1" in verify-attestation) exit 1 ;; esac')
    assert runner.run("deploy", **EKS).returncode != 0
    assert not _shown(runner, "kubectl")


def test_the_provenance_names_workflow_source_commit_and_run(runner: Runner) -> None:
    runner.answer("kubectl", "")
    assert runner.run("deploy", **EKS).returncode == 0
    found = json.loads((runner.root / "temp/signed").read_text())
    assert found["runDetails"] == {
        "builder": {"id": WORKFLOW},
        "metadata": {"invocationId": "https://github.com/owner/project/actions/runs/42/attempts/1"},
    }
    definition = found["buildDefinition"]
    assert definition["externalParameters"]["workflow"] == {
        "ref": "refs/tags/v1.2.3",
        "repository": "https://github.com/owner/project",
        "path": ".github/workflows/release.yml",
    }
    (source,) = definition["resolvedDependencies"]
    assert source == {
        "uri": "git+https://github.com/owner/project@refs/tags/v1.2.3", "digest": {"gitCommit": "1" * 40}
    }  # fmt: skip


KEY = {"CLOUD": "aws", "SIGNING_SECRET": "vault/key"}


def test_the_newest_bundle_is_signed_as_the_workflow_and_checked_by_identity_and_issuer(runner: Runner) -> None:
    answer = runner.run("sign", CLOUD="aws")
    assert answer.returncode == 0, answer.stdout + answer.stderr
    signature = "--signature build/bundle/new.sigstore.json build/bundle/new"
    assert runner.calls() == [
        "make sign-setup",
        f"model_signing sign sigstore --use_ambient_credentials {signature}",
        f"model_signing verify sigstore --identity {WORKFLOW} --identity_provider {ISSUER} {signature}",
    ]
    assert runner.kept() == {"SIGNED_BUNDLE": "build/bundle/new"}


@pytest.mark.parametrize("cloud", ["aws", "azure"])
def test_the_sites_key_signs_bundle_and_bento_and_is_gone_afterwards(runner: Runner, cloud: str) -> None:
    for program in ("aws", "az"):
        runner.answer(program, "echo the-key")
    runner.answer(".venv-sign/bin/fracture", 'stat -c %a "$4" >>"$RUNNER_TEMP/modes"; cat "$4" >>"$RUNNER_TEMP/keys"')
    answer = runner.run("sign", **{**KEY, "CLOUD": cloud})
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert _shown(runner, "fracture") == [
        "fracture sign build/bundle/new --key TEMP/signing-key",
        "fracture sign build/bento/new --key TEMP/signing-key",
    ]
    assert (runner.root / "temp/keys").read_text() == "the-key\n" * 2
    assert (runner.root / "temp/modes").read_text() == "600\n" * 2
    assert not (runner.root / "temp/signing-key").exists()
    assert "the-key" not in answer.stdout + answer.stderr


def test_the_key_is_gone_when_signing_fails(runner: Runner) -> None:
    runner.answer("aws", "echo the-key")
    runner.answer(".venv-sign/bin/fracture", "exit 1")
    assert runner.run("sign", **KEY).returncode != 0
    assert not (runner.root / "temp/signing-key").exists()


def test_what_was_signed_is_deployed_and_not_packaged_anew(runner: Runner) -> None:
    assert runner.run("deploy", **{**EKS, "TARGET": "aws"}, SIGNED_BUNDLE="build/bundle/new").returncode == 0
    assert "fracture deploy aws --region r --model build/bundle/new" in runner.calls()


EKS = {"CLOUD": "aws", "TARGET": "eks", "CLUSTER": "c", "AWS_REGION": "r", "REGISTRY": "registry.example.org"}
AKS = {"CLOUD": "azure", "TARGET": "aks", "CLUSTER": "c", "AZURE_RESOURCE_GROUP": "g", "REGISTRY": "example.azurecr.io"}


def test_eks_gets_the_pushed_image_by_its_digest_and_is_waited_for(runner: Runner) -> None:
    runner.answer("kubectl", 'case $1 in kustomize) grep ^IMAGE= "$2/site.env" ;; esac')
    answer = runner.run("deploy", **EKS)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    calls = [call for call in runner.calls() if call.startswith(("fracture", "docker push", "kubectl"))]
    assert calls == [
        "fracture image --tag registry.example.org/bone-fracture:v1.2.3",
        "docker push registry.example.org/bone-fracture:v1.2.3",
        "kubectl kustomize deploy/kubernetes/eks",
        f"kubectl apply --filename {runner.root}/temp/rendered.yaml",
        "kubectl --namespace bone-fracture rollout status deployment/bone-fracture --timeout 10m",
    ]
    rendered = (runner.root / "temp/rendered.yaml").read_text()
    assert rendered == f"IMAGE=registry.example.org/bone-fracture@sha256:{'1' * 64}\n"


def test_eks_goes_back_when_the_new_pods_do_not_get_ready(runner: Runner) -> None:
    runner.answer("kubectl", 'case "$*" in *status*) exit 1 ;; esac')
    answer = runner.run("deploy", **EKS)
    assert answer.returncode == 1
    assert runner.calls()[-1] == "kubectl --namespace bone-fracture rollout undo deployment/bone-fracture"
    assert answer.stdout.splitlines()[-1].startswith("::error::the new pods did not get ready")


def test_aks_is_told_through_azure_and_its_answer_is_heard(runner: Runner) -> None:
    runner.answer("kubectl", "")
    assert runner.run("deploy", **AKS).returncode == 0
    told = runner.calls()[-1]
    assert told.startswith("az aks command invoke --resource-group g --name c --file rendered.yaml")
    assert "rollout undo" in told
    runner.answer("az", "case $1 in aks) echo 1 ;; esac")
    assert runner.run("deploy", **AKS).returncode == 1


def test_a_target_in_another_cloud_than_the_login_is_refused(runner: Runner) -> None:
    answer = runner.run("deploy", **{**EKS, "CLOUD": "azure"})
    assert answer.returncode == 1
    assert answer.stdout == "::error::TARGET=eks: is not reached with CLOUD=azure, whose login this run has\n"
    assert runner.calls() == []


@pytest.mark.parametrize(
    ("step", "variables"), [("deploy", {"CLOUD": "aws", "TARGET": "moon"}), ("login", {**AWS, "CLOUD": "moon"})]
)
def test_an_unknown_place_is_one_line(runner: Runner, step: str, variables: dict[str, str]) -> None:
    answer = runner.run(step, **variables)
    assert answer.returncode == 1
    assert len(answer.stdout.splitlines()) == 1
    assert "moon" in answer.stdout
