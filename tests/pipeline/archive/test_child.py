"""What a child does: bytes ahead of the decoder, and the hash of what it refuses."""

from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path

import obstore
import pytest

from pipeline.archive import child
from pipeline.archive.addresses import Roots, parse
from pipeline.archive.fetching import Fetcher
from pipeline.archive.manifest import Sources
from pipeline.archive.object_stores import open_store
from serving import guard
from serving.bundle import Bundle
from serving.errors import ImageError
from serving.predictor import Limits
from tests.pipeline.archive.conftest import SAMPLES


def test_files_and_objects_may_stand_in_one_block(bucket: str, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"file")
    obstore.put(open_store(parse(bucket)), "b.png", b"object")
    named = (str(tmp_path), bucket)
    entries = list(Sources(named).entries(lambda _: None))
    entries.append(entries[0])
    with ThreadPoolExecutor(1) as pool:
        ahead = child.Ahead(Fetcher(Roots.of(named)), pool, entries)
        assert [ahead.content(number) for number in range(3)] == [b"file", b"object", b"file"]


def test_an_image_that_the_network_refuses_keeps_its_hash(opened: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise ImageError("not_a_radiograph", "it is none")

    monkeypatch.setattr(guard, "check_radiograph", refuse)
    predictor = child.ObservedPredictor(opened, Limits(), lambda _: None)
    content = SAMPLES[0].read_bytes()
    predictor.begin(7)
    prepared = predictor.prepare(content)
    with pytest.raises(ImageError, match="it is none"):
        predictor.infer(prepared)
    assert predictor.hashes == {7: sha256(content).hexdigest()}
