"""Rows that failed are asked again and replaced; all others stay, and killed anywhere nothing is lost."""

import itertools
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import IO

import pytest

from pipeline.archive import manifest, status
from pipeline.archive.addresses import parse
from pipeline.archive.engines import Report
from pipeline.archive.entries import Entry
from pipeline.archive.manifest import Manifest, Sources
from pipeline.archive.places import Place, Written, open_place
from pipeline.archive.pseudonyms import Pseudonyms
from pipeline.archive.results import Row, error_row
from pipeline.archive.scoring import Observer, Request, run
from pipeline.archive.shards import RETRY, SUCCESS, Block, Shards, answers_name
from pipeline.errors import InputError
from serving.bundle import Bundle
from serving.errors import ImageError
from tests.pipeline.archive.scorings import rows

IMAGES, SHARD = 90, 30
BLOCK = 8
"""Rows of a block of this few."""
AWAY = dict.fromkeys(range(0, 60, 2), "unreadable") | {1: "crashed", 61: "missing"}
"""What fails at first: half of two shards, of which each has two blocks to be asked again, and one image each."""
STILL_AWAY = {4: "unreadable", 8: "timeout"}
"""What fails when it is asked again."""


class StandIn:
    """An engine that answers every image but those of `away`; `asked` are the numbers of the images it was given."""

    def __init__(self, away: Mapping[int, str], pseudonyms: Pseudonyms | None = None) -> None:
        self._away, self._pseudonyms = away, pseudonyms or Pseudonyms()
        self.asked: list[int] = []

    def run(self, shards: Shards, blocks: Iterator[Block], done: Callable[[Report], None]) -> None:
        for block in blocks:
            self.asked += [_number(entry.uri) for entry in block.entries]
            answers = [self._pseudonyms.row(self._row(entry)) for entry in block.entries]
            done(Report(block.shard, block.number, shards.write_block(block, answers)))

    def _row(self, entry: Entry) -> Row:
        code = self._away.get(_number(entry.uri))
        row = error_row(entry, ImageError(code or "", f"the answer of {id(self)}"), "0" * 64, 0.5)
        answer = {"label": "normal", "probability": 0.1, "suspicion": "none", "warnings": [f"answer of {id(self)}"]}
        return row if code else row | answer | {"error_code": None, "error_message": None}


def _number(uri: str) -> int:
    return int(Path(uri).stem)


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    """List files with names of images."""
    folder = tmp_path_factory.mktemp("many") / "images"
    folder.mkdir()
    for number in range(IMAGES):
        (folder / f"{number:02d}.png").write_bytes(b"x")
    manifest.write(folder.parent / "m.parquet", Sources((str(folder),)))
    return Manifest(folder.parent / "m.parquet")


@pytest.fixture
def asked(many: Manifest, opened: Bundle) -> Request:
    """Ask for three shards."""
    return Request(many, opened, shard_rows=SHARD)


def _files(place: Place) -> set[str]:
    folder = parse(place.uri).file
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()} - {".lock"}


WHOLE = {"scoring.json", SUCCESS, *(answers_name(number) for number in range(3))}


def _codes(found: Sequence[Row]) -> dict[int, str]:
    return {number: row["error_code"] for number, row in enumerate(found) if row["error_code"]}


def test_rows_that_failed_are_replaced_and_all_others_stay_as_they_are(asked: Request, place: Place) -> None:
    run(asked, place, StandIn(AWAY), Observer())
    before, untouched = rows(place), place.read(answers_name(2))
    again = StandIn({})
    run(replace(asked, retry=("unreadable", "crashed")), place, again, Observer())
    wanted = [number for number in AWAY if number < 60]
    assert sorted(again.asked) == sorted(wanted)
    after = rows(place)
    assert _codes(after) == {61: "missing"}
    assert [row["id"] for row in after] == [row["id"] for row in before]
    assert [row for number, row in enumerate(after) if number not in wanted] == [
        row for number, row in enumerate(before) if number not in wanted
    ]
    assert place.read(answers_name(2)) == untouched
    assert _files(place) == WHOLE
    assert status.summary(Shards(place, asked.plan()))[0].split() == ["89", "normal,", "suspicion", "none"]


