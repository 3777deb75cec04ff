"""The benchmark that looks for losses finds them."""

import sys
from pathlib import Path

import pytest

from benchmarks.hospital import __main__ as command
from benchmarks.hospital.journal import Journal
from benchmarks.hospital.objects import draw_studies
from benchmarks.hospital.peers import Ledger, Report
from benchmarks.hospital.verdict import judge


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    """Write down a report of the images a and b of study 1, and a capture."""
    found = Ledger("STEADY", Journal(tmp_path / "journal.jsonl"))
    found.add("report", b"1", Report("1", ("a", "b"), ()))
    found.add("capture", b"2")
    return found


def problems(ledger: Ledger, *wanted: str) -> list[str]:
    return judge([ledger], {"steady": set(wanted)}, {"1": {"a", "b"}})


def test_nothing_is_lost_where_each_object_came(ledger: Ledger) -> None:
    assert problems(ledger, "report", "capture") == []


def test_missing_object_is_found(ledger: Ledger) -> None:
    assert problems(ledger, "report", "capture", "other") == ["missing at STEADY: 1 (other)"]


def test_object_of_no_result_is_found(ledger: Ledger) -> None:
    assert problems(ledger, "report") == ["at STEADY, but of no result: 1 (capture)"]


def test_repetition_with_the_same_bytes_is_counted_and_no_problem(ledger: Ledger) -> None:
    ledger.add("capture", b"2")
    assert ledger.repeats == 1
    assert problems(ledger, "report", "capture") == []


def test_repetition_with_other_bytes_is_found(ledger: Ledger) -> None:
    ledger.add("capture", b"3")
    assert problems(ledger, "report", "capture") == ["came to STEADY with other bytes: 1 (capture)"]


def test_second_report_that_replaces_none_is_found(ledger: Ledger) -> None:
    ledger.add("second", b"4", Report("1", ("a", "b"), ()))
    assert "two effective reports at STEADY: 2 (a, b)" in problems(ledger, "report", "capture", "second")


def test_second_report_that_replaces_the_first_is_none(ledger: Ledger) -> None:
    ledger.add("second", b"4", Report("1", ("a", "b"), ("report",)))
    assert problems(ledger, "report", "capture", "second") == []


def test_image_in_no_effective_report_is_found(ledger: Ledger) -> None:
    ledger.add("second", b"4", Report("1", ("a",), ("report",)))
    assert problems(ledger, "report", "capture", "second") == ["no effective report at STEADY: 1 (b)"]


def test_ledger_of_a_run_that_goes_on_knows_what_came_before(ledger: Ledger, tmp_path: Path) -> None:
    again = Ledger("STEADY", Journal(tmp_path / "journal.jsonl"))
    assert (again.digests, again.times, again.reports) == (ledger.digests, ledger.times, ledger.reports)


def test_half_a_line_of_a_killed_run_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    path.write_text('{"kind": "killed", "number": 1}\n{"kind": "kil')
    journal = Journal(path)
    journal.add("killed", number=2)
    assert [line["number"] for line in journal.of("killed")] == [1, 2]


def test_same_seed_gives_the_same_studies() -> None:
    first, second = (list(draw_studies(50, 7)) for _ in range(2))
    assert first == second
    assert sum(study.count for study in first) == 50
    assert len({study.uid for study in first}) == len(first)


def test_file_of_results_holds_what_a_part_prints_and_what_it_was_measured_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def part(options: list[str]) -> int:
        print("measured", *options)
        return 1

    monkeypatch.setitem(command._PARTS, "part", (part, ""))
    monkeypatch.setattr(sys, "argv", ["", "part", "--objects", "3", "--result", str(tmp_path / "found.txt")])
    assert command.main() == 1
    assert capsys.readouterr().out == "measured --objects 3\n"
    first, *_, last = (tmp_path / "found.txt").read_text().splitlines()
    assert first == "python -m benchmarks.hospital part --objects 3"
    assert last == "measured --objects 3"


def test_file_of_results_that_cannot_be_written_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["", "memory", "--result", str(tmp_path)])
    assert command.main() == 2
    assert capsys.readouterr().err == f"error: --result {tmp_path}: Is a directory\n"
