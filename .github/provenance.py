"""Print how a workflow built its image, as the predicate of SLSA provenance v1 (https://slsa.dev/spec/v1.0/provenance).

The build type is that of GitHub's workflows (https://actions.github.io/buildtypes/workflow/v1). All is taken from what
the runner says of itself; `cosign attest` signs it with the same run's identity.
"""

import json
import os


def predicate(run: dict[str, str]) -> dict[str, object]:
    """The predicate for a run with these variables; KeyError for one that is missing."""
    repository = f"{run['GITHUB_SERVER_URL']}/{run['GITHUB_REPOSITORY']}"
    attempt = f"{run['GITHUB_RUN_ID']}/attempts/{run['GITHUB_RUN_ATTEMPT']}"
    path = run["GITHUB_WORKFLOW_REF"].removeprefix(f"{run['GITHUB_REPOSITORY']}/").partition("@")[0]
    return {
        "buildDefinition": {
            "buildType": "https://actions.github.io/buildtypes/workflow/v1",
            "externalParameters": {
                "workflow": {"ref": run["GITHUB_REF"], "repository": repository, "path": path},
            },
            "internalParameters": {
                "github": {
                    "event_name": run["GITHUB_EVENT_NAME"],
                    "repository_id": run["GITHUB_REPOSITORY_ID"],
                    "repository_owner_id": run["GITHUB_REPOSITORY_OWNER_ID"],
                    "runner_environment": run["RUNNER_ENVIRONMENT"],
                },
            },
            "resolvedDependencies": [
                {"uri": f"git+{repository}@{run['GITHUB_REF']}", "digest": {"gitCommit": run["GITHUB_SHA"]}},
            ],
        },
        "runDetails": {
            "builder": {"id": f"{run['GITHUB_SERVER_URL']}/{run['GITHUB_WORKFLOW_REF']}"},
            "metadata": {
                "invocationId": f"{repository}/actions/runs/{attempt}",
            },
        },
    }


if __name__ == "__main__":
    print(json.dumps(predicate(dict(os.environ)), indent=2))
