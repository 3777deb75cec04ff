"""`fracture deploy canary`: the champion answers a share of a deployed service's requests, and is watched."""

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli.package import champion_of
from pipeline.cli.releasing import hands
from pipeline.cloud import image
from pipeline.cloud.aws.client import make_aws_client
from pipeline.cloud.aws.preflight import AwsRequest
from pipeline.cloud.azure import KEYS, make_azure_client
from pipeline.cloud.canary import steps
from pipeline.cloud.canary.alerts import Prometheus
from pipeline.cloud.canary.aws import AwsCanary
from pipeline.cloud.canary.azure import AzureCanary
from pipeline.cloud.canary.gate import require_promoted
from pipeline.cloud.canary.kubernetes import KubernetesCanary, make_kubectl
from pipeline.cloud.canary.steps import Canary
from pipeline.cloud.canary.watch import Patience, watch
from pipeline.errors import InputError
from pipeline.files import project_root
from pipeline.registry import champion
from pipeline.registry.mlflow import connect

app = typer.Typer(
    help="Let the champion answer a share of the requests of a service that serves another version.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

_WITHDRAWN = 3

_NAME = "bone-fracture"

Region = Annotated[str, typer.Option("--region", help="AWS: region of the service.")]
Group = Annotated[str, typer.Option("--resource-group", help="Azure: resource group of the service.")]
Context = Annotated[str, typer.Option("--context", help="Kubernetes: context of the kubeconfig.")]
Name = Annotated[str, typer.Option("--name", help="AWS: name of the service's stack. Azure: name of its app.")]


@dataclass(frozen=True)
class _Place:
    """Where the service runs, in the words of the options."""

    region: str
    group: str
    context: str
    name: str
    domain: str = ""
    image: str = ""


@app.command()
def start(
    share: Annotated[int, typer.Option("--share", help="Percent of the requests, 1 to 50.")],
    *,
    region: Region = "",
    group: Group = "",
    context: Context = "",
    name: Name = _NAME,
    domain: Annotated[
        str, typer.Option("--domain", help="AWS: the service's name, where the certificate is for several.")
    ] = "",
    pushed: Annotated[
        str,
        typer.Option("--image", metavar="IMAGE", help="Kubernetes: the champion's image, by digest, already pushed."),
    ] = "",
    base: Annotated[str, typer.Option("--base", metavar="IMAGE", help="AWS, Azure: base of the image.")] = image.BASE,
) -> None:
    """Try the champion beside the service and give it a share of the requests; run again to change the share.

    API_KEYS holds a key to try it with on Azure, as for `fracture deploy azure`.
    """
    steps.check_share(share)
    root = project_root()
    canary = _chosen(root, _Place(region, group, context, name, domain, pushed))
    model = champion_of(root)
    made = hands(root, model, base, builds=not context)
    steps.start(canary, made, _promoted(model), share)


@app.command("watch")
def watch_command(
    *,
    region: Region = "",
    group: Group = "",
    context: Context = "",
    name: Name = _NAME,
    prometheus: Annotated[
        str, typer.Option("--prometheus", metavar="URL", help="Where the alert rules of deploy/monitoring are loaded.")
    ] = "",
    token: Annotated[
        Path | None, typer.Option("--token-file", metavar="FILE", help="One line: the bearer token for that address.")
    ] = None,
    alerts: Annotated[
        str, typer.Option("--alerts", metavar="NAMES", help="Alerts that count, by commas; by default all of ours.")
    ] = "",
    seconds: Annotated[float, typer.Option("--every", metavar="SECONDS", min=1.0, help="Time between questions.")] = 30,
    hours: Annotated[float, typer.Option("--hours", min=0.0, help="How long to watch.")] = 24,
    failures: Annotated[
        int, typer.Option("--failures", min=1, help="Questions in a row without an answer that are borne.")
    ] = 3,
) -> None:
    """Give every request back to the service when an alert fires, or when nobody says how the canary does.

    Exit code 3 when that happened.
    """
    canary = _chosen(project_root(), _Place(region, group, context, name))
    names = [word for word in (part.strip() for part in alerts.split(",")) if word]
    asked = Prometheus(prometheus, _token(token), names) if prometheus else None
    if asked is None and not canary.has_alarms:
        raise InputError("--prometheus URL: needed; this cloud has no alarms of its own for a canary")
    verdict = watch(canary, asked, Patience(seconds, hours, failures))
    if verdict.good:
        typer.echo(verdict.words)
        return
    print(verdict.words, file=sys.stderr)
    raise typer.Exit(_WITHDRAWN)


@app.command()
def promote(*, region: Region = "", group: Group = "", context: Context = "", name: Name = _NAME) -> None:
    """Let the canary answer every request; it has to be the champion still."""
    root = project_root()
    steps.promote(_chosen(root, _Place(region, group, context, name)), _promoted(champion_of(root)))


@app.command()
def end(*, region: Region = "", group: Group = "", context: Context = "", name: Name = _NAME) -> None:
    """Give every request back to the service, and remove the canary."""
    ended = steps.end(_chosen(project_root(), _Place(region, group, context, name)))
    typer.echo("ended" if ended else "there was no canary")


def _promoted(model: str) -> str:
    return require_promoted(champion.find_address(connect(), model))


def _chosen(root: Path, place: _Place) -> Canary:
    given = [word for word in (place.region, place.group, place.context) if word]
    if len(given) != 1:
        raise InputError("say where the service runs: --region (AWS), --resource-group (Azure), --context (Kubernetes)")
    if place.context:
        return KubernetesCanary(make_kubectl(place.context), place.image)
    if place.group:
        key = os.environ.get(KEYS, "").split(",")[0].strip()
        return AzureCanary(place.group, make_azure_client(), place.name, key)
    request = AwsRequest(place.region, root / "deploy/aws", place.name, domain=place.domain)
    return AwsCanary(request, make_aws_client(place.region))


def _token(path: Path | None) -> str:
    if path is None:
        return ""
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        raise InputError(f"--token-file {path}: cannot be read") from None
