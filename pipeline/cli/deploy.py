"""`fracture deploy`: a registered model, served in a cloud."""

import os
import re
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from pipeline.cli import deploy_canary
from pipeline.cli.package import champion_of, require_model
from pipeline.cli.releasing import hands
from pipeline.cloud import deployment, image
from pipeline.cloud.aws.client import make_aws_client
from pipeline.cloud.aws.preflight import AwsRequest
from pipeline.cloud.aws.service import Aws
from pipeline.cloud.azure import KEYS, Azure, AzureRequest, make_azure_client
from pipeline.cloud.deployment import Cloud
from pipeline.errors import InputError
from pipeline.files import project_root

app = typer.Typer(
    help="Serve a registered model in a cloud; the cloud's own command line client does the work.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.add_typer(deploy_canary.app, name="canary")

_INTERRUPTED = 130


@app.command()
def aws(
    region: Annotated[str, typer.Option("--region", help="Region of AWS, for example eu-central-1.")],
    *,
    model: Annotated[
        str,
        typer.Option(
            "--model",
            help="models:/NAME@ALIAS, models:/NAME/VERSION, or the folder of a bundle; by default the champion.",
        ),
    ] = "",
    name: Annotated[str, typer.Option("--name", help="Of the stack and of the image's repository.")] = "bone-fracture",
    certificate: Annotated[
        str, typer.Option("--certificate", metavar="ARN", help="Certificate of that region's Certificate Manager.")
    ] = "",
    domain: Annotated[
        str, typer.Option("--domain", help="The service's name, where the certificate is for several.")
    ] = "",
    allow_plain_http: Annotated[
        bool, typer.Option("--allow-plain-http", help="Serve without encryption when there is no certificate.")
    ] = False,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="A parameter of deploy/aws/service.yaml; may be repeated."),
    ] = None,
    base: Annotated[
        str, typer.Option("--base", metavar="IMAGE", help="Base of the image; a newer one makes a new image.")
    ] = image.BASE,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show every command and change nothing.")] = False,
    delete: Annotated[bool, typer.Option("--delete", help="Take the service down, images and all.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Serve the champion on Fargate; run it again to update the service."""
    root = project_root()
    request = AwsRequest(
        region,
        root / "deploy/aws",
        name,
        certificate,
        domain,
        allow_plain_http,
        _parameters(settings or [], "deploy/aws/service.yaml"),
    )
    _run(Aws(request, make_aws_client(region, dry_run, typer.echo)), root, model, base, delete=delete, yes=yes)


@app.command()
def azure(
    group: Annotated[str, typer.Option("--resource-group", help="An existing resource group of your own for it.")],
    *,
    model: Annotated[
        str,
        typer.Option(
            "--model",
            help="models:/NAME@ALIAS, models:/NAME/VERSION, or the folder of a bundle; by default the champion.",
        ),
    ] = "",
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="A parameter of deploy/azure/main.bicep; may be repeated."),
    ] = None,
    base: Annotated[
        str, typer.Option("--base", metavar="IMAGE", help="Base of the image; a newer one makes a new image.")
    ] = image.BASE,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show every command and change nothing.")] = False,
    delete: Annotated[bool, typer.Option("--delete", help="Delete the resource group with everything in it.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Serve the champion on Container Apps; run it again to update the service. Keys come from API_KEYS."""
    root = project_root()
    request = AzureRequest(
        group,
        root / "deploy/azure",
        _parameters(settings or [], "deploy/azure/main.bicep"),
        os.environ.get(KEYS, ""),
    )
    _run(Azure(request, make_azure_client(dry_run, typer.echo)), root, model, base, delete=delete, yes=yes)


def _run(cloud: Cloud[Any], root: Path, model: str, base: str, *, delete: bool, yes: bool) -> None:
    """Deploy or delete; ask first about what cannot be undone."""
    client = cloud.client
    agreed = yes or client.dry
    try:
        if delete:
            found = cloud.delete(lambda question: _ask(question, agreed))
            done = found and not client.dry
            typer.echo("deleted" if done else "nothing was changed" if found else "there was nothing")
            return
        client.require()
        champion = champion_of(root)
        model = model or champion
        require_model(model)
        if model != champion:
            _ask(f"--model {model} is not the champion. Deploy it?", agreed)
        if client.dry:
            typer.echo(f"$ fracture package --model {model}    # not run")
        deployment.deploy(cloud, hands(root, model, base, dry=client.dry))
    except KeyboardInterrupt:
        print(f"interrupted; {cloud.left_running()}", file=sys.stderr)
        raise typer.Exit(_INTERRUPTED) from None


def _ask(question: str, yes: bool) -> None:
    """Return if the person agrees; InputError if they do not, or if there is no terminal to ask on."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise InputError(f"{question} There is nobody to ask; add --yes")
    if not typer.confirm(question):
        raise InputError("nothing was changed")


def _parameters(settings: list[str], template: str) -> dict[str, str]:
    found = {}
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not (equals and re.fullmatch(r"[A-Za-z0-9]+", key)):
            raise InputError(f"--set {setting}: write KEY=VALUE, with a parameter of {template}")
        found[key] = value
    return found
