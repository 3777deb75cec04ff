"""What runs on a cluster's nodes beside the processes that train."""

import subprocess
import sys
from pathlib import Path

from pipeline.training.nodes import Board, read_text


def test_its_module_loads_nothing_heavy() -> None:
    code = "import sys, pipeline.training.nodes; print({'tensorflow', 'keras', 'numpy', 'pandas'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_each_word_is_told_once_and_the_state_stays() -> None:
    board = Board()
    board.line("epoch 1/2")
    board.figures(1, {"loss": 0.5})
    board.end()
    first, second = board.take(), board.take()
    assert (first.lines, first.figures, first.whole) == (["epoch 1/2"], [(1, {"loss": 0.5})], True)
    assert (second.lines, second.figures, second.whole) == ([], [], True)


def test_the_first_fault_is_the_one_that_is_told() -> None:
    board = Board()
    assert not board.failed()
    board.fail("weights.h5: no such file")
    board.fail("another process was lost")
    assert board.failed()
    assert board.take().fault == "weights.h5: no such file"


def test_a_file_that_a_node_does_not_see_holds_nothing(tmp_path: Path) -> None:
    assert not read_text(tmp_path / "word")
    (tmp_path / "word").write_text("seen")
    assert read_text(tmp_path / "word") == "seen"
