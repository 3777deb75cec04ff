"""From an answer back to the data: every link of the chain, found, missing or not matching the one before it."""

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pandas as pd

from pipeline import git
from pipeline.artifacts import Artifacts, PreparedRecord, TrainingRecord
from pipeline.errors import InputError
from pipeline.late import late
from pipeline.registry import champion
from pipeline.registry.mlflow import Registry
from pipeline.registry.records import ModelVersion, Run
from pipeline.registry.tracking import TrackingError
from serving import bundle, signature
from serving.bundle import Manifest
from serving.errors import BundleError
from serving.signature import PublicKey
from serving.store.records import AnswerRecord

if TYPE_CHECKING:
    from pipeline import preprocess, register
else:
    preprocess = late("pipeline.preprocess")
    register = late("pipeline.register")

State = Literal["found", "missing", "does not match"]
_SHA256 = re.compile(r"[0-9a-f]{64}")
_COMMIT = re.compile(r"[0-9a-f]{7,64}")
_HASHES = ("data_hash", "split_hash", "test_hash", "git_commit")
_DIRTY = "-dirty"


@dataclass(frozen=True)
class Link:
    """One link: its name, whether it holds, and what it says or what is wrong with it."""

    name: str
    state: State
    text: str


@dataclass(frozen=True)
class Packaged:
    """A bundle of this checkout by its folder; `fault` says what is wrong with its files, empty where nothing is."""

    folder: Path
    manifest: Manifest
    fault: str = ""


def is_hash(name: str) -> bool:
    """Whether a name may be a sha256."""
    return bool(_SHA256.fullmatch(name))


def bundles(root: Path, named: Path | None) -> tuple[list[Packaged], list[str]]:
    """The bundle that was named, else every one of this checkout: releases, and what was packaged here.

    Beside them what is wrong with those whose model.json cannot be read; BundleError if it is the one that was named.
    """
    paths = Artifacts(root)
    folders = [*sorted(paths.releases.glob("*/bundle")), *sorted(paths.bundles.glob("[!.]*")), root / "bundle"]
    if named:
        inner = named / "bundle"
        folders = [inner if inner.is_dir() and not (named / bundle.MANIFEST).exists() else named]
    found, faults = [], []
    for folder in folders:
        if not named and not (folder / bundle.MANIFEST).is_file():
            continue
        try:
            found.append(_packaged(folder))
        except BundleError as error:
            if named:
                raise
            faults.append(str(error))
    return found, faults


def _packaged(folder: Path) -> Packaged:
    manifest = bundle.read_manifest(folder)
    try:
        bundle.read(folder, unsigned=True)
    except BundleError as error:
        return Packaged(folder, manifest, str(error))
    return Packaged(folder, manifest)


def names_model(name: str, packaged: Packaged) -> bool:
    """Whether a sha256 is that of a bundle's network, of its model.json's content, or of its weights."""
    manifest = packaged.manifest
    return name in {manifest.files.get(bundle.MODEL), manifest.digest, manifest.origin.weights_sha256}


def answer_link(row: AnswerRecord) -> Link:
    """What the store says of one answer."""
    said = f"refused ({row.refused})" if row.refused else f"{row.label}, probability {row.probability}"
    at = row.at.isoformat(timespec="seconds")
    where = f"site {row.site}, " if row.site else ""
    text = f"{row.answer_id}, {at}, {where}{said}, by {row.model_name} {row.model_version} ({row.model_sha256[:12]})"
    return Link("answer", "found", text)


def bundle_link(
    row: AnswerRecord, known: Sequence[Packaged], faults: Sequence[str] = ()
) -> tuple[Link, Packaged | None]:
    """The bundle that gave an answer; `faults` are what is wrong with bundles that cannot be read."""
    same = [each for each in known if each.manifest.files.get(bundle.MODEL) == row.model_sha256]
    named = [
        each for each in same if (each.manifest.name, each.manifest.version) == (row.model_name, row.model_version)
    ]
    chosen = next(iter(named or same), None)
    if chosen is None:
        text = f"no bundle here has the network {row.model_sha256}; name its folder with --bundle"
        return Link("bundle", "missing", "; not readable: ".join([text, *faults])), None
    if not named:
        found = f"{chosen.manifest.name} {chosen.manifest.version}"
        text = f"{chosen.folder}: is {found}, but the answer is of {row.model_name} {row.model_version}"
        return Link("bundle", "does not match", text), chosen
    return whole(chosen), chosen


def whole(packaged: Packaged) -> Link:
    """Whether a bundle's files are those that its model.json lists."""
    if packaged.fault:
        return Link("bundle", "does not match", packaged.fault)
    facts = packaged.manifest
    text = f"{packaged.folder}: {facts.name} {facts.version}, network {facts.files[bundle.MODEL][:12]}, all files whole"
    return Link("bundle", "found", text)