def test_what_fails_again_is_asked_once_a_retry(asked: Request, place: Place) -> None:
    run(asked, place, StandIn(AWAY), Observer())
    for away in (STILL_AWAY, {}):
        again = StandIn(away)
        wanted = _codes(rows(place))
        run(replace(asked, retry=("unreadable",)), place, again, Observer())
        assert sorted(again.asked) == [number for number, code in wanted.items() if code == "unreadable"]
    assert _codes(rows(place)) == {1: "crashed", 8: "timeout", 61: "missing"}


class Killed(BaseException):
    """Of the process."""


class Dying:
    """A place in which the process is killed at the change after `changes` others."""

    def __init__(self, place: Place, changes: int) -> None:
        self.uri, self._place, self._left = place.uri, place, changes
        self.read, self.names, self.opened = place.read, place.names, place.opened

    def _change(self) -> None:
        if self._left == 0:
            raise Killed
        self._left -= 1

    def write(self, name: str, content: bytes) -> None:
        self._change()
        self._place.write(name, content)

    @contextmanager
    def writing(self, name: str) -> Iterator[IO[bytes]]:
        with self._place.writing(name) as file:
            yield file
            self._change()

    def delete(self, names: Sequence[str]) -> None:
        for name in names:
            self._change()
            self._place.delete([name])


@pytest.mark.parametrize("named_again", [True, False])
def test_killed_at_any_change_it_goes_on_with_every_id_once(asked: Request, tmp_path: Path, named_again: bool) -> None:
    retry = replace(asked, retry=("unreadable", "crashed"))
    for changes in itertools.count():
        place = open_place(str(tmp_path / f"{changes}"))
        run(asked, place, StandIn(AWAY), Observer())
        before = rows(place)
        first = StandIn(STILL_AWAY)
        try:
            run(retry, Dying(place, changes), first, Observer())
            break
        except Killed:
            pass
        assert [row["id"] for row in rows(place)] == [row["id"] for row in before]
        has_begun, was_over = place.read(RETRY) is not None, place.read(RETRY) is None and changes > 0
        rest = StandIn(STILL_AWAY)
        run(retry if named_again and not was_over else asked, place, rest, Observer())
        assert [row["id"] for row in rows(place)] == [row["id"] for row in before]
        assert _files(place) == WHOLE
        if has_begun or named_again:
            assert _codes(rows(place)) == STILL_AWAY | {61: "missing"}
            twice = Counter(first.asked + rest.asked).total() - len(AWAY) + 1
            assert twice <= BLOCK  # those of the block that was being written
    assert changes > 10


def test_a_retry_that_is_not_over_takes_no_others(asked: Request, place: Place) -> None:
    run(asked, place, StandIn(AWAY), Observer())
    with pytest.raises(Killed):
        run(replace(asked, retry=("unreadable",)), Dying(place, 3), StandIn({}), Observer())
    with pytest.raises(InputError, match="failed with unreadable are asked again, and not all are yet; run the comm"):
        run(replace(asked, retry=("missing",)), place, StandIn({}), Observer())


def test_answers_that_are_removed_meanwhile_are_scored_again(asked: Request, place: Place) -> None:
    run(asked, place, StandIn(AWAY), Observer())
    with pytest.raises(Killed):
        run(replace(asked, retry=("unreadable",)), Dying(place, 3), StandIn({}), Observer())
    place.delete([answers_name(0), answers_name(2)])
    run(asked, place, StandIn({}), Observer())
    assert _codes(rows(place)) == {}
    assert _files(place) == WHOLE


@pytest.mark.parametrize("code", ["unreachable", "internal,missing", "timeout"])
def test_a_code_that_no_row_has_is_named_and_changes_nothing(asked: Request, place: Place, code: str) -> None:
    run(asked, place, StandIn(AWAY), Observer())
    named = code.removesuffix(",missing")
    said = f"--retry {named}: no row of .* failed with that; rows that failed: 30 unreadable, 1 crashed, 1 missing"
    with pytest.raises(InputError, match=said):
        run(replace(asked, retry=tuple(code.split(","))), place, StandIn({}), Observer())
    assert _files(place) == WHOLE


def test_where_nothing_failed_it_says_so(asked: Request, place: Place) -> None:
    run(asked, place, StandIn({}), Observer())
    with pytest.raises(InputError, match=r"no row of .* failed with that; rows that failed: none"):
        run(replace(asked, retry=("missing",)), place, StandIn({}), Observer())


