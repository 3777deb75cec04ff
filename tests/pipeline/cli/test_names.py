"""A file or folder whose name is not valid UTF-8: every command takes it, or names it in one line."""

import io
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import typer

from pipeline import cli
from pipeline.archive import manifest
from pipeline.archive.manifest import Sources
from pipeline.errors import exit_with_line
from tests.pipeline.archive.conftest import RELEASE, SAMPLES

NAME = os.fsdecode(b"bad-\xff")
SHOWN = r"bad-\udcff"
PLACES = {"URI", "URI...", "SOURCE", "DIR", "FILE", "PATH"}
"""What the help calls a path that a command takes as text, as it may be an address."""
REQUIRED = {"--trials": "2", "--share": "10", "--format": "mobile", "experiments": "x", "name": "x-1", "url": "x"}
"""Values for what a command cannot do without, beside paths."""


def _commands(group: Any, words: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    if not hasattr(group, "commands"):
        yield words, group
        return
    for name, command in group.commands.items():
        yield from _commands(command, (*words, name))


def _is_path(parameter: Any) -> bool:
    kind = parameter.type_descriptor
    return kind is not None and ("Path" in str(kind.annotation) or parameter.metavar in PLACES)


def _cases() -> list[tuple[tuple[str, ...], str]]:
    """Each command with each of its parameters that is a path."""
    found = []
    for name in cli.COMMANDS:
        group: Any = typer.main.get_command(cli.assemble([name]))
        for words, command in _commands(group.commands[name], (name,)):
            found += [(words, one.opts[0]) for one in command.params if _is_path(one)]
    return found


def _run(arguments: Sequence[str], monkeypatch: pytest.MonkeyPatch) -> tuple[int, str, str]:
    """Run a command as a terminal does whose locale is UTF-8: exit code, standard output and error."""
    out = io.TextIOWrapper(io.BytesIO(), "utf-8", errors="strict")
    error = io.TextIOWrapper(io.BytesIO(), "utf-8", errors="backslashreplace")
    with monkeypatch.context() as changed:
        changed.setattr(sys, "stdout", out)
        changed.setattr(sys, "stderr", error)
        with pytest.raises(SystemExit) as ended:
            exit_with_line(lambda: cli.assemble(arguments)(list(arguments)))
    code = ended.value.code
    out.seek(0)
    error.seek(0)
    return (code if isinstance(code, int) else 0), out.read(), error.read()


def _arguments(words: Sequence[str], option: str, path: str) -> list[str]:
    """A command line with `path` at `option`, and what the command needs beside it."""
    group: Any = typer.main.get_command(cli.assemble(words))
    (command,) = (one for named, one in _commands(group.commands[words[0]], (words[0],)) if named == tuple(words))
    found = list(words)
    for one in command.params:
        name = one.opts[0]
        if name == option or (one.required and one.name != "help"):
            value = path if name == option else REQUIRED.get(name, str(SAMPLES[0]))
            found += [name, value] if name.startswith("-") else [value]
    return found


@pytest.mark.parametrize(
    ("words", "option"), _cases(), ids=lambda case: case if isinstance(case, str) else "-".join(case)
)
@pytest.mark.parametrize("kind", ["missing", "folder"])
def test_a_name_that_is_not_utf8_is_no_traceback(
    words: Sequence[str], option: str, kind: str, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project)
    for name in ("FRACTURE_BUNDLE", "FRACTURE_STORE_URL", "FRACTURE_TRUSTED_KEYS"):
        monkeypatch.delenv(name, raising=False)
    path = project / NAME
    if kind == "folder":
        path.mkdir()
    code, _, said = _run(_arguments(words, option, str(path)), monkeypatch)
    assert code == 0 or said.count("error: ") == 1 or code == 2, said


def test_every_command_that_takes_a_path_is_tried() -> None:
    tried = {words[0] for words, _ in _cases()}
    assert tried >= {"data", "predict", "manifest", "score", "export", "package", "drift", "monitor", "recalibrate"}


@pytest.fixture
def odd(tmp_path: Path) -> Path:
    """Make a folder of such a name with images of such names, and a bundle."""
    folder = tmp_path / NAME
    for label in ("normal", "fractured"):
        (folder / "images" / label).mkdir(parents=True)
        shutil.copy(SAMPLES[0], folder / "images" / label / f"{NAME}.png")
    shutil.copytree(RELEASE, folder / "bundle")
    return folder


def test_images_and_bundles_of_such_names_are_used(odd: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = ["predict", str(odd / "images"), "--bundle", str(odd / "bundle")]
    code, said, _ = _run(given, monkeypatch)
    assert code == 0
    assert f"{SHOWN}/images/normal/{SHOWN}.png" in said
    code, said, _ = _run([*given, "--jsonl"], monkeypatch)
    assert code == 0
    assert f'{SHOWN}/images/normal/{SHOWN}.png"' in said


def test_an_archive_of_such_names_is_scored(odd: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listed = str(tmp_path / "m.parquet")
    assert _run(["manifest", str(odd / "images"), "--out", listed], monkeypatch)[0] == 0
    command = ["score", "--manifest", listed, "--out", str(odd / "out"), "--bundle", str(odd / "bundle")]
    code, said, _ = _run([*command, "--actors", "1"], monkeypatch)
    assert code == 0
    assert "every one of 2 images is answered once" in said


def test_an_app_is_exported_into_such_a_folder(odd: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command = ["export", str(odd / "app"), "--format", "mobile", "--bundle", str(RELEASE)]
    code, said, _ = _run(command, monkeypatch)
    assert code == 0
    assert f"{SHOWN}/app" in said


def test_what_cannot_be_of_such_a_name_says_so(odd: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    advice = "the name is not valid UTF-8; rename it, and run the command again\n"
    listed = tmp_path / "m.parquet"
    code, _, said = _run(["manifest", str(odd / "images"), "--out", str(odd / "m.parquet")], monkeypatch)
    assert (code, said.splitlines(keepends=True)[-1]) == (1, f"error: {tmp_path}/{SHOWN}/m.parquet: {advice}")
    manifest.write(listed, Sources((str(odd / "images"),)))
    shutil.copy(listed, odd / "m.parquet")
    code, _, said = _run(["score", "--manifest", str(odd / "m.parquet"), "--out", "out"], monkeypatch)
    assert (code, said) == (1, f"error: {tmp_path}/{SHOWN}/m.parquet: {advice}")


def test_an_image_that_cannot_be_taken_into_data_is_named(
    odd: Path, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project)
    code, _, said = _run(["data", "folder", str(odd / "images")], monkeypatch)
    assert code == 1
    assert said.splitlines()[-1].endswith(
        f"/{SHOWN}.png: the name is not valid UTF-8; rename it, and run the command again"
    )
    assert not (project / "data").exists()
