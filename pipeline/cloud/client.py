"""Another program's commands: run as argument lists, answers parsed, failures turned into one line."""

import json
import re
import shlex
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.errors import InputError
from pipeline.programs import last_line, run

_QUIET = {"AWS_PAGER": "", "AWS_CLI_AUTO_PROMPT": "off", "PYTHONWARNINGS": "ignore"}


class RefusedError(InputError):
    """A command failed; `said` is what it printed, for callers that expect certain failures."""

    def __init__(self, line: str, said: str) -> None:
        super().__init__(line)
        self.said = said


@dataclass(frozen=True)
class Reason:
    """What a client prints for one kind of failure, and the line shown for it ({said} is its last line)."""

    pattern: str
    line: str


@dataclass(frozen=True)
class Client:
    """A cloud's official command line client.

    With `dry` commands that change something are shown and not run; those that only read are shown and run.
    """

    program: str
    install: str  # what to do when there is no such program
    options: tuple[str, ...] = ()  # behind every command
    before: tuple[str, ...] = ()  # in front of every command
    reasons: tuple[Reason, ...] = ()  # the first one that fits is shown
    dry: bool = False
    show: Callable[[str], None] = print

    def read(self, *arguments: str) -> Any:
        """The parsed JSON answer of a command that changes nothing; RefusedError."""
        if self.dry:
            self.show(f"$ {self._line(arguments)}")
        return self._run(arguments)

    def change(self, *arguments: str) -> Any:
        """The parsed JSON answer of a command that changes something, None in a dry run; RefusedError."""
        if self.dry:
            self.show(f"$ {self._line(arguments)}    # not run")
            return None
        return self._run(arguments)

    def tell(self, *arguments: str) -> None:
        """Run a command that changes something and answers in words, not in a dry run; RefusedError."""
        if self.dry:
            self.show(f"$ {self._line(arguments)}    # not run")
            return
        self._output(arguments)

    def require(self) -> None:
        """Raise InputError when the program is not there."""
        if shutil.which(self.program) is None:
            raise InputError(f"{self.program}: not found; {self.install}")

    def _line(self, arguments: Sequence[str]) -> str:
        return shlex.join([self.program, *self.before, *arguments, *self.options])

    def _run(self, arguments: Sequence[str]) -> Any:
        printed = self._output(arguments)
        if not printed.strip():
            return None
        try:
            return json.loads(printed)
        except json.JSONDecodeError:
            raise InputError(
                f"{self.program} {' '.join(arguments[:2])}: did not answer with JSON: {last_line(printed)}"
            ) from None

    def _output(self, arguments: Sequence[str]) -> str:
        self.require()
        done = run([self.program, *self.before, *arguments, *self.options], environment=_QUIET)
        if done.returncode:
            raise RefusedError(self._explain(arguments, done.stderr or done.stdout), done.stderr or done.stdout)
        return done.stdout

    def _explain(self, arguments: Sequence[str], printed: str) -> str:
        said = last_line(printed)
        for reason in self.reasons:
            if re.search(reason.pattern, printed):
                return reason.line.format(said=said)
        return f"{self.program} {' '.join(arguments[:2])}: {said}"
