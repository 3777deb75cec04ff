"""Scoring: answers as `fracture predict` gives them, every id once, and gone on with after a kill."""

import json
import os
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import obstore
import pyarrow.parquet as pq
import pytest

from pipeline.archive import manifest, results, status
from pipeline.archive.addresses import parse
from pipeline.archive.engines import LocalEngine, Report
from pipeline.archive.manifest import Manifest, Sources
from pipeline.archive.object_stores import open_store
from pipeline.archive.places import Place, open_place
from pipeline.archive.pseudonyms import Pseudonyms
from pipeline.archive.scoring import Observer, Request, run
from pipeline.archive.shards import PLAN, SUCCESS, Shards, answers_name, block_name
from pipeline.errors import InputError, describe
from serving.bundle import Bundle
from tests.pipeline.archive.conftest import RELEASE, ROOT
from tests.pipeline.archive.scorings import PROGRAM, Engines, rows
from tests.small_disk import mounted


@pytest.fixture
def request_of(shared_manifest: Manifest, opened: Bundle) -> Request:
    """Ask for three shards of two rows."""
    return Request(shared_manifest, opened, shard_rows=2)


def test_answers_are_those_of_predict_to_the_last_digit(
    shared_manifest: Manifest, shared_archive: Path, tmp_path: Path
) -> None:
    command = [
        PROGRAM,
        "score",
        "--manifest",
        str(shared_manifest.path),
        "--out",
        str(tmp_path / "out"),
        "--bundle",
        str(RELEASE),
    ]
    done = subprocess.run([*command, "--actors", "1"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    said = subprocess.run(
        [PROGRAM, "predict", shared_archive, "--jsonl", "--bundle", RELEASE],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    ).stdout
    answers = {parse(one["file"]).uri: one for one in map(json.loads, said.splitlines())}
    found = rows(open_place(str(tmp_path / "out")))
    assert {row["uri"] for row in found} == set(answers)
    for row in found:
        answer = answers[row["uri"]]
        if "error" in answer:
            assert (row["error_code"], row["error_message"]) == (answer["error"]["code"], answer["error"]["message"])
            continue
        for name in ("label", "probability", "threshold", "suspicion"):
            assert row[name] == answer[name]
        for name in ("sha256", "width", "height", "sop_instance_uid"):
            assert row[name] == answer["input"][name]
        assert row["warnings"] == [note["code"] for note in answer["warnings"]]
        assert row["region"] == (answer["region"] and answer["region"]["name"])
        assert row["model_sha256"] == answer["model"]["sha256"]
    assert "every one of 6 images is answered once" in done.stdout


def test_answers_stand_in_shards_of_one_schema(request_of: Request, place: Place, engine: Engines) -> None:
    run(request_of, place, engine(request_of), Observer())
    tables = []
    for one in place.names("answers"):
        with place.opened(one.name) as file:
            tables.append(pq.read_table(file))
    assert [table.num_rows for table in tables] == [2, 2, 2]
    assert all(table.schema.remove_metadata().equals(results.SCHEMA) for table in tables)
    ids = [entry.id for block in request_of.manifest.blocks(0, 6, 6) for entry in block]
    assert [row["id"] for row in rows(place)] == ids


def test_after_success_nothing_is_done(request_of: Request, place: Place, engine: Engines) -> None:
    run(request_of, place, engine(request_of), Observer())
    first = engine(request_of)
    found: list[int] = []
    run(request_of, place, first, Observer(found=found.append))
    assert first.done == []
    assert sum(found) == 6


def test_what_was_interrupted_goes_on(request_of: Request, place: Place, engine: Engines) -> None:
    first = engine(request_of, fails=lambda block: block.shard == 1)
    with pytest.raises(KeyboardInterrupt):
        run(request_of, place, first, Observer())
    assert place.read(SUCCESS) is None
    rest = engine(request_of)
    run(request_of, place, rest, Observer())
    assert first.done + rest.done == [(0, 0), (1, 0), (2, 0)]
    assert Counter(row["id"] for row in rows(place)).most_common(1)[0][1] == 1


def test_a_block_that_is_broken_is_done_again(
    request_of: Request, place: Place, listed: Manifest, engine: Engines
) -> None:
    whole = replace(request_of, shard_rows=6)
    shards = Shards.begin(place, whole.plan())
    place.write(block_name(0, 0), b"PAR1 but cut short")
    first = engine(whole)
    run(whole, place, first, Observer())
    assert first.done == [(0, 0)]
    assert shards.succeeded


def test_a_block_that_is_damaged_in_any_column_is_done_again(
    request_of: Request, place: Place, engine: Engines, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = replace(request_of, shard_rows=6)
    with monkeypatch.context() as changed:
        changed.setattr(Shards, "finish", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            run(whole, place, engine(whole), Observer())
    path = parse(place.uri).file / block_name(0, 0)
    content = path.read_bytes()
    label = pq.ParquetFile(path).metadata.row_group(0).column(results.SCHEMA.names.index("label"))
    start, size = label.dictionary_page_offset or label.data_page_offset, label.total_compressed_size
    path.write_bytes(content[:start] + bytes(size) + content[start + size :])
    assert "1 shards have not begun" in status.report(place)
    again = engine(whole)
    run(whole, place, again, Observer())
    assert again.done == [(0, 0)]


def test_answers_that_are_broken_or_gone_are_named_and_scored_again(
    request_of: Request, place: Place, engine: Engines
) -> None:
    shards = run(request_of, place, engine(request_of), Observer())
    place.write(answers_name(1), b"hello")
    for ask in (lambda: status.report(place), lambda: status.summary(shards)):
        with pytest.raises(InputError, match=r"answers/00001\.parquet: is broken .*; remove it and run"):
            ask()
    place.delete([answers_name(1)])
    assert not shards.succeeded
    again = engine(request_of)
    run(request_of, place, again, Observer())
    assert again.done == [(1, 0)]
    assert len(rows(place)) == 6


@pytest.mark.parametrize(
    "change", [{"rows": "6"}, {"rows": -1}, {"shard_rows": 0}, {"block_rows": 0}, {"model": 5}, {"rows": True}]
)
def test_a_plan_that_was_edited_is_one_line(request_of: Request, place: Place, change: dict[str, Any]) -> None:
    place.write(PLAN, json.dumps(asdict(request_of.plan()) | change).encode())
    with pytest.raises(InputError, match=r"scoring\.json: is broken"):
        status.report(place)


def test_answers_that_are_not_those_of_the_manifest_are_no_success(
    request_of: Request, place: Place, engine: Engines
) -> None:
    run(request_of, place, engine(request_of), Observer())
    shards = Shards(place, request_of.plan())
    place.delete([SUCCESS])
    place.write("answers/00001.parquet", place.read("answers/00000.parquet") or b"")
    with pytest.raises(InputError, match=r"answers/00001\.parquet lack ids of the manifest"):
        run(request_of, place, engine(request_of), Observer())
    assert not shards.succeeded


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda given: replace(given, warn_of_scope=True), "scope"),
        (lambda given: replace(given, pseudonyms=Pseudonyms(b"another key of somebody")), "pseudonyms"),
    ],
)
def test_another_scoring_in_the_place_is_refused(
    request_of: Request, place: Place, change: Callable[[Request], Request], named: str, engine: Engines
) -> None:
    Shards.begin(place, request_of.plan())
    with pytest.raises(InputError, match=f"holds another scoring; it differs in {named}"):
        run(change(request_of), place, engine(request_of), Observer())


def test_another_manifest_is_refused(request_of: Request, place: Place, archive: Path, tmp_path: Path) -> None:
    Shards.begin(place, request_of.plan())
    manifest.write(tmp_path / "other.parquet", Sources((str(archive / "2020"),)))
    with pytest.raises(InputError, match="differs in manifest_sha256, rows"):
        Shards.begin(place, replace(request_of, manifest=Manifest(tmp_path / "other.parquet")).plan())


@pytest.mark.parametrize(("out", "said"), [("/proc/out", "cannot be made"), ("{file}", "is a file where a folder")])
def test_a_place_that_cannot_be_made_is_one_line(
    request_of: Request, engine: Engines, tmp_path: Path, out: str, said: str
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=said):
        run(request_of, open_place(out.format(file=tmp_path / "file")), engine(request_of), Observer())


def test_a_second_run_into_the_same_place_is_refused(request_of: Request, place: Place, engine: Engines) -> None:
    def second(_: Report) -> None:
        with pytest.raises(InputError, match="another scoring into this place runs now"):
            run(request_of, place, engine(request_of), Observer())

    run(request_of, place, engine(request_of), Observer(done=second))


def test_pseudonyms_hide_addresses_and_join(
    request_of: Request, place: Place, shared_archive: Path, engine: Engines
) -> None:
    hidden = replace(request_of, pseudonyms=Pseudonyms(b"a key of this hospital"))
    run(hidden, place, engine(hidden), Observer())
    found = rows(place)
    assert str(shared_archive) not in json.dumps(found)
    first = next(iter(request_of.manifest.blocks(0, 1, 1)))[0]
    assert found[0]["uri"] == Pseudonyms(b"a key of this hospital").of(first.uri)
    assert found[0]["id"] != first.id
    assert place.read("_SUCCESS") is not None


@pytest.mark.parametrize("key", ["", "k" * 31])
def test_pseudonyms_need_a_key_as_long_as_the_services(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FRACTURE_PSEUDONYM_KEY", key)
    with pytest.raises(InputError, match="FRACTURE_PSEUDONYM_KEY: --pseudonymise needs a key"):
        Pseudonyms.from_environment()


def test_poison_is_a_row_and_every_id_is_answered_once(
    opened: Bundle, archive: Path, tmp_path: Path, place: Place
) -> None:
    (archive / "crash.png").write_bytes(b"crash ")
    manifest.write(tmp_path / "m.parquet", Sources((str(archive),)))
    asked = Request(Manifest(tmp_path / "m.parquet"), opened)
    run(asked, place, LocalEngine(replace(asked.work(), target="tests.pipeline.archive.poison:run"), 2), Observer())
    found = Counter(row["error_code"] for row in rows(place))
    assert found[None] == 4
    assert found["crashed"] == 1
    assert found.total() == 7


def test_the_status_tells_what_is_done_and_what_failed(request_of: Request, place: Place, engine: Engines) -> None:
    first = engine(request_of, fails=lambda block: block.shard == 2)
    with pytest.raises(KeyboardInterrupt):
        run(request_of, place, first, Observer())
    said = "\n".join(status.report(place))
    assert "1 shards have not begun" in said
    run(request_of, place, engine(request_of), Observer())
    said = "\n".join(status.report(place))
    assert "1 unsupported_format" in said
    assert "complete: every id of the manifest is answered once" in said


def test_a_place_without_a_scoring_is_one_line(place: Place) -> None:
    with pytest.raises(InputError, match="holds no scoring"):
        status.report(place)


def _scores_a_cloud(place: str, archive: Path, opened: Bundle, folder: Path) -> None:
    store = open_store(parse(place))
    for path in archive.rglob("*.*"):
        obstore.put(store, f"in/{path.relative_to(archive)}", path)
    manifest.write(folder / "cloud.parquet", Sources((f"{place}/in",)))
    asked = Request(Manifest(folder / "cloud.parquet"), opened, shard_rows=4)
    out = open_place(f"{place}/out")
    run(asked, out, LocalEngine(asked.work(), 1), Observer())
    assert Counter(row["error_code"] for row in rows(out))[None] == 4
    assert Shards(out, asked.plan()).succeeded
    assert out.names("checkpoints/00000") == []


def test_a_bucket_is_scored_into_a_bucket(bucket: str, archive: Path, opened: Bundle, tmp_path: Path) -> None:
    _scores_a_cloud(bucket, archive, opened, tmp_path)


@pytest.mark.azurite
def test_a_container_is_scored_into_a_container(container: str, archive: Path, opened: Bundle, tmp_path: Path) -> None:
    _scores_a_cloud(container, archive, opened, tmp_path)


def test_a_killed_command_goes_on_and_leaves_no_process(listed: Manifest, tmp_path: Path) -> None:
    command = [
        str(PROGRAM), "score", "--manifest", str(listed.path), "--out", str(tmp_path / "out"), "--bundle", str(RELEASE),
        "--actors", "1", "--shard-rows", "1",
    ]  # fmt: skip
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    end = time.monotonic() + 120
    while not (tmp_path / "out/answers").is_dir() and time.monotonic() < end:
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = rows(open_place(str(tmp_path / "out")))
    assert len({row["id"] for row in found}) == len(found) == 6


class _Busy(BaseHTTPRequestHandler):
    """Hands requests on to S3, and answers every tenth one 503."""

    behind = ""
    count = 0

    def _hand_on(self) -> None:
        type(self).count += 1
        content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if type(self).count % 10 == 3:
            self.send_response(503)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        headers = {name: value for name, value in self.headers.items() if name.lower() != "accept-encoding"}
        answer = httpx.request(
            self.command, f"{self.behind}{self.path}", content=content, headers=headers, trust_env=False, timeout=60
        )
        self.send_response(answer.status_code)
        for name, value in answer.headers.items():
            if name.lower() not in {"transfer-encoding", "connection", "content-length"}:
                self.send_header(name, value)
        length = answer.headers.get("content-length") if self.command == "HEAD" else len(answer.content)
        self.send_header("Content-Length", str(length))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.content)

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _hand_on  # noqa: N815  names of http.server

    def log_message(self, *_: object) -> None: ...


def test_a_store_that_is_busy_costs_no_image(
    bucket: str, opened: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store(parse(bucket))
    for number in range(20):
        obstore.put(store, f"in/{number:02d}.jpg", f"no image {number}".encode())
    _Busy.behind, _Busy.count = os.environ["AWS_ENDPOINT_URL"], 0
    with ThreadingHTTPServer(("127.0.0.1", 0), _Busy) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_address[1]}")
        manifest.write(tmp_path / "m.parquet", Sources((f"{bucket}/in",)))
        asked = Request(Manifest(tmp_path / "m.parquet"), opened, shard_rows=10)
        out = open_place(f"{bucket}/out")
        run(asked, out, LocalEngine(asked.work(), 1), Observer())
        found = rows(out)
        server.shutdown()
    assert _Busy.count > 40
    assert len({row["id"] for row in found}) == 20
    assert {row["error_code"] for row in found} == {"unsupported_format"}


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a file system of 40 KiB."""
    with mounted(tmp_path / "disk", "40k") as disk:
        yield disk


def test_a_full_disk_is_told_and_with_more_room_the_scoring_goes_on(
    request_of: Request, small_disk: Path, engine: Engines
) -> None:
    place = open_place(str(small_disk / "out"))
    with pytest.raises(OSError, match="No space left") as found:
        run(request_of, place, engine(request_of), Observer())
    assert "the disk is full" in (describe(found.value) or "")
    assert place.read(SUCCESS) is None
    subprocess.run(["mount", "-o", "remount,size=1m", small_disk], check=True)
    run(request_of, place, engine(request_of), Observer())
    assert len({row["id"] for row in rows(place)}) == 6
