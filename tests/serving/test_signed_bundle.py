"""FRACTURE_TRUSTED_KEYS: whatever answers refuses a bundle that nobody signed, and loads what it verified."""

import re
import shutil
from collections import Counter
from collections.abc import Callable
from multiprocessing import Pipe
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from starlette.testclient import TestClient

from hospital.scoring.pool import PoolScorer
from pipeline.archive import child
from pipeline.archive.addresses import Roots
from serving import bundle
from serving.errors import BundleError, SettingsError
from serving.http import worker
from serving.http.admission import Engine
from serving.http.app import create_app
from serving.http.settings import Settings
from serving.predictor import Predictor
from serving.signature import VARIABLE, beside
from tests.conftest import ROOT
from tests.signer import Signer

RELEASE = sorted((ROOT / "models").glob("*/bundle"))[-1]
SIGNER = Signer()

Start = Callable[[Path], object]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The release's bundle, to be broken; nobody signed it."""
    return Path(shutil.copytree(RELEASE, tmp_path / "bundle"))


@pytest.fixture
def trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, str(SIGNER.write_public(tmp_path / "trusted.pub")))


def _service(folder: Path) -> None:
    worker.start(folder, folder.parent, Settings()).state.engine.close()


def _gateway(folder: Path) -> None:
    PoolScorer(folder, 1).close()


def _archive(folder: Path) -> None:
    digest = bundle.read_manifest(folder).digest
    child.Scoring(folder, digest, Roots.of([str(folder)])).predictor(lambda _: None)


STARTS = [_service, _gateway, _archive]


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.usefixtures("trusted")
def test_an_unsigned_bundle_is_refused_at_start(folder: Path, start: Start) -> None:
    with pytest.raises(BundleError, match=r"bundle\.sig: not found"):
        start(folder)


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.usefixtures("trusted")
def test_a_bundle_that_was_packaged_anew_after_it_was_signed_is_refused_at_start(folder: Path, start: Start) -> None:
    SIGNER.sign(folder)
    raw = bundle.read_manifest(folder).model_dump(mode="json", exclude={"files", "digest", "schema_version"})
    bundle.write(folder, {**raw, "threshold": 0.9})
    with pytest.raises(BundleError, match=r"model\.json: is not what was signed"):
        start(folder)


@pytest.mark.parametrize("start", STARTS)
def test_keys_that_cannot_be_used_are_refused_at_start(
    folder: Path, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    SIGNER.sign(folder)
    monkeypatch.setenv(VARIABLE, "")
    with pytest.raises(SettingsError, match="is set, but names no key"):
        start(folder)


@pytest.mark.usefixtures("trusted")
def test_a_signed_bundle_scores_an_archive(folder: Path) -> None:
    SIGNER.sign(folder)
    _archive(folder)


@pytest.mark.usefixtures("trusted")
def test_an_archives_child_says_in_a_line_why_it_does_not_begin(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[child.Message] = []
    ours, theirs = Pipe()
    monkeypatch.setattr(child.signal, "signal", lambda *_: None)  # it is no child here
    monkeypatch.setattr(child.cv2, "setNumThreads", lambda _: None)
    asked = child.Scoring(folder, bundle.read_manifest(folder).digest, Roots.of([str(folder)]))
    for keys in (None, ""):
        if keys is not None:
            monkeypatch.setenv(VARIABLE, keys)
        child.run(theirs, asked)
        said.append(ours.recv())
    unsigned, no_key = said
    assert isinstance(unsigned, child.Failed)
    assert isinstance(no_key, child.Failed)
    assert "bundle.sig: not found" in unsigned.reason
    assert no_key.reason.startswith(VARIABLE)


@pytest.mark.usefixtures("trusted")
def test_what_is_loaded_is_what_was_verified(folder: Path) -> None:
    SIGNER.sign(folder)
    opened = bundle.read(folder)
    sample = opened.manifest.samples[0]
    content = (folder / sample).read_bytes()
    before = Predictor(bundle.read(RELEASE, unsigned=True)).predict(content).answer()
    for path in folder.rglob("*"):
        if path.is_file():
            path.write_bytes(b"changed afterwards")
    assert Predictor(opened).predict(content).answer() == before
    assert opened.content_of(sample) == content


@pytest.mark.usefixtures("trusted")
def test_every_file_is_read_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second read could find another file than the one that was verified."""
    SIGNER.sign(folder)
    reads: Counter[Path] = Counter()
    plain = Path.read_bytes

    def read(self: Path) -> bytes:
        content = plain(self)
        if folder in self.parents:
            reads[self] += 1
            self.write_bytes(b"changed as soon as it was read")
        return content

    monkeypatch.setattr(Path, "read_bytes", read)
    found = bundle.read(folder)
    content = found.content_of(found.manifest.samples[0])
    Predictor(found).predict(content)
    assert set(reads.values()) == {1}
    assert len(reads) == len(found.manifest.files) + 1


@pytest.mark.usefixtures("trusted")
def test_the_service_shows_the_samples_that_were_verified(folder: Path) -> None:
    SIGNER.sign(folder)
    app = create_app()
    app.state.engine = Engine(bundle.read(folder), Settings(), CollectorRegistry())
    name = app.state.engine.predictor.bundle.manifest.samples[0]
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(b"another picture")
    assert TestClient(app).get(f"/{name}").content == content
    app.state.engine.close()


@pytest.mark.usefixtures("trusted")
def test_the_bundle_of_a_release_has_its_signature_in_the_release(tmp_path: Path) -> None:
    release = tmp_path / "release"
    shutil.copytree(RELEASE, release / "bundle")
    SIGNER.sign(release / "bundle")
    assert bundle.read(release).signed_by == SIGNER.public
    assert beside(release / "bundle") == release / "bundle.sig"


@pytest.mark.usefixtures("trusted")
def test_a_bundle_reached_by_a_link_has_its_signature_beside_itself(folder: Path, tmp_path: Path) -> None:
    SIGNER.sign(folder)
    (tmp_path / "current").symlink_to(folder)
    assert bundle.read(tmp_path / "current").signed_by == SIGNER.public


@pytest.mark.usefixtures("trusted")
def test_a_gateway_scores_with_its_signed_bundle_and_not_with_one_that_replaces_it(folder: Path) -> None:
    SIGNER.sign(folder)
    scorer = PoolScorer(folder, 1)
    try:
        assert scorer.score(sorted((folder / "samples").iterdir())[0].read_bytes()).answer.label
        raw = bundle.read_manifest(folder).model_dump(mode="json", exclude={"files", "digest", "schema_version"})
        bundle.write(folder, {**raw, "threshold": 0.9})
        SIGNER.sign(folder)
        scorer._replace(scorer._pool)
        with pytest.raises(Exception, match="the process that scored the image ended"):
            scorer.score(sorted((folder / "samples").iterdir())[0].read_bytes())
    finally:
        scorer.close()


def test_only_what_makes_or_describes_bundles_opens_them_without_asking_for_a_signature() -> None:
    found = set()
    for top in ("serving", "hospital", "pipeline"):
        for path in (ROOT / top).rglob("*.py"):
            if re.search(r"\bunsigned=True", path.read_text()):
                found.add(path.relative_to(ROOT).as_posix())
    assert found == {
        "pipeline/cli/package.py", "pipeline/cli/releasing.py", "pipeline/monitoring/trace.py",
        "pipeline/packaging/bento.py", "pipeline/packaging/bundle.py", "pipeline/packaging/change_plan.py",
        "pipeline/packaging/model_card.py", "pipeline/packaging/recalibration.py",
    }  # fmt: skip
