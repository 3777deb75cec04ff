"""`fracture release`: the model of this checkout as a folder of models/."""

import re
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli.bundles import ScopeFileOption, read_terms
from pipeline.errors import InputError
from pipeline.files import project_root
from pipeline.late import late

if TYPE_CHECKING:
    from pipeline.packaging import release as work
else:
    work = late("pipeline.packaging.release")


def release(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Folder below models/: <data>-<architecture>-<version>.")],
    note: Annotated[str, typer.Option(metavar="TEXT", help="What else the card should say about the data.")] = "",
    scope_file: ScopeFileOption = None,
) -> None:
    """Write the registered model of build/ with its bundle, card, split table and checksums into models/NAME."""
    if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9.]+)*-[0-9]+", name):
        raise InputError(f"{name}: a release is named like fracatlas-efficientnetlite2-2, its version at the end")
    root = project_root()
    target = root / "models" / name
    manifest = work.release(root, target, note, read_terms(scope_file))
    size = sum(path.stat().st_size for path in target.rglob("*") if path.is_file())
    print(f"{target}: {manifest.name} version {manifest.version}, {size / 1e6:.1f} MB; look through {work.CARD}")
    plan = manifest.quality["change_plan"]
    print(f"{plan['verdict']} the change plan{''.join(f'; {reason}' for reason in plan['reasons'])}")
