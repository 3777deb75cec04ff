"""`fracture remote`: where a team keeps its data (a DVC remote)."""

import importlib.util
import re
import sys
from typing import Annotated
from urllib.parse import SplitResult, urlsplit

import typer

from pipeline import programs
from pipeline.errors import InputError
from pipeline.files import project_root

app = typer.Typer(
    help="Where a team keeps data and models: a DVC remote.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.callback()(lambda: None)  # without it Typer would leave out the name of a single command

_PLUGINS = {"s3": "dvc_s3", "azure": "dvc_azure"}
_PLACES = {
    "s3": re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]"),  # rules of S3 for buckets
    "azure": re.compile(r"[a-z0-9](-?[a-z0-9]){2,62}"),  # rules of Blob Storage for containers
}
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
_ACCOUNT = re.compile(r"[a-z0-9]{3,24}")


@app.command()
def add(
    url: Annotated[str, typer.Argument(help="s3://BUCKET/PATH or azure://CONTAINER/PATH.")],
    name: Annotated[str, typer.Option("--name", help="Of the remote.")] = "team",
    account: Annotated[str, typer.Option("--account", help="Storage account of an azure:// remote.")] = "",
    endpoint: Annotated[str, typer.Option("--endpoint", metavar="URL", help="Of another S3 than Amazon's.")] = "",
) -> None:
    """Make a bucket or container the place `dvc push` and `dvc pull` use; no secret is written."""
    root = project_root()
    kind = _checked(url, name, account, endpoint).scheme
    settings = {"account_name": account, "endpointurl": endpoint}
    _dvc("remote", "add", "--force", "--default", name, url)
    for key, value in settings.items():
        if value:
            _dvc("remote", "modify", name, key, value)
    print(f"{root / '.dvc/config'}: {name} is {url}, and the default; commit it")
    if importlib.util.find_spec(_PLUGINS[kind]) is None:
        print(f"then install what DVC needs for {kind}: make setup EXTRA={kind}")
    login = {"s3": "aws configure, or AWS_PROFILE", "azure": "az login"}[kind]
    print(f"the login stays yours ({login}); then: dvc push, and on the other machine dvc pull")


def _checked(url: str, name: str, account: str, endpoint: str) -> SplitResult:
    """The parts of an address that can be written down; InputError."""
    try:
        parts = urlsplit(url)
    except ValueError:
        parts = urlsplit("")
    if parts.scheme not in _PLACES:
        raise InputError(f"{url}: is no address of a remote; write s3://BUCKET/PATH or azure://CONTAINER/PATH")
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise InputError(
            "the address holds a login or a signature, which would be committed; give bucket and path alone"
        )
    if not _PLACES[parts.scheme].fullmatch(parts.netloc):
        raise InputError(f"{url}: {parts.netloc!r} cannot be the name of a bucket or container")
    if not _NAME.fullmatch(name):
        raise InputError(f"--name {name}: use letters, digits, _ and -")
    if parts.scheme == "azure" and not _ACCOUNT.fullmatch(account):
        raise InputError("an azure:// remote needs the name of its storage account: --account NAME")
    if parts.scheme != "azure" and account:
        raise InputError("--account belongs to an azure:// remote")
    if endpoint and (parts.scheme != "s3" or urlsplit(endpoint).scheme not in {"http", "https"} or "@" in endpoint):
        raise InputError(f"--endpoint {endpoint}: give the https:// address of an s3:// remote, without a login")
    return parts


def _dvc(*words: str) -> None:
    done = programs.run([sys.executable, "-m", "dvc", *words], folder=project_root(), seconds=None)
    if done.returncode:
        raise InputError(f"dvc {' '.join(words[:2])}: {programs.last_line(done.stderr or done.stdout)}")
