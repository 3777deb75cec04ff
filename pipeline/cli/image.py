"""`fracture image`: a bento to a container image."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.artifacts import Artifacts
from pipeline.errors import InputError
from pipeline.files import project_root
from pipeline.late import late

if TYPE_CHECKING:
    from pipeline.cloud import image as images
    from pipeline.cloud import push
else:
    images = late("pipeline.cloud.image")
    push = late("pipeline.cloud.push")


def image(
    bento: Annotated[
        Path | None, typer.Argument(metavar="[BENTO]", help="Folder of the bento; by default the last one packaged.")
    ] = None,
    tag: Annotated[str, typer.Option("--tag", help="Name of the image; by default that of the bento.")] = "",
    base: Annotated[
        str,
        typer.Option("--base", metavar="IMAGE", help="Image with Python 3.11, or a tar file of its root file system."),
    ] = "",
    *,
    store: Annotated[
        bool, typer.Option("--store", help="With what a service needs that keeps its answers (FRACTURE_STORE_URL).")
    ] = False,
    verify: Annotated[
        bool,
        typer.Option("--verify", help="With what a service needs that checks its bundle (FRACTURE_TRUSTED_KEYS)."),
    ] = False,
    ray: Annotated[
        bool, typer.Option("--ray", help="Of a node of a Ray cluster that scores an archive, instead of a service.")
    ] = False,
    train: Annotated[
        bool, typer.Option("--train", help="With --ray: of a node that prepares, searches and trains as well.")
    ] = False,
) -> None:
    """Build the container image of a bento with docker, podman or buildah, whichever works here."""
    chosen = bento or newest_bento(project_root())
    labels = images.labels_of(chosen)
    version = labels["org.opencontainers.image.version"].replace("+", "-")
    kind = f"{'-ray' if ray else ''}{'-train' if train else ''}"
    name = tag or f"{labels['org.opencontainers.image.title']}{kind}:{version}"
    tool = push.find_tool()
    print(f"building {name} from {chosen} with {tool}; this takes a minute or two", flush=True)
    images.build(chosen, name, base, tool, store=store, verify=verify, ray=ray, train=train)
    print(f"image: {name}")
    print(f"parts: {images.sbom_path(name)} (CycloneDX)")
    print(f"model: {images.ml_bom_path(name)} (CycloneDX ML-BOM)")
    if tool != "buildah" and not ray:
        print(f"try it: {tool} run --rm --read-only --tmpfs /tmp --publish 127.0.0.1:3000:3000 {name}")


def newest_bento(root: Path) -> Path:
    """The bento below build/bento/ that was made last; InputError when there is none."""
    bentos = Artifacts(root).bentos
    found = sorted(bentos.glob("*/bento.yaml"), key=lambda path: path.stat().st_mtime_ns)
    if not found:
        raise InputError(f"{bentos.relative_to(root)}: there is no bento yet; make one: fracture package")
    return found[-1].parent