def test_what_is_not_scored_is_not_asked_again(asked: Request, place: Place) -> None:
    with pytest.raises(InputError, match="holds no scoring whose rows could be asked again"):
        run(replace(asked, retry=("missing",)), place, StandIn({}), Observer())
    assert not parse(place.uri).file.exists()
    Shards.begin(place, asked.plan())
    with pytest.raises(InputError, match="is not complete; run the command without --retry first"):
        run(replace(asked, retry=("missing",)), place, StandIn({}), Observer())


def test_another_scoring_is_not_opened_again(asked: Request, place: Place) -> None:
    run(asked, place, StandIn(AWAY), Observer())
    with pytest.raises(InputError, match="holds another scoring; it differs in scope"):
        run(replace(asked, retry=("missing",), warn_of_scope=True), place, StandIn({}), Observer())
    assert _files(place) == WHOLE


def test_answers_of_other_rows_are_named(asked: Request, place: Place) -> None:
    run(asked, place, StandIn(AWAY), Observer())
    place.write(answers_name(1), place.read(answers_name(0)) or b"")
    with pytest.raises(InputError, match=r"answers/00001\.parquet lack ids of the manifest; remove them and run"):
        run(replace(asked, retry=("unreadable",)), place, StandIn({}), Observer())


def test_pseudonyms_are_those_of_the_first_run(asked: Request, place: Place) -> None:
    hidden = replace(asked, pseudonyms=Pseudonyms(b"a key of this hospital"))
    run(hidden, place, StandIn(AWAY, hidden.pseudonyms), Observer())
    before = rows(place)
    run(replace(hidden, retry=("unreadable",)), place, StandIn({}, hidden.pseudonyms), Observer())
    after = rows(place)
    assert [(row["id"], row["uri"]) for row in after] == [(row["id"], row["uri"]) for row in before]
    assert _codes(after) == {1: "crashed", 61: "missing"}


def test_the_observer_is_told_which_rows_are_open_again(asked: Request, place: Place) -> None:
    run(asked, place, StandIn(AWAY), Observer())
    told: list[int] = []
    observer = Observer(found=told.append, done=lambda report: told.append(report.counts.rows))
    with pytest.raises(Killed):
        run(replace(asked, retry=("unreadable",)), Dying(place, 3), StandIn({}), observer)
    assert sum(told) == IMAGES - 30 + BLOCK
    told.clear()
    run(asked, place, StandIn({}), observer)
    assert told[:2] == [IMAGES, BLOCK - 30]
    assert sum(told) == IMAGES


def test_the_status_tells_what_is_asked_again(asked: Request, place: Place) -> None:
    run(asked, place, StandIn(AWAY), Observer())
    with pytest.raises(Killed):
        run(replace(asked, retry=("unreadable", "crashed")), Dying(place, 8), StandIn({}), Observer())
    said = status.report(place)
    assert "asked again: 31 rows that failed with unreadable, crashed; 24 done" in said
    assert not any("complete" in line for line in said)
    run(asked, place, StandIn({}), Observer())
    assert status.report(place)[-1] == "complete: every id of the manifest is answered once"
    assert not any("asked again" in line for line in status.report(place))


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"{}", json.dumps({"name": "../..", "codes": ["missing"], "rows": {}}).encode()]
)
def test_a_broken_record_of_it_is_one_line(asked: Request, place: Place, content: bytes) -> None:
    run(asked, place, StandIn(AWAY), Observer())
    place.write(RETRY, content)
    for ask in (lambda: run(asked, place, StandIn({}), Observer()), lambda: status.report(place)):
        with pytest.raises(InputError, match=r"retry\.json: is broken; remove it, and give --retry again"):
            ask()


def test_it_goes_on_in_a_bucket(asked: Request, store: str) -> None:
    place = open_place(f"{store}/out")
    run(asked, place, StandIn(AWAY), Observer())
    with pytest.raises(Killed):
        run(replace(asked, retry=("unreadable",)), Dying(place, 3), StandIn({}), Observer())
    run(asked, place, StandIn({}), Observer())
    assert _codes(rows(place)) == {1: "crashed", 61: "missing"}
    assert [one.name for one in _every(place)] == []


def _every(place: Place) -> list[Written]:
    return [*place.names("retries"), *place.names("checkpoints")]
