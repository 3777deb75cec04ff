"""Which options a person gave: one that would be passed over is refused."""

import typer


def given_options(context: typer.Context) -> list[str]:
    """The options that stand on the command line, by their long names, in the order of the help."""
    sources = {one.opts[0]: context.get_parameter_source(one.name or "") for one in context.command.params}
    return [option for option, source in sources.items() if source is not None and source.name == "COMMANDLINE"]
