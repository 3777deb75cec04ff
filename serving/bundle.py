"""The model bundle on disk: everything a service needs of a model, and nothing else.

model.json       what the model is, how its scores become an answer, where it comes from; hashes of the other files
model.tflite     uint8 pixels (1, size, size, 1) -> scores, features, map
reference.npz    statistics of the training images (`statistics.Reference`)
image_heads.npz  region head and guard (`image_heads.ImageHeads`), where the model has them
scope.json       the terms of a header that decide what is answered (`scope.Terms`); without it, those of this version
polarity.json, orientation.npz   what recognises inverted and turned pictures, where the preprocessing asks for it
samples/*.png    synthetic radiographs to try the service with
"""

import hashlib
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from serving import signature
from serving.decision import Decision
from serving.errors import BundleError, one_line
from serving.image_heads import NO_IMAGE_HEADS, ImageHeads
from serving.imaging.canonical.form import NO_HEADS, Heads, head_files, heads_of
from serving.imaging.canvas import Preprocessing
from serving.scope import Scope, Terms
from serving.statistics import Reference

SCHEMA_VERSION = 2
"""Schema 2 adds canonical steps to the preprocessing; bundles of schema 1 have none, and answer as they always did."""
READABLE = (1, 2)
MANIFEST, MODEL, REFERENCE, SAMPLES = "model.json", "model.tflite", "reference.npz", "samples"
IMAGE_HEADS, SCOPE = "image_heads.npz", "scope.json"
_RELEASES, _INNER, _CARD = "models", "bundle", "MODEL_CARD.md"
"""Where a checkout keeps its releases, and what each of them holds."""


class _Facts(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Origin(_Facts):
    """Where the model comes from; `unknown` where nobody recorded it."""

    registered_model: str
    registry_version: str
    run_id: str
    git_commit: str
    data_hash: str
    split_hash: str
    test_hash: str
    weights_sha256: str
    gates: str
    forced: dict[str, str] | None = None  # by, at and reason of a promotion that passed over the gates
    packaged_at: str  # ISO 8601, UTC


class TrainedOn(_Facts):
    """The data set behind the model; `synthetic` when no patient was ever seen."""

    name: str
    version: str
    licence: str
    citation: str
    synthetic: bool


class Guard(_Facts):
    """Distances of textures from those of training (`statistics.Reference.distance`).

    They are what is refused and warned of where the bundle has no guard among its image heads.
    """

    unusual: float = Field(gt=0)  # above it the answer carries a warning
    limit: float = Field(gt=0)  # above it there is no answer


class Intended(_Facts):
    """What the model may be asked, in words and in the values seen in training."""

    use: str
    not_for: str
    regions: tuple[str, ...]
    views: tuple[str, ...]


class Recalibrated(_Facts):
    """That calibration and operating points were fitted anew on images of another site."""

    at: str
    images: int
    fractured: int
    data: str
    quality: dict[str, Any]


class Manifest(_Facts):
    """model.json."""

    schema_version: int
    name: str
    version: str
    architecture: str
    classes: tuple[str, ...] = Field(min_length=2)
    preprocessing: dict[str, Any]
    calibration: dict[str, Any]
    threshold: float
    operating_points: dict[str, float]
    guard: Guard
    number_format: Literal["float32", "float16", "int8"]
    formats: dict[str, dict[str, Any]]  # what was measured of each format tried
    map: Literal["grad-cam", "localisation"]
    intended: Intended
    quality: dict[str, Any]
    trained_on: TrainedOn
    origin: Origin
    recalibrated: Recalibrated | None = None
    files: dict[str, str]  # relative name -> sha256
    digest: str = ""  # sha256 of this object without the digest, as `_digest` writes it

    def decision(self) -> Decision:
        """Calibration, threshold and operating points."""
        return Decision.from_dict(self.model_dump())

    @property
    def weak_regions(self) -> dict[str, str]:
        """Regions that the test set does not show the model to be good for, with their figures."""
        return dict(self.quality.get("weak_regions", {}))

    @property
    def samples(self) -> tuple[str, ...]:
        """Names of the sample pictures, in order."""
        return tuple(sorted(name for name in self.files if name.startswith(f"{SAMPLES}/")))


@dataclass(frozen=True)
class Bundle:
    """A bundle whose files were verified."""

    folder: Path
    manifest: Manifest
    preprocessing: Preprocessing
    decision: Decision
    reference: Reference
    heads: Heads = NO_HEADS
    image_heads: ImageHeads = NO_IMAGE_HEADS
    scope: Scope = field(default_factory=Scope.for_regions)
    content: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    """The files as they were when their signature was verified; empty where nobody asked for a signature."""
    signed_by: signature.PublicKey | None = None

    @property
    def network(self) -> Path | bytes:
        """The network: its file, or the content whose signature was verified."""
        return self.content.get(MODEL, self.folder / MODEL)

    def content_of(self, name: str) -> bytes:
        """A file of the bundle, from the verified content where there is one; OSError."""
        return self.content[name] if self.content else (self.folder / name).read_bytes()

    @property
    def sha256(self) -> str:
        """Of the network's file."""
        return self.manifest.files[MODEL]

    def facts(self) -> dict[str, str]:
        """Which model answers, for every answer."""
        manifest = self.manifest
        return {
            "name": manifest.name,
            "version": manifest.version,
            "run_id": manifest.origin.run_id,
            "sha256": self.sha256,
        }


def write(folder: Path, facts: Mapping[str, Any]) -> Manifest:
    """Write model.json for the files that already lie in `folder`; `facts` are Manifest's but `files` and `digest`.

    Raises ValueError when the facts are none of a bundle.
    """
    names = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != MANIFEST)
    files = {path.relative_to(folder).as_posix(): _sha256(path) for path in names}
    draft = Manifest(**{**facts, "schema_version": SCHEMA_VERSION, "files": files, "digest": ""})
    draft.decision()
    manifest = draft.model_copy(update={"digest": _digest(draft)})
    text = json.dumps(manifest.model_dump(mode="json"), indent=2, ensure_ascii=False, allow_nan=False)
    (folder / MANIFEST).write_text(text + "\n", encoding="utf-8")
    return manifest


