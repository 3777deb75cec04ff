"""`fracture serve`: the prediction service of this checkout, run locally."""

import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from ipaddress import ip_address
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.artifacts import Artifacts
from pipeline.cli.bundles import BundleOption, open_bundle
from pipeline.cli.ports import check_port
from pipeline.errors import InputError
from pipeline.files import project_root
from pipeline.late import late
from serving import signature
from serving.errors import BundleError
from serving.http.keys import ROLES, Keyring
from serving.http.settings import Settings
from serving.store.errors import StoreError

if TYPE_CHECKING:
    from serving import bundle as bundles
    from serving.http import keeping
else:
    bundles = late("serving.bundle")
    keeping = late("serving.http.keeping")

_SERVICE = "service:FractureService"
_POLL_SECONDS = 0.1
_GRACE_SECONDS = 20.0
_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def serve(
    port: Annotated[int, typer.Option("--port", min=1, max=65535, help="Port to listen on.")] = 3000,
    workers: Annotated[
        int | None,
        typer.Option("--workers", min=1, envvar="FRACTURE_WORKERS", help="Worker processes; by default one per core."),
    ] = None,
    host: Annotated[
        str, typer.Option("--host", help="Address to listen on; 0.0.0.0 lets other machines in.")
    ] = "127.0.0.1",
    bundle: BundleOption = None,
) -> None:
    """Answer radiographs over HTTP, with a web page, until Ctrl-C."""
    root = project_root()
    settings = Settings.from_environment()
    check_port(host, port)
    if signature.trusted_keys():
        open_bundle(bundle)  # the workers would refuse it too, each in its log
    _check_store(settings)
    _check_shadow(settings)
    if host not in _LOOPBACK and not settings.api_keys:
        print(f"warning: {host} is open to other machines; set API_KEYS to ask them for a key", file=sys.stderr)
    count = workers or len(os.sched_getaffinity(0))
    address = f"http://{_shown(host)}:{port}"
    command = [sys.executable, "-m", "bentoml", "serve", _SERVICE, "--host", host, "--port", str(port)]
    with _told_to_end() as ending, running(command, root, environment(bundle, root, count, port)) as process:
        opened = open_bundle(bundle)  # every byte is verified while the service starts, which takes longer
        manifest = opened.manifest
        if not wait_until_ready(process, address, ending):
            return
        print(f"{manifest.name} version {manifest.version} ({opened.folder}), {count} workers")
        print(f"ready: {address} (stop with Ctrl-C)", flush=True)
        while process.poll() is None and not ending.is_set():
            time.sleep(_POLL_SECONDS)
        if not ending.is_set():
            raise InputError(f"the service ended with exit code {process.returncode}; its last lines above say why")


def _check_store(settings: Settings) -> None:
    """Tell now what the workers would tell in their log; SettingsError for keys or an address that cannot be used."""
    for name in Keyring(settings.api_keys).without_role:
        print(
            f"warning: API_KEYS: {name} is a plain key, colons and all; if it is name:role:site:KEY, its role is "
            f"neither {' nor '.join(ROLES)}",
            file=sys.stderr,
        )
    if not settings.store_url:
        if settings.feedback_key:
            print("warning: no feedback is taken: FRACTURE_FEEDBACK_KEY needs FRACTURE_STORE_URL", file=sys.stderr)
        return
    database = keeping.open_database(settings.store_url)
    try:
        database.check()
    except StoreError as error:
        print(f"warning: answers cannot be kept: {error}", file=sys.stderr)
    finally:
        database.close()


def _check_shadow(settings: Settings) -> None:
    """Tell now that the model in the shadow cannot answer; the service does without it."""
    if settings.shadow_bundle:
        try:
            bundles.read(settings.shadow_bundle)
        except BundleError as error:
            print(f"warning: FRACTURE_SHADOW_BUNDLE: no model answers in the shadow: {error}", file=sys.stderr)


def environment(bundle: Path | None, root: Path, workers: int, port: int) -> dict[str, str]:
    """The environment of the service's processes; without `bundle` they serve the default one of `root`."""
    # BentoML clears the folder of its metrics when it starts: two services need two.
    home = Artifacts(root).bentoml_homes / str(port)
    home.mkdir(parents=True, exist_ok=True)
    return {
        "OPENBLAS_NUM_THREADS": "1",  # the workers share the cores
        **os.environ,
        **({"FRACTURE_BUNDLE": str(bundle.resolve())} if bundle else {}),
        # The service runs in another folder than the one in which a relative path was written.
        **{name: str(folder) for name, folder in _folders(Settings.from_environment()) if folder},
        **(
            {signature.VARIABLE: signature.absolute_paths(keys)} if (keys := os.environ.get(signature.VARIABLE)) else {}
        ),
        "FRACTURE_WORKERS": str(workers),
        "BENTOML_DO_NOT_TRACK": "True",
        "DO_NOT_TRACK": "1",
        "BENTOML_HOME": str(home),
    }


def _folders(settings: Settings) -> tuple[tuple[str, Path | None], ...]:
    return (
        ("FRACTURE_OFFLINE", settings.offline),
        ("FRACTURE_KEEP_IMAGES", settings.keep_images),
        ("FRACTURE_SHADOW_BUNDLE", settings.shadow_bundle),
    )


@contextmanager
def running(command: list[str], root: Path, environ: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """Run a command while the block runs; none of its processes outlives the block.

    It gets its own session: Ctrl-C reaches only this process, which ends the others in order.
    """
    process = subprocess.Popen(command, cwd=root, env=environ, start_new_session=True)  # noqa: S603  fixed words
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(_GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            print("the service did not end in time; killing it", file=sys.stderr)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # whatever is left, be the first one still there or not
        process.wait()


@contextmanager
def _told_to_end() -> Iterator[Event]:
    """An event that Ctrl-C, SIGTERM or a closed terminal sets; what `nohup` ignores stays ignored.

    A flag, because an exception could strike between the start of a process and the block that ends it.
    """
    ending = Event()
    signals = [number for number in _SIGNALS if signal.getsignal(number) != signal.SIG_IGN]
    before = {number: signal.signal(number, lambda *_: ending.set()) for number in signals}
    try:
        yield ending
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def wait_until_ready(process: subprocess.Popen[bytes], address: str, ending: Event) -> bool:
    """True when the service answers, False when it is to end before; InputError when it has ended by itself."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # a proxy knows nothing of this machine
    while process.poll() is None:
        if ending.is_set():
            return False
        try:
            with opener.open(f"{address}/readyz", timeout=2):
                return True
        except OSError:  # nobody there yet, or somebody who is not ready
            time.sleep(_POLL_SECONDS)
    raise InputError(f"the service ended while starting (exit code {process.returncode}); its lines above say why")


def _shown(host: str) -> str:
    """The host to write in an address that this machine can open."""
    try:
        address = ip_address(host)
    except ValueError:  # a name, or nothing
        return host or "127.0.0.1"
    if address.is_unspecified:
        address = ip_address("127.0.0.1" if address.version == 4 else "::1")
    return str(address) if address.version == 4 else f"[{address}]"
