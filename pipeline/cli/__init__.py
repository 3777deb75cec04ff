"""The `fracture` command: one module per group of subcommands."""

import importlib
import signal
import sys
from collections.abc import Sequence
from typing import NamedTuple

import typer

from pipeline.errors import exit_with_line


class Command(NamedTuple):
    """A line of `fracture --help` and the command behind it: a function, or a group if `function` is empty."""

    help: str
    module: str
    function: str = ""


COMMANDS = {
    "data": Command("Fill data/ from a source.", "data"),
    "tune": Command("Search for better parameters of the training.", "tune", "tune"),
    "teachers": Command("Collect the networks of all folds, and their scores.", "teachers", "teachers"),
    "import-model": Command("Register a Keras model that was trained elsewhere.", "import_model", "import_model"),
    "promote": Command("Make a registered version the champion.", "promote", "promote"),
    "rollback": Command("Return to the previous champion.", "promote", "rollback"),
    "package": Command("Make the bundle and the bento of the champion.", "package", "package"),
    "serve": Command("Answer radiographs over HTTP, with a web page.", "serve", "serve"),
    "hospital": Command("Connect a PACS: DICOM in, results out.", "hospital", "hospital"),
    "predict": Command("Score image files on all cores.", "predict", "predict"),
    "manifest": Command("List an archive's images, for `score`.", "manifest", "manifest"),
    "score": Command("Score the images of a manifest, millions of them.", "score", "score"),
    "image": Command("Build the container image of a bento.", "image", "image"),
    "deploy": Command("Serve a registered model in a cloud.", "deploy"),
    "export": Command("Write a registered model to one file.", "export", "export"),
    "release": Command("Write the registered model into models/.", "release", "release"),
    "sign": Command("Sign a bundle, a release or a bento.", "sign", "sign"),
    "verify": Command("Check a signature, and what it signs.", "sign", "verify"),
    "trace": Command("Follow an answer or a model back to its data.", "trace", "trace"),
    "recalibrate": Command("Refit calibration and thresholds on your images.", "recalibrate", "recalibrate"),
    "drift": Command("Compare inputs and scores with those of training.", "drift", "drift"),
    "monitor": Command("Report what a service's store of answers says.", "monitor", "monitor"),
    "tables": Command("Print the metrics of an evaluation as Markdown.", "tables", "tables"),
    "mlflow": Command("Open the MLflow UI on loopback.", "mlflow_ui", "mlflow_ui"),
    "remote": Command("Choose where a team keeps data and models (DVC).", "remote"),
    "doctor": Command("Check the installation, data and models.", "doctor", "doctor"),
}
"""Every command, in the order of the help, which is that of their use."""

_INTERRUPTED = 128 + signal.SIGINT


def assemble(arguments: Sequence[str]) -> typer.Typer:
    """The command line with the command that `arguments` name; of the others it has the help line only.

    Importing them all would delay the first line by a second.
    """
    app = typer.Typer(
        name="fracture",
        help="Train, judge, register and use a fracture classifier for radiographs.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
    )
    asked = next((word for word in arguments if not word.startswith("-")), "")
    for name, command in COMMANDS.items():
        if name != asked:
            app.command(name, help=command.help)(_only_listed)
            continue
        module = importlib.import_module(f"pipeline.cli.{command.module}")
        if command.function:
            app.command(name)(getattr(module, command.function))
        else:
            app.add_typer(module.app, name=name, help=command.help)
    return app


def _only_listed() -> None:
    raise AssertionError("a command that was not asked for was run")


def main() -> None:
    """Entry point: bad input ends with one line and exit code 1, wrong usage with exit code 2."""
    app = assemble(sys.argv[1:])

    def run() -> None:
        try:
            app()
        except SystemExit as end:
            if end.code == _INTERRUPTED:  # typer ends without a word
                raise KeyboardInterrupt from None
            raise

    exit_with_line(run)
