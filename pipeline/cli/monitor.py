"""`fracture monitor`: what the store of a service says of the last weeks, or what was scored of an archive."""

import json
import os
import re
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli.bundles import BundleOption, open_bundle
from pipeline.errors import InputError
from pipeline.files import write_json, write_text
from pipeline.late import late

if TYPE_CHECKING:
    from pipeline.archive import window as scoring
    from pipeline.monitoring import page, window
    from pipeline.monitoring import report as reporting
    from pipeline.monitoring import shadow as shadows
else:
    page = late("pipeline.monitoring.page")
    scoring = late("pipeline.archive.window")
    window = late("pipeline.monitoring.window")
    reporting = late("pipeline.monitoring.report")
    shadows = late("pipeline.monitoring.shadow")

_WRONG_USAGE, _MOVED = 2, 3
"""Exit codes; that of --check is none of bad input and wrong usage."""
_STORE, _SINCE = "FRACTURE_STORE_URL", "30d"
_DIMENSIONS = ("site", "region", "model")
_LENGTH = re.compile(r"([1-9][0-9]{0,3})([hdw])")
_UNITS = {"h": "hours", "d": "days", "w": "weeks"}


def monitor(
    *,
    store: Annotated[
        str,
        typer.Option("--store", metavar="URL", help=f"The store; by default that of {_STORE}."),
    ] = "",
    since: Annotated[
        str,
        typer.Option(
            "--since",
            metavar="LENGTH",
            help=f"How far back: 12h, {_SINCE} (the default) or 8w; as long before is compared.",
            show_default=False,
        ),
    ] = "",
    by: Annotated[
        str,
        typer.Option(
            "--by",
            metavar="LIST",
            help="Groups, separated by commas: site, region, model; by default all of them.",
            show_default=False,
        ),
    ] = "",
    scored: Annotated[
        str,
        typer.Option("--scored", metavar="ANSWERS", help="Instead of a store: the --out of `fracture score`."),
    ] = "",
    earlier: Annotated[
        str, typer.Option("--earlier", metavar="ANSWERS", help="An earlier scoring, which --scored is compared with.")
    ] = "",
    bundle: BundleOption = None,
    output: Annotated[
        Path, typer.Option("--output", metavar="DIR", help="Where monitor.html, monitor.json and monitor.md go.")
    ] = Path("reports/monitoring"),
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON instead of Markdown.")] = False,
    check: Annotated[
        bool, typer.Option("--check", help="Exit with code 3 if something moved, for scripts and cron.")
    ] = False,
    shadow: Annotated[
        bool,
        typer.Option("--shadow", help="Compare the served model with the one of FRACTURE_SHADOW_BUNDLE instead."),
    ] = False,
) -> None:
    """Report drift, refusals, agreement with readers and performance, from the store of a service.

    With --scored, drift and refusals of an archive.
    """
    dimensions = _dimensions(by or ",".join(_DIMENSIONS))
    clashes = {
        "--earlier is compared with another scoring; name that with --scored": earlier and not scored,
        "--shadow reads a store; leave --scored out": scored and shadow,
        "--scored is read instead of a store; leave --store out": scored and store,
        "--since: a scoring has no times; leave it out, and name an earlier scoring with --earlier": scored and since,
        "--by site: a scoring has no sites; leave it out": scored and by and "site" in dimensions,
        "--by: two models are compared over all answers; leave it out": shadow and by,
        "--check: a comparison of two models calls nothing moved; leave it out": shadow and check,
    }
    for line in (line for line, clash in clashes.items() if clash):
        print(f"error: {line}", file=sys.stderr)
        raise typer.Exit(_WRONG_USAGE)
    store, since = store or os.environ.get(_STORE, ""), since or _SINCE
    if not (store or scored):
        raise InputError(f"--store: name the database of the service, or set {_STORE}; or name a scoring with --scored")
    length = _length(since)
    opened = open_bundle(bundle)
    until = datetime.now(UTC)
    if shadow:
        _write_shadow(shadows.read(store, until - length, until, opened.manifest.classes[0]), output, as_json)
        return
    if scored:
        dimensions = [dimension for dimension in dimensions if dimension != "site"]  # an archive's rows have none
        now = scoring.read_window(scored, opened)
        before = scoring.read_window(earlier, opened) if earlier else window.Window(until, until, [], {})
    else:
        now, before = window.read_windows(store, until, length, opened.manifest.classes)
    if not now.rows:
        raise InputError(f"the store holds no answer of the last {since}; name a longer time with --since")
    report = reporting.build(now, before, opened, dimensions)
    text = reporting.markdown(report)
    write_text(output / "monitor.html", page.html(report, now, before, opened))
    write_json(output / "monitor.json", report.to_dict())
    write_text(output / "monitor.md", text)
    print(json.dumps(report.to_dict(), indent=2) if as_json else text)
    if check and report.moved:
        raise typer.Exit(_MOVED)


def _write_shadow(reports: "list[shadows.ShadowReport]", output: Path, as_json: bool) -> None:
    if not reports:
        raise InputError(
            "the store holds no image of this time that two models answered; name a longer time with --since, and "
            "start the service with FRACTURE_SHADOW_BUNDLE"
        )
    text, found = shadows.markdown(reports), [report.to_dict() for report in reports]
    write_json(output / "shadow.json", found)
    write_text(output / "shadow.md", text)
    print(json.dumps(found, indent=2) if as_json else text)


def _length(text: str) -> timedelta:
    found = _LENGTH.fullmatch(text.strip())
    if not found:
        raise InputError(f"--since {text}: write a whole number from 1 to 9999 and h, d or w, such as 30d")
    return timedelta(**{_UNITS[found[2]]: int(found[1])})


def _dimensions(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    unknown = [name for name in names if name not in _DIMENSIONS]
    if unknown:
        raise InputError(f"--by {unknown[0]}: is none of {', '.join(_DIMENSIONS)}")
    return list(dict.fromkeys(names))
