"""The `fracture` command: one module per group of subcommands."""

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


def _assemble() -> None:
    from pipeline.cli import data, doctor, mlflow_ui, package, promote  # noqa: PLC0415  only a run of the command needs them

    app.add_typer(data.app, name="data", help="Fill data/ from a source.")
    app.command("promote")(promote.promote)
    app.command("rollback")(promote.rollback)
    app.command("package")(package.package)
    app.command("mlflow")(mlflow_ui.mlflow_ui)
    app.command("doctor")(doctor.doctor)


def main() -> None:
    """Entry point: bad input ends with one line and exit code 1, wrong usage with exit code 2."""
    _assemble()
    exit_with_line(app)