def read(folder: Path, *, unsigned: bool = False) -> Bundle:
    """Open a bundle, or that of a release's folder, and verify every byte of it.

    Where FRACTURE_TRUSTED_KEYS is set it has to be signed with one of these keys, and what is loaded is the content
    whose signature was verified, whatever happens to the files afterwards. `unsigned` is for a bundle in the making.

    Raises BundleError: no bundle, an unknown schema, a missing or changed file, no valid signature. SettingsError for
    keys that cannot be used.
    """
    if not (folder / MANIFEST).exists() and (folder / _INNER).is_dir():
        folder = folder / _INNER
    keys = None if unsigned else signature.trusted_keys()
    content, signer = signature.verified(folder, keys) if keys else ({}, None)
    manifest = _manifest(folder, content[MANIFEST]) if MANIFEST in content else read_manifest(folder)
    for name in (MODEL, REFERENCE, *head_files(Preprocessing.from_dict(manifest.preprocessing).canonical)):
        if name not in manifest.files:
            raise BundleError(f"{folder / MANIFEST}: lists no {name}; {_remedy(folder)}")
    files = {name: _checked(folder, name, wanted, content.get(name)) for name, wanted in manifest.files.items()}
    try:
        preprocessing = Preprocessing.from_dict(manifest.preprocessing)
        heads, digest = heads_of({name: files[name] for name in head_files(preprocessing.canonical)})
        if digest != preprocessing.canonical.heads:
            raise ValueError("its heads are not those that the model was trained with")
        reference = Reference.load(io.BytesIO(files[REFERENCE]))
        image_heads = ImageHeads.load(io.BytesIO(files[IMAGE_HEADS])) if IMAGE_HEADS in files else NO_IMAGE_HEADS
        regions = manifest.intended.regions
        terms = Terms.parse(files[SCOPE]) if SCOPE in files else Terms.for_regions(regions)
        return Bundle(
            folder,
            manifest,
            preprocessing,
            manifest.decision(),
            reference,
            heads,
            image_heads,
            Scope(terms, regions),
            content,
            signer,
        )
    except (KeyError, TypeError, ValueError, OSError) as error:
        raise BundleError(f"{folder}: is not usable ({one_line(error, 200)}); {_remedy(folder)}") from None


