"""`fracture predict`: score files and folders without a server."""

import functools
import hashlib
import json
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.cli.bundles import BundleOption, ScopeOption, open_bundle
from pipeline.errors import InputError
from pipeline.files import atomic_file, make_folder
from pipeline.late import late
from pipeline.quiet import quiet_import

if TYPE_CHECKING:
    import cv2

    from pipeline import progress
    from serving import predictor as predictors
    from serving import saliency, scoring
    from serving.errors import ImageError
    from serving.predictor import Prediction
    from serving.scoring import File
else:
    # Not before `predict` has said how many threads numpy may use.
    cv2 = late("cv2")
    progress = late("pipeline.progress")
    predictors = late("serving.predictor")
    saliency = late("serving.saliency")
    scoring = late("serving.scoring")

_LONGEST_NAME = 180  # bytes of one part of a path: file systems take 255, and a name for the time of writing is longer
_WIDEST = 100
_UNANSWERED = "without an answer"


def predict(
    paths: Annotated[
        list[str],
        typer.Argument(metavar="PATH", help="Image files, and folders whose images are taken, subfolders too."),
    ],
    *,
    bundle: BundleOption = None,
    jsonl: Annotated[bool, typer.Option("--jsonl", help="One line of JSON per file instead of a table.")] = False,
    scope: ScopeOption = "refuse",
    heatmaps: Annotated[
        Path | None,
        typer.Option("--heatmaps", metavar="DIR", help="Folder for a PNG of each answered image with its heatmap."),
    ] = None,
) -> None:
    """Score image files on all cores; exit code 1 when any file got no answer.

    Answers go to stdout, in the order of the files; progress and remarks go to stderr.
    """
    # The files are spread over the cores; read by numpy when it is imported.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    opened = open_bundle(bundle)
    files = _find(paths, heatmaps)
    targets = heatmap_targets(files, heatmaps) if heatmaps else {}
    predictor = predictors.Predictor(opened, predictors.Limits(warn_of_scope=scope == "warn"))
    with quiet_import():  # LiteRT announces its first interpreter
        predictor.warm_up()
    facts = predictor.facts()
    _remark(f"model {facts['name']} {facts['version']} ({opened.folder}); decision support, not a diagnosis")
    width = 0 if jsonl else table_width(files)

    def keep(file: "File", prediction: "Prediction") -> tuple[str, str]:
        """Label and line; formatted in the predicting threads, as the printing one would hold them up."""
        answer = prediction.answer()
        target = targets.get(file)
        if target is not None:
            draw(prediction, target)
            answer["heatmap"] = str(target)
        return prediction.label, json_line(file, answer, facts) if jsonl else table_row(file, answer, width)

    out = sys.stdout  # rich puts its own in place while a bar is shown on a terminal
    if not jsonl:
        print(row("file", "answer", "probability", "suspicion", "remarks", width=width), flush=True)
    labels: Counter[str] = Counter()
    with _progress(len(files), jsonl) as advance, closing(scoring.score(predictor, files, keep)) as answers:
        for answer in answers:
            if answer.error is not None:
                shown = error_line(answer.file, answer.error) if jsonl else error_row(answer.file, answer.error, width)
                found = _UNANSWERED, shown
            else:
                found = answer.kept or ("", "")
            labels[found[0]] += 1
            # On a terminal the stand-in prints above the bar.
            print(found[1], file=sys.stdout if out.isatty() else out, flush=True)
            advance()
    counts = ", ".join(f"{count} {label}" for label, count in sorted(labels.items()))
    _remark(f"{len(files)} file{'s' if len(files) > 1 else ''}: {counts}")
    if labels[_UNANSWERED]:
        raise typer.Exit(1)


def _find(paths: Sequence[str], heatmaps: Path | None) -> "Sequence[File]":
    for path in paths:
        if heatmaps and Path(path).is_dir() and Path(path).resolve() == heatmaps.resolve():
            raise InputError(f"--heatmaps {heatmaps}: is the folder of the images themselves; name another one")
    found = scoring.find(paths, heatmaps)
    if found.passed_over:
        _remark(f"passed over: {found.passed_over} files that have no image's name")
    if not found.files:
        raise InputError(
            f"{', '.join(paths)}: holds no image (JPEG, PNG, WebP, BMP, TIFF or DICOM); name another folder"
        )
    return found.files