@dataclass(frozen=True)
class Chain:
    """The links behind one bundle; `registry` is None, with its line in `silent`, where MLflow does not answer."""

    root: Path
    packaged: Packaged
    keys: Sequence[PublicKey]
    registry: Registry | None
    silent: str = ""

    def links(self) -> Iterator[Link]:
        """Every link behind the bundle, in order."""
        for name, check in (
            ("signature", self._signature),
            ("registry version", self._version),
            ("run", self._run),
            ("git commit", self._commit),
            ("data version", self._data),
            ("split", self._split),
            ("validation report", self._validation),
            ("promotion", self._promotion),
        ):
            try:
                state, text = check()
            except TrackingError as error:
                state, text = "missing", str(error)
            yield Link(name, state, text)

    @property
    def _manifest(self) -> Manifest:
        return self.packaged.manifest

    @cached_property
    def _registered(self) -> ModelVersion | None:
        """The version that the bundle names; None where the registry has none, or does not answer."""
        origin = self._manifest.origin
        if self.registry is None:
            return None
        known = self.registry.versions(origin.registered_model)
        if origin.registry_version not in {version.version for version in known}:
            return None
        return self.registry.version(origin.registered_model, origin.registry_version)

    @cached_property
    def _known_run(self) -> Run | None:
        return self.registry.find_run(self._manifest.origin.run_id) if self.registry else None

    def _signature(self) -> tuple[State, str]:
        path = signature.beside(self.packaged.folder)
        if not path.is_file():
            return "missing", f"{path}: not found; make it: fracture sign {self.packaged.folder} --key KEY.pem"
        if not self.keys:
            return (
                "missing",
                f"{path}: is there, but no key to check it with; name one with --key",
            )
        try:
            _, key = signature.verified(self.packaged.folder, self.keys, keep=False)
        except BundleError as error:
            return "does not match", str(error)
        return "found", f"{path}: made with the key {key}, all files as they were signed"

    def _version(self) -> tuple[State, str]:
        origin, found = self._manifest.origin, self._registered
        named = f"{origin.registered_model} version {origin.registry_version}"
        if found is None:
            return "missing", self.silent or f"the registry has no {named}"
        differs = [
            f"{key} {found.tags.get(key, 'unknown')} instead of {getattr(origin, key)}"
            for key in _HASHES
            if found.tags.get(key) != getattr(origin, key)
        ]
        if found.run_id != origin.run_id:
            differs.append(f"run {found.run_id} instead of {origin.run_id}")
        if not self._manifest.recalibrated and found.tags.get("content_hash") != self._content_hash():
            differs.append("another content hash than that of the bundle's weights, preprocessing and operating points")
        if differs:
            return "does not match", f"{named} has {'; '.join(differs)}"
        return "found", f"{named}, gates {found.tags.get('gates', 'unknown')}; content and hashes are the bundle's"

    def _content_hash(self) -> str:
        facts = self._manifest.model_dump(mode="json", include={"classes", "preprocessing"})
        parts = {**facts, "weights_sha256": self._manifest.origin.weights_sha256}
        return str(register.content_hash_of(parts, self._manifest.decision()))

    def _run(self) -> tuple[State, str]:
        run = self._known_run
        if run is None:
            return "missing", self.silent or f"the registry has no run {self._manifest.origin.run_id}"
        stated = self._manifest.quality.get("test", {}).get("auroc", {}).get("value")
        logged = run.metrics.get("test_auroc")
        if stated is not None and (logged is None or abs(logged - stated) > 1e-6):
            return "does not match", f"{run.id} has a test AUROC of {logged}, the bundle says {stated}"
        return "found", f"{run.id}, test AUROC {logged}, {len(run.params)} parameters"

    def _commit(self) -> tuple[State, str]:
        named = self._manifest.origin.git_commit
        commit = named.removesuffix(_DIRTY)
        known = _COMMIT.fullmatch(commit)
        subject = _git(self.root, "show", "--no-patch", "--format=%cs %s", f"{commit}^{{commit}}") if known else None
        if subject is None:
            return "missing", f"{named}: this checkout has no such commit"
        if named.endswith(_DIRTY):
            return "does not match", f"{named}: tracked files differed from this commit ({subject})"
        return "found", f"{commit[:12]} ({subject})"

    def _data(self) -> tuple[State, str]:
        version = self._registered
        if version is None:
            return "missing", self.silent or "the registry would say which data.dvc it was"
        wanted = version.tags.get("data_dvc_sha256", "unknown")
        holder = _holder(self.root, "data.dvc", wanted)
        if holder is None:
            return "missing", f"no commit here holds the data.dvc with the sha256 {wanted}"
        content = _git(self.root, "show", f"{holder}:data.dvc") if holder else (self.root / "data.dvc").read_text()
        md5 = re.search(r"md5: (\S+)", content or "")
        where = f"commit {holder[:12]}" if holder else "the working tree"
        text = f"{version.tags.get('dataset', '')}, data.dvc of {where}, {md5[1] if md5 else 'unknown'}"
        return "found", f"{text}; data hash {self._manifest.origin.data_hash[:12]}"

    def _split(self) -> tuple[State, str]:
        wanted = self._manifest.origin.split_hash
        release = self.packaged.folder.parent
        if (release / "split.csv").is_file() and (release / "training.json").is_file():
            return self._split_of_release(release, wanted)
        paths = Artifacts(self.root)
        try:
            record = PreparedRecord.read(paths.prepared / "prepared.json")
            table = pd.read_csv(paths.prepared / "split.csv", dtype=str, keep_default_na=False)
            images = pd.read_csv(paths.images, dtype=str, keep_default_na=False)
            rows = table[["image_id", "part"]].merge(images[["image_id", "sha256"]], on="image_id")
        except (InputError, OSError, KeyError, ValueError):
            return "missing", "no release beside the bundle holds it, nor do prepared/ and reports/ of this checkout"
        if record.split_hash != wanted:
            return "missing", f"prepared/ holds the split {record.split_hash[:12]}, the bundle is of {wanted[:12]}"
        again = preprocess.content_hash(rows, ["sha256", "part"])
        if again != wanted:
            return "does not match", f"{paths.prepared}: was changed; it is the split {again[:12]}, not {wanted[:12]}"
        return "found", f"{paths.prepared / 'split.csv'}: {_counted(table)}"

    def _split_of_release(self, release: Path, wanted: str) -> tuple[State, str]:
        path = release / "split.csv"
        found = TrainingRecord.read(release / "training.json").split_hash
        if found != wanted:
            return "does not match", f"{release}: was trained on the split {found[:12]}, the bundle on {wanted[:12]}"
        sums = release / "sha256sums"
        listed = sums.read_text(encoding="utf-8") if sums.is_file() else ""
        if f"{sha256(path.read_bytes()).hexdigest()}  {path.name}\n" not in listed:
            return "does not match", f"{path}: is not the file that was released (sha256sums)"
        return "found", f"{path}: {_counted(pd.read_csv(path, dtype=str))}"

    def _validation(self) -> tuple[State, str]:
        if self.registry is None or self._known_run is None:
            return "missing", self.silent or "the run would hold it"
        content = self.registry.read_file(self._known_run.id, "reports/validation.json")
        if content is None:
            return "missing", f"run {self._known_run.id} holds no reports/validation.json"
        try:
            report = json.loads(content)
            dataset, failures = report["dataset"], report["failures"]
            named = (dataset["name"], dataset["version"])
            text = f"{report['images']} images, {len(failures)} failures, {len(report['warnings'])} warnings"
        except (ValueError, KeyError, TypeError):
            return "does not match", "reports/validation.json of the run is no validation report"
        given = self._manifest.trained_on
        if named != (given.name, given.version):
            return "does not match", f"it is of {' '.join(map(str, named))}, the model of {given.name} {given.version}"
        if failures:
            return "does not match", f"{text}: the data failed their validation ({failures[0]})"
        return "found", f"{given.name} {given.version}: {text}"

    def _promotion(self) -> tuple[State, str]:
        origin = self._manifest.origin
        if self.registry is None or self._registered is None:
            return "missing", self.silent or "the registry would say who made it the champion"
        moves = [
            move
            for move in champion.history(self.registry, origin.registered_model)
            if move.version == origin.registry_version
        ]
        if not moves:
            return "missing", f"version {origin.registry_version} was never recorded as the champion"
        last = moves[-1]
        forced = " in spite of its gates" if last.forced else ""
        if last.forced and not origin.forced:
            return "does not match", f"promoted by {last.by} on {last.at}{forced}, of which the bundle says nothing"
        return "found", f"by {last.by} on {last.at}{forced}: {last.reason}"


def _holder(root: Path, name: str, wanted: str) -> str | None:
    """The newest commit that holds a file with this sha256, empty for the working tree; None where none does."""
    path = root / name
    if path.is_file() and sha256(path.read_bytes()).hexdigest() == wanted:
        commit = _git(root, "rev-parse", "HEAD")
        same = _git(root, "status", "--porcelain", "--", name) == ""
        return commit if commit and same else ""
    for commit in (_git(root, "log", "--all", "--format=%H", "--", name) or "").split():
        with suppress(git.GitError):  # a commit that removed the file
            if sha256(git.git_bytes(root, "show", f"{commit}:{name}")).hexdigest() == wanted:
                return commit
    return None


def _git(root: Path, *arguments: str) -> str | None:
    """What git prints, None where it refuses."""
    try:
        return git.git(root, *arguments)
    except git.GitError:
        return None


def _counted(table: pd.DataFrame) -> str:
    return ", ".join(f"{count} {part}" for part, count in sorted(table["part"].value_counts().items()))
