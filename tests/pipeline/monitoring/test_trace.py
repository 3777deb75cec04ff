"""`fracture trace` on a registered, promoted, packaged and signed model, and on what is wrong with each link."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from typer.testing import CliRunner

from pipeline import cli
from pipeline.errors import InputError
from pipeline.files import write_json
from pipeline.monitoring import trace
from pipeline.monitoring.trace import Chain, Packaged
from pipeline.registry.mlflow import Registry, connect
from serving import bundle
from serving.store.database import Database
from serving.store.records import AnswerRecord
from tests.pipeline.project import Project
from tests.signer import Signer

NAME = "bone-fracture"
CHAIN = [
    "signature",
    "registry version",
    "run",
    "git commit",
    "data version",
    "split",
    "validation report",
    "promotion",
]
SIGNER = Signer()
IMAGE = sha256(b"an image").hexdigest()


@dataclass(frozen=True)
class Traced:
    """A project whose every link is there; `answer` stands in its store."""

    root: Path
    folder: Path
    registry: Registry
    answer: AnswerRecord
    store: str
    key: Path

    def chain(self, **origin: Any) -> Chain:
        """What is behind its bundle, whose origin is said to be another one."""
        manifest = bundle.read_manifest(self.folder)
        other = manifest.model_copy(update={"origin": manifest.origin.model_copy(update=origin)})
        return Chain(self.root, Packaged(self.folder, other), [SIGNER.public], self.registry)

    def command(self, *words: object) -> tuple[int, list[str]]:
        """Exit code and lines of `fracture trace`."""
        given = ["trace", *map(str, words), "--store", self.store, "--key", str(self.key)]
        done = CliRunner().invoke(cli.assemble(given), given)
        if done.exception and not isinstance(done.exception, SystemExit):
            raise done.exception
        return done.exit_code, done.output.splitlines()


def _git(root: Path, answer: Project) -> str:
    (root / "data.dvc").write_text("outs:\n- md5: 0123.dir\n  path: data\n")
    answer.run("git", "init", "-q", "-b", "main")
    answer.run("git", "add", "-f", "data.dvc", "params.yaml", "dvc.yaml")
    answer.run("git", "commit", "-qm", "start")
    return answer.run("git", "rev-parse", "HEAD").strip()


def _list_images(root: Path) -> None:
    """What validate writes of every image, but for what nobody reads here."""
    labels = pd.read_csv(root / "data/labels.csv", dtype=str)
    hashes = [sha256((root / "data" / file).read_bytes()).hexdigest() for file in labels["file"]]
    labels.assign(sha256=hashes)[["image_id", "file", "sha256"]].to_csv(root / "reports/images.csv", index=False)


@pytest.fixture(scope="module")
def traced(packaged_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Traced]:
    root = tmp_path_factory.mktemp("traced") / "project"
    shutil.copytree(packaged_folder, root, symlinks=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{root}/mlflow.db")
        patch.delenv("FRACTURE_BUNDLE", raising=False)
        commit = _git(root, Project(root))
        registry = connect()
        digest = sha256((root / "data.dvc").read_bytes()).hexdigest()
        registry.set_version_tags(NAME, "1", {"git_commit": commit, "data_dvc_sha256": digest})
        (folder,) = (root / "build/bundle").glob(f"{NAME}-1")
        facts = bundle.read_manifest(folder).model_dump(mode="json", exclude={"files", "digest", "schema_version"})
        manifest = bundle.write(folder, {**facts, "origin": {**facts["origin"], "git_commit": commit}})
        report = {
            "images": 90, "failures": [], "warnings": [],
            "dataset": {"name": manifest.trained_on.name, "version": manifest.trained_on.version},
        }  # fmt: skip
        write_json(root / "reports/validation.json", report)
        shutil.copy(
            root / "reports/validation.json", root / "mlartifacts" / manifest.origin.run_id / "artifacts/reports"
        )
        _list_images(root)
        SIGNER.sign(folder)
        answer = AnswerRecord(
            "a" * 32, datetime(2026, 3, 1, tzinfo=UTC), "request-1", "predict", "north", "ward", manifest.name,
            manifest.version, manifest.files[bundle.MODEL], None, IMAGE, "fractured", 0.9, 0.5, "likely",
        )  # fmt: skip
        store = f"sqlite:///{root}/answers.db"
        opened = Database(store)
        opened.upgrade()
        opened.add_answers([answer])
        opened.close()
        key = SIGNER.write_public(root / "trusted.pub")
        yield Traced(root, folder, registry, answer, store, key)


@pytest.mark.parametrize("name", ["a" * 32, "request-1", IMAGE])
def test_an_answer_is_followed_back_to_its_data(traced: Traced, name: str) -> None:
    code, lines = traced.command(name)
    assert (code, [line[:16].strip() for line in lines]) == (0, ["found"] * 10), lines
    assert [line[16:36].strip() for line in lines] == ["answer", "bundle", *CHAIN]
    assert "site north, fractured, probability 0.9" in lines[0]
    assert lines[-1].endswith("passed its gates")


def test_a_model_is_followed_back_without_a_store(traced: Traced) -> None:
    for name in (traced.answer.model_sha256, bundle.read_manifest(traced.folder).digest):
        code, lines = traced.command(name)
        assert (code, [line[16:36].strip() for line in lines]) == (0, ["bundle", *CHAIN]), lines


def _states(chain: Chain) -> dict[str, str]:
    return {link.name: link.state for link in chain.links()}


@pytest.mark.parametrize(
    ("origin", "wrong"),
    [
        ({"registry_version": "7"}, {"registry version": "missing", "data version": "missing", "promotion": "missing"}),
        (
            {"run_id": "0" * 32},
            {"registry version": "does not match", "run": "missing", "validation report": "missing"},
        ),
        ({"git_commit": "0" * 40}, {"registry version": "does not match", "git commit": "missing"}),
        ({"git_commit": "--output=x"}, {"registry version": "does not match", "git commit": "missing"}),
        ({"data_hash": "0" * 64}, {"registry version": "does not match"}),
        ({"split_hash": "0" * 64}, {"registry version": "does not match", "split": "missing"}),
        ({"weights_sha256": "0" * 64}, {"registry version": "does not match"}),
    ],
)
def test_a_bundle_that_names_another_origin_does_not_match(
    traced: Traced, origin: dict[str, str], wrong: dict[str, str]
) -> None:
    assert _states(traced.chain(**origin)) == dict.fromkeys(CHAIN, "found") | wrong


def test_a_model_of_changed_files_does_not_match_its_commit(traced: Traced) -> None:
    commit = bundle.read_manifest(traced.folder).origin.git_commit
    states = _states(traced.chain(git_commit=f"{commit}-dirty"))
    assert states["git commit"] == "does not match"


def test_an_unsigned_bundle_is_a_missing_link(traced: Traced, tmp_path: Path) -> None:
    shutil.copytree(traced.folder, tmp_path / "bundle")
    code, lines = traced.command(traced.answer.answer_id, "--bundle", tmp_path / "bundle")
    assert (code, lines[2][:36].split()) == (3, ["missing", "signature"])


def test_an_altered_bundle_does_not_match(traced: Traced, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(traced.folder, tmp_path / "bundle"))
    SIGNER.sign(folder)
    (folder / bundle.REFERENCE).write_bytes(b"another")
    code, lines = traced.command(traced.answer.answer_id, "--bundle", folder)
    assert code == 4
    assert [line[:16].strip() for line in lines[1:3]] == ["does not match"] * 2
    assert "reference.npz" in lines[1]
    assert "reference.npz" in lines[2]


def test_an_answer_of_a_model_that_is_not_here_is_a_missing_link(traced: Traced) -> None:
    known, _ = trace.bundles(traced.root, None)
    link, packaged = trace.bundle_link(replace(traced.answer, model_sha256="0" * 64), known)
    assert (link.state, packaged) == ("missing", None)


def test_a_bundle_that_cannot_be_read_is_named_where_one_is_missing(traced: Traced, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(traced.folder, tmp_path / "models/one/bundle"))
    (folder / bundle.MANIFEST).write_text("{}")
    known, faults = trace.bundles(tmp_path, None)
    link, _ = trace.bundle_link(traced.answer, known, faults)
    assert link.state == "missing"
    assert f"not readable: {folder / bundle.MANIFEST}" in link.text


def test_an_answer_that_names_another_version_of_the_network_does_not_match(traced: Traced) -> None:
    known, _ = trace.bundles(traced.root, None)
    link, packaged = trace.bundle_link(replace(traced.answer, model_version="2"), known)
    assert link.state == "does not match"
    assert packaged is not None


def test_a_changed_split_does_not_match(traced: Traced, tmp_path: Path) -> None:
    for name in ("prepared", "reports"):
        shutil.copytree(traced.root / name, tmp_path / name)
    table = tmp_path / "prepared/split.csv"
    table.write_text(table.read_text().replace(",train,", ",test,", 1))
    states = _states(replace(traced.chain(), root=tmp_path))
    assert states["split"] == "does not match"


def test_the_data_version_is_found_in_an_earlier_commit(traced: Traced, tmp_path: Path) -> None:
    shutil.copytree(traced.root / ".git", tmp_path / ".git")
    (tmp_path / "data.dvc").write_text("outs:\n- md5: 4567.dir\n  path: data\n")
    state, text = replace(traced.chain(), root=tmp_path)._data()
    assert state == "found"
    assert "0123.dir" in text


def test_a_registry_that_does_not_answer_is_said_in_every_link_that_needs_it(traced: Traced) -> None:
    chain = replace(traced.chain(), registry=None, silent="the server is away")
    missing = [link.name for link in chain.links() if link.text == "the server is away"]
    assert missing == ["registry version", "run", "data version", "validation report", "promotion"]


@pytest.mark.parametrize("name", ["nobody", "0" * 64])
def test_a_name_that_nobody_knows_is_one_line(traced: Traced, name: str) -> None:
    with pytest.raises(InputError, match="the store knows no answer, request or image of this name"):
        traced.command(name)


def test_an_answer_needs_a_store(traced: Traced, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FRACTURE_STORE_URL", raising=False)
    given = ["trace", "request-1"]
    done = CliRunner().invoke(cli.assemble(given), given)
    assert isinstance(done.exception, InputError)
    assert "set FRACTURE_STORE_URL or name it with --store" in str(done.exception)


def test_an_empty_registry_is_not_made(traced: Traced, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    code, lines = traced.command(traced.answer.answer_id)
    assert code == 3
    assert f"{tmp_path}/mlflow.db: not found" in lines[3]
    assert not (tmp_path / "mlflow.db").exists()