@contextmanager
def _progress(total: int, jsonl: bool) -> "Iterator[progress.Advance]":
    """A bar on stderr, unless JSON lines run over the same terminal."""
    if jsonl and sys.stdout.isatty():
        yield lambda _=1, /: None
        return
    with progress.progress_bar("predict", total) as advance:
        yield advance


def _remark(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def json_line(file: "File", answer: Mapping[str, Any], model: Mapping[str, str]) -> str:
    """One file's answer as a line of JSON in ASCII; `file`, label and probability stand first."""
    return json.dumps({"file": file.name, **answer, "model": model})


def error_line(file: "File", error: "ImageError") -> str:
    """Why a file got no answer, as a line of JSON in ASCII."""
    return json.dumps({"file": file.name, "error": {"code": error.code, "message": error.message}})


def table_width(files: "Sequence[File]") -> int:
    """Of the column of file names."""
    return max(4, min(_WIDEST, max(len(printable(file.name)) for file in files)))


def table_row(file: "File", answer: Mapping[str, Any], width: int) -> str:
    """One file's answer as a row."""
    remarks = ", ".join(note["code"] for note in answer["warnings"])
    probability = f"{answer['probability']:.3f}"
    return row(printable(file.name), answer["label"], probability, answer["suspicion"], remarks, width=width)


def error_row(file: "File", error: "ImageError", width: int) -> str:
    """Why a file got no answer, as a row."""
    return row(printable(file.name), "no answer", "-", "-", printable(f"{error.code}: {error.message}"), width=width)


def row(name: str, label: str, probability: str, suspicion: str, remarks: str, *, width: int) -> str:
    """One row of the table."""
    return f"{name:<{width}}  {label:<17}  {probability:>11}  {suspicion:<9}  {remarks}".rstrip()


def printable(text: str) -> str:
    """Escape characters that would move a terminal's cursor or cannot be encoded."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text)


def heatmap_targets(files: "Sequence[File]", folder: Path) -> "dict[File, Path]":
    """Where each file's heatmap goes: below `folder`, named after its relative path with `.png` behind it.

    Names are unique, also on file systems that ignore case, and never those of the files themselves. Makes `folder` and
    its subfolders. Raises InputError for a link in it that leads out of it.
    """
    if folder.exists() and not folder.is_dir():
        raise InputError(f"--heatmaps {folder}: is a file; name a folder")
    root = folder.resolve()
    real = functools.cache(os.path.realpath)
    taken = {name for file in files if (name := _inside(file.path, root, real))}
    again: Counter[str] = Counter()
    targets: dict[File, Path] = {}
    for file in files:
        if file in targets:
            continue
        *parents, name = map(_short, PurePosixPath(file.relative).parts)
        # A heatmap's name ends in .png and no folder's does: they never get in each other's way.
        parents = [f"{part}_" if part.lower().endswith(".png") else part for part in parents]
        key = wanted = "/".join([*parents, name])
        while f"{key}.png".casefold() in taken:
            again[wanted.casefold()] += 1
            key = f"{wanted}-{again[wanted.casefold()] + 1}"
        taken.add(f"{key}.png".casefold())
        targets[file] = folder / f"{key}.png"
    for parent in sorted({target.parent for target in targets.values()}):
        if not parent.resolve().is_relative_to(root):
            raise InputError(f"{parent}: is a link that leads out of --heatmaps {folder}; remove it")
        make_folder(parent)
    return targets


def _inside(path: str, root: Path, real: Callable[[str], str]) -> str | None:
    """A file's path below `root`, as heatmaps are compared; None when it lies elsewhere. `real` follows links."""
    folder, name = os.path.split(path)
    place = os.path.join(real(folder), name)  # noqa: PTH118  a Path for each of many files is slow
    return os.path.relpath(place, root).casefold() if place.startswith(f"{root}{os.sep}") else None


def _short(part: str) -> str:
    encoded = os.fsencode(part)
    if len(encoded) <= _LONGEST_NAME:
        return part
    return f"{encoded[: _LONGEST_NAME - 20].decode('utf-8', 'ignore')}-{hashlib.sha256(encoded).hexdigest()[:16]}"


def draw(prediction: "Prediction", target: Path) -> None:
    """Write a PNG of an image with the evidence for a fracture laid over it, whole or not at all."""
    _, content = cv2.imencode(".png", saliency.overlay(prediction.pixels, prediction.evidence()))
    with atomic_file(target) as partial:
        partial.write_bytes(content.tobytes())
