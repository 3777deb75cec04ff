"""Other programs, run to their end."""

import sys
from pathlib import Path

import pytest

from pipeline import programs
from pipeline.errors import InputError


def _python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def test_a_program_runs_in_its_folder_with_its_input_and_a_further_variable(tmp_path: Path) -> None:
    code = "import os, sys; print(os.getcwd(), sys.stdin.read(), os.environ['TOLD'], 'PATH' in os.environ)"
    done = programs.run(_python(code), "given", folder=tmp_path, environment={"TOLD": "yes"})
    assert done.stdout.split() == [str(tmp_path.resolve()), "given", "yes", "True"]


def test_no_shell_reads_the_words() -> None:
    done = programs.run([*_python("import sys; print(sys.argv[1])"), "$(id); `id` *"])
    assert done.stdout == "$(id); `id` *\n"


def test_a_program_that_fails_is_for_the_caller_to_judge() -> None:
    done = programs.run(_python("import sys; print('first'); sys.exit('the reason')"))
    assert (done.returncode, programs.last_line(done.stderr)) == (1, "the reason")


def test_a_program_that_is_not_there_is_one_line() -> None:
    with pytest.raises(InputError, match="no-such-program: not found; install it"):
        programs.run(["no-such-program"])


def test_a_program_that_takes_too_long_is_one_line() -> None:
    with pytest.raises(InputError, match=r"no answer within 0\.2 s"):
        programs.run(_python("import time; time.sleep(60)"), seconds=0.2)
