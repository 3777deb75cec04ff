"""`fracture recalibrate`: a bundle whose probabilities and operating points fit the images of another site."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.artifacts import Artifacts
from pipeline.cli.bundles import BundleOption, open_bundle
from pipeline.files import project_root
from pipeline.late import late

if TYPE_CHECKING:
    from pipeline import params
    from pipeline.packaging import recalibration as work
else:
    params = late("pipeline.params")
    work = late("pipeline.packaging.recalibration")


def recalibrate(
    data: Annotated[
        Path,
        typer.Option("--data", metavar="DIR", help="Labelled images: the layout of data/, or one folder per class."),
    ],
    *,
    bundle: BundleOption = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", metavar="DIR", help="Folder of the new bundle; by default below build/bundle/."),
    ] = None,
    normal: Annotated[
        str | None,
        typer.Option("--normal", metavar="NAME", help="Folder of the normal images, if its name is unusual."),
    ] = None,
) -> None:
    """Refit calibration and operating points on labelled images; the network stays as it is.

    The new bundle says that it was recalibrated, on how many images, and how it did before and after.
    """
    root = project_root()
    opened = open_bundle(bundle)
    options = params.load(root / "params.yaml").evaluate
    version = work.recalibrated_version(opened.manifest.version)
    target = output or Artifacts(root).bundles / f"{opened.manifest.name}-{version}"
    work.check_target(target, opened)
    site = work.read_site(data, opened.manifest.classes, normal)
    scores = work.score_site(opened, site)
    fitted = work.refit(scores, opened.decision, options)
    manifest = work.write_bundle(opened, site, scores, fitted, target)
    for line in work.summary(fitted.quality):
        print(line)
    print(fitted.quality["note"])
    print(
        f"images: {len(scores.classes)} in {fitted.quality['groups']} groups; left out: {work.listed(scores.refused)}"
    )
    print(f"bundle: {target} ({manifest.name} version {manifest.version})")
    print(f"it is served by default until another one is packaged; to serve the old one: --bundle {opened.folder}")
