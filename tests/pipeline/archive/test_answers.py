"""Answers read again: for drift, and the suspicious first."""

import csv
import io
from pathlib import Path

import pytest

from pipeline.archive import answers
from pipeline.archive.places import Place, open_place
from pipeline.archive.shards import PLAN
from pipeline.cli.drift import drift as command
from pipeline.errors import InputError
from serving.bundle import Bundle
from tests.pipeline.archive.conftest import RELEASE
from tests.pipeline.archive.scorings import damage, rows_like_training, write_answers


@pytest.fixture
def place(opened: Bundle, tmp_path: Path) -> Place:
    """Write two shards of answers, one of which is a refusal and one of another model."""
    found = open_place(str(tmp_path / "out"))
    rows = rows_like_training(opened, 200)
    rows[0] |= {"error_code": "not_a_radiograph", "probability": None}
    rows[1]["model_sha256"] = "f" * 64
    write_answers(found, rows[:100])
    write_answers(found, rows[100:], 1)
    found.write(PLAN, b"{}")
    return found


def test_drift_reads_what_was_scored(
    place: Place, tmp_path: Path, opened: Bundle, capsys: pytest.CaptureFixture[str]
) -> None:
    seen = answers.read_seen(str(tmp_path / "out"), opened)
    assert (seen.images, seen.refused["not_a_radiograph"], seen.other_models) == (198, 1, 1)
    command(str(tmp_path / "out"), bundle=RELEASE)
    assert "nothing moved" in capsys.readouterr().out


def test_drift_reads_one_file(place: Place, tmp_path: Path, opened: Bundle) -> None:
    assert answers.read_seen(str(tmp_path / "out/answers/00001.parquet"), opened).images == 100


def test_a_large_archive_is_sampled(place: Place, opened: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "_MOST_SAMPLED", 50)
    assert 25 < answers.read_seen(place.uri, opened).images < 75


def test_a_folder_of_images_is_no_scoring(tmp_path: Path) -> None:
    assert not answers.is_scored(str(tmp_path))


def test_a_place_without_answers_is_one_line(tmp_path: Path, opened: Bundle) -> None:
    open_place(str(tmp_path)).write(PLAN, b"{}")
    with pytest.raises(InputError, match="holds no finished shard"):
        answers.read_seen(str(tmp_path), opened)


@pytest.mark.parametrize("name", ["", "nowhere"])
def test_another_folder_is_named_as_no_scoring(tmp_path: Path, opened: Bundle, name: str) -> None:
    with pytest.raises(InputError, match="holds no scoring; name what `fracture score` had as --out"):
        answers.read_seen(str(tmp_path / name), opened)


def test_another_parquet_file_is_one_line(tmp_path: Path, opened: Bundle) -> None:
    (tmp_path / "x.parquet").write_text("no")
    with pytest.raises(InputError, match=r"x\.parquet is no Parquet file"):
        answers.read_seen(str(tmp_path / "x.parquet"), opened)


def test_the_most_suspicious_come_first(place: Place) -> None:
    count = answers.write_suspicious(place, 2)
    found = list(csv.DictReader(io.StringIO((place.read(answers.SUSPICIOUS) or b"").decode())))
    assert len(found) == count
    assert {row["suspicion"] for row in found} == {"possible", "high"}
    probabilities = [float(row["probability"]) for row in found]
    assert probabilities == sorted(probabilities, reverse=True)


def test_answers_that_are_damaged_within_are_one_line(place: Place, tmp_path: Path, opened: Bundle) -> None:
    damage(tmp_path / "out/answers/00001.parquet")
    said = r"answers/00001\.parquet: is broken \(.*\); remove it and run `fracture score` again"
    with pytest.raises(InputError, match=said):
        answers.read_seen(str(tmp_path / "out"), opened)
    with pytest.raises(InputError, match=said):
        answers.write_suspicious(place, 2)