def _checked(folder: Path, name: str, wanted: str, content: bytes | None) -> bytes:
    """The content of a file, read unless it is given; BundleError where it is not the one that model.json lists."""
    path = folder / _inside(folder, name)
    if content is None:
        if not path.is_file():
            raise BundleError(f"{path}: is missing; {_remedy(folder)}")
        content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != wanted:
        raise BundleError(f"{path}: is damaged (its sha256 is not the one in {MANIFEST}); {_remedy(folder)}")
    return content


def read_manifest(folder: Path) -> Manifest:
    """Read and check model.json alone, whoever signed it; BundleError as in `read`."""
    path = folder / MANIFEST
    try:
        return _manifest(folder, path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        raise BundleError(f"{path}: not found; {_remedy(folder, 'make a bundle with `fracture package`')}") from None
    except OSError as error:
        raise BundleError(f"{path}: cannot be read ({one_line(error, 200)}); {_remedy(folder)}") from None


def _manifest(folder: Path, content: bytes) -> Manifest:
    path = folder / MANIFEST
    try:
        raw = json.loads(content.decode("utf-8"))
    except ValueError as error:
        raise BundleError(f"{path}: cannot be read ({one_line(error, 200)}); {_remedy(folder)}") from None
    version = raw.get("schema_version") if isinstance(raw, dict) else None
    if version not in READABLE:
        raise BundleError(
            f"{path}: has bundle schema {version!r}, but this code reads schema {' and '.join(map(str, READABLE))}; "
            "package the model with this version of the project, or serve it with the version that packaged it"
        )
    try:
        manifest = Manifest(**raw)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise BundleError(f"{path}: {where}: {first['msg']}; {_remedy(folder)}") from None
    if manifest.digest != _digest(manifest):
        raise BundleError(f"{path}: was changed after packaging (its digest is another); {_remedy(folder)}")
    return manifest


def find_default(root: Path) -> Path:
    """The bundle to serve when none is named.

    `bundle/` beside the code (so it lies in a bento); else the last one packaged below build/bundle/ from a model
    that was trained on other than synthetic data; else the newest release in models/; else the last one packaged.
    Raises BundleError when there is none, and for a broken one: passing over it would serve an older model unasked.
    """
    if (root / "bundle" / MANIFEST).is_file():
        return root / "bundle"
    packaged = _by_age(root / "build/bundle")
    real = [folder for folder, manifest in packaged if not manifest.trained_on.synthetic]
    if real:
        return real[-1]
    released = _by_age(root / _RELEASES, _INNER)
    for folder in sorted((root / _RELEASES).glob("[!.]*/")):
        # Other things may lie there too, but where nothing else can be served, this is what should have been.
        is_release = (folder / _CARD).is_file() or not (released or packaged)
        if is_release and not (folder / _INNER).is_dir():
            raise BundleError(f"{folder}: is a release without its folder {_INNER}; {_remedy(folder)}")
    if released or packaged:
        return (released or packaged)[-1][0]
    again = f", or restore a release: `git checkout -- {_RELEASES}`" if (root / ".git").exists() else ""
    raise BundleError(
        f"{root}: there is no model to serve yet; train and promote one, then run `fracture package`{again}"
    )


def _remedy(place: Path, otherwise: str = "package the model again") -> str:
    """What to do about a broken bundle: of a release, git still has the whole one."""
    for folder in (place.absolute(), *place.absolute().parents):
        releases = folder.parent
        if releases.name == _RELEASES and (releases.parent / ".git").exists():
            return f"restore it: `git checkout -- {_RELEASES}/{folder.name}`"
    return otherwise


def _by_age(parent: Path, inner: str = "") -> list[tuple[Path, Manifest]]:
    folders = [folder / inner for folder in sorted(parent.glob("[!.]*")) if (folder / inner).is_dir()]
    found = [(folder, read_manifest(folder)) for folder in folders]
    return sorted(found, key=lambda pair: pair[1].origin.packaged_at)


def _inside(folder: Path, name: str) -> PurePosixPath:
    relative = PurePosixPath(name)
    if relative.is_absolute() or ".." in relative.parts:
        raise BundleError(f"{folder / MANIFEST}: names a file outside the bundle, {name!r}")
    return relative


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _digest(manifest: Manifest) -> str:
    facts = manifest.model_dump(mode="json", exclude={"digest"})
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
