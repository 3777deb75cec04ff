"""The `fracture` command: one module per group of subcommands."""

import importlib
import sys

import typer

from pipeline.errors import exit_with_line

app = typer.Typer(
    name="fracture",
    help="Train, judge, register and use a fracture classifier for radiographs.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

_COMMANDS = {
    "import-model": ("import_model", "import_model"),
    "promote": ("promote", "promote"),
    "rollback": ("promote", "rollback"),
    "package": ("package", "package"),
    "image": ("image", "image"),
    "export": ("export", "export"),
    "release": ("release", "release"),
    "serve": ("serve", "serve"),
    "predict": ("predict", "predict"),
    "recalibrate": ("recalibrate", "recalibrate"),
    "drift": ("drift", "drift"),
    "tables": ("tables", "tables"),
    "mlflow": ("mlflow_ui", "mlflow_ui"),
    "doctor": ("doctor", "doctor"),
}
"""Name of each command -> its module here and its function; listed in this order."""

_GROUPS = {
    "data": "Fill data/ from a source.",
    "remote": "Where a team keeps data and models, through DVC.",
    "deploy": "Serve a registered model in a cloud.",
}
"""Name of each group of commands, which is also its module here -> its line of help."""


def _assemble(asked: str) -> None:
    """Put the commands together: only the one asked for when there is such a one, as the others' imports take time."""
    app.callback()(lambda: None)  # without it Typer would leave out the name of a single command
    for group, line in _GROUPS.items():
        if asked == group or asked not in {**_COMMANDS, **_GROUPS}:
            app.add_typer(importlib.import_module(f"pipeline.cli.{group}").app, name=group, help=line)
    for name in [asked] if asked in _COMMANDS else [] if asked in _GROUPS else _COMMANDS:
        module, function = _COMMANDS[name]
        app.command(name)(getattr(importlib.import_module(f"pipeline.cli.{module}"), function))


def main() -> None:
    """Entry point: bad input ends with one line and exit code 1, wrong usage with exit code 2."""
    _assemble(sys.argv[1] if len(sys.argv) > 1 else "")
    exit_with_line(app)
