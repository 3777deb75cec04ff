"""Write a folder of static files that answers in a browser, without a network after the first visit.

index.html, boot.*, sw.js, manifest.webmanifest, icons     the shell, under plain names
files/HASH.EXT[.gz]     everything else: the page, the runtime and the bundle, each under the start of its sha256
release.json            what the folder holds: version, model, and every file with its sha256
signed/model.json       where keys are trusted: what has to be signed before the page answers, into signed.sig

Any web server or object store serves the folder. The service worker puts a release on the device whole or not at all,
after checking every file's sha256 against the list in its own text.
"""

import base64
import gzip
import hashlib
import json
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline import programs
from pipeline.errors import InputError
from pipeline.files import atomic_folder
from pipeline.packaging import web_constants, web_network
from pipeline.packaging.web_network import Weights
from serving import bundle as bundles
from serving.bundle import Bundle
from serving.http.settings import Settings
from serving.predictor import RESPONSE_SCHEMA
from serving.signature import SUFFIX, PublicKey

WEB = Path(bundles.__file__).parent / "web"
RUNTIME = Path(__file__).parent / "web_runtime"
RUNTIMES = ".cache/web-runtime"
"""Where a checkout keeps what npm installed."""
_LITERT = "node_modules/@litertjs/core"
_WASM_UTILS = "node_modules/@litertjs/wasm-utils/dist/index.js"
_VARIANTS: Mapping[str, bool] = {
    "litert_wasm_internal": True,
    "litert_wasm_compat_internal": False,
    "litert_wasm_threaded_internal": True,
}
"""LiteRT.js by its file, and whether that is for browsers with the relaxed vectors of WebAssembly or for others."""
_CODECS = {"charls": "CharLSWASM", "openjpeg": "OpenJPEGWASM"}
"""Decoders of DICOM objects, packages of @cornerstonejs, and the name that each gives its library."""
_ELSEWHERE = (
    "docs.css",
    "docs.html",
    "docs.js",
    "manifest.webmanifest",
    "index.html",
    "backend.js",
    "offline/boot.html",
    "offline/boot.css",
    "offline/boot.js",
    "offline/sw.js",
)
"""Files of the page that a release lacks, or that lie under plain names."""
_SHELL = ("boot.js", "boot.css")
_ICONS = ("icon.svg", "icon-192.png", "icon-512.png", "icon-maskable-512.png")
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".json": "application/json",
    ".wasm": "application/wasm",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".webmanifest": "application/manifest+json",
}
SIGNED = "signed"
"""Folder of a page that `fracture sign` signs, so that the signature lies in the page beside it."""
NAMES = frozenset(
    {
        *_SHELL,
        *_ICONS,
        "index.html",
        "sw.js",
        "manifest.webmanifest",
        "release.json",
        "files",
        SIGNED,
        f"{SIGNED}{SUFFIX}",
    }
)
"""What lies in the folder of a page, signed or not."""
_PACKABLE = {".html", ".js", ".css", ".json", ".wasm", ".svg", ".tflite", ".npz"}
_SHARE_TARGET = {
    "action": "./share",
    "method": "POST",
    "enctype": "multipart/form-data",
    "params": {"files": [{"name": "images", "accept": ["image/*", ".dcm", "application/dicom"]}]},
}
"""Where other apps may send images: the service worker, which answers this address, never a server."""
_LATER = ("codecs/", "web/device/imaging/dicom/", "runtime/litert_wasm_threaded_internal")
_AT_ONCE = ("web/device/imaging/dicom/prefix.js",)
"""What only DICOM objects or threads need is fetched behind the first visit; what tells objects from files is not."""
_GAIN = 0.95
"""A file is packed where that leaves less than this share of it."""
_POLICY = (
    "default-src 'none'; script-src 'self' 'wasm-unsafe-eval' {hashes}; style-src 'self'; img-src 'self' blob: data:; "
    "connect-src 'self' blob:; worker-src 'self' blob:; manifest-src 'self'; base-uri 'none'; form-action 'self'"
)


@dataclass(frozen=True)
class Written:
    """What an exported page holds; `transferred` are the bytes of a first visit, `weights` their number format."""

    version: str
    files: int
    transferred: int
    weights: str


@dataclass(frozen=True)
class _File:
    """One file of a release: its content, and how it lies in the folder; `planes` as in `web_network.by_planes`."""

    content: bytes
    suffix: str
    planes: bool = False

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.content).hexdigest()

    @property
    def media_type(self) -> str:
        return _TYPES.get(self.suffix, "application/octet-stream")

    def packed(self) -> bytes | None:
        """The content packed, None where that does not make it smaller."""
        if self.suffix not in _PACKABLE:
            return None
        content = web_network.by_planes(self.content) if self.planes else self.content
        found = gzip.compress(content, 9, mtime=0)
        return found if len(found) < _GAIN * len(self.content) else None


def write_page(opened: Bundle, runtime: Path, target: Path, keys: Sequence[PublicKey] = ()) -> Written:
    """Write the page of a bundle into the folder `target`, whole or not at all.

    `runtime` is the folder in which `install_runtime` has installed the packages. With `keys` the page answers only
    once one of them has signed it (`pipeline.packaging.signing`). Raises InputError for a bundle that asks for
    preprocessing that is not there in a browser.
    """
    check_supported(opened)
    network, weights = web_network.for_browser(opened)
    files = {**_page_files(), **_runtime_files(runtime), **_bundle_files(opened, network)}
    facts = _facts(opened, files, weights, keys)
    version = hashlib.sha256(
        json.dumps([{name: file.sha256 for name, file in files.items()}, facts, _texts("sw.js", "boot.html")]).encode()
    ).hexdigest()[:16]
    release = {"version": version, **facts}
    files["release.json"] = _File(_json(release), ".json")
    page, hashes = _index(version, files)
    files["index.html"] = _File(page.encode(), ".html")
    with atomic_folder(target) as folder:
        listed = _write_files(folder, files)
        _write_shell(folder, release | {"policy": _POLICY.format(hashes=hashes), "files": listed})
        (folder / "release.json").write_bytes(_json(release | {"files": listed}))
        if keys:
            (folder / SIGNED).mkdir()
            (folder / SIGNED / bundles.MANIFEST).write_bytes(files[f"bundle/{bundles.MANIFEST}"].content)
        shell = sum(path.stat().st_size for path in folder.glob("*") if path.name in (*_SHELL, "index.html", "sw.js"))
        first = [entry for entry in listed.values() if not entry["later"] and entry["relaxed"] is not False]
        transferred = shell + sum(entry["transferred"] for entry in first)
        return Written(version, len(listed), transferred, weights.words)


def check_supported(opened: Bundle) -> None:
    """Raise InputError, in one line, for a bundle whose preprocessing is not there in a browser."""
    steps = opened.preprocessing
    missing = [
        name
        for name, wanted in (
            (f"denoise: {steps.denoise}", steps.denoise not in {"none", "adaptive"}),
            ("clahe", steps.clahe),
            ("canonical: orientation", steps.canonical.orientation),
        )
        if wanted
    ]
    if missing:
        raise InputError(
            f"{opened.folder}: was trained with {' and '.join(missing)}, which the page in a browser cannot do; "
            "export a model that was trained without"
        )


def install_runtime(folder: Path) -> Path:
    """Install the browser's runtime by the hashes of its lock into a folder below `folder`, once; the new folder.

    Raises InputError where npm is missing or fails. No script of a package runs.
    """
    lock = RUNTIME / "package-lock.json"
    target = folder / hashlib.sha256(lock.read_bytes()).hexdigest()[:16]
    if (target / _LITERT).is_dir():
        return target
    npm = shutil.which("npm")
    if npm is None:
        raise InputError("npm: not found; the page in a browser needs its packages: install Node.js with npm")
    with atomic_folder(target) as partial:
        for name in ("package.json", "package-lock.json"):
            shutil.copyfile(RUNTIME / name, partial / name)
        words = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--silent"]
        done = programs.run(words, folder=partial, seconds=None)
        if done.returncode:
            lines = (done.stderr or done.stdout).strip().splitlines()
            raise InputError(f"npm ci failed: {lines[0] if lines else 'no message'}; is there a network?")
    return target


def _page_files() -> dict[str, _File]:
    """The page's own files by their path in a release."""
    found = {}
    for path in sorted(WEB.rglob("*")):
        name = path.relative_to(WEB).as_posix()
        if path.is_file() and name not in _ELSEWHERE:
            found[f"web/{name}"] = _File(path.read_bytes(), path.suffix)
    found["web/backend.js"] = _File(b'export { Service } from "./device/service.js";\n', ".js")
    found["web/device/constants.js"] = _File(web_constants.module_text().encode(), ".js")
    return found


def _runtime_files(folder: Path) -> dict[str, _File]:
    library = (folder / _LITERT / "dist/index.js").read_text(encoding="utf-8")
    # Workers know no import maps.
    library = library.replace('"@litertjs/wasm-utils"', '"./wasm-utils.js"')
    found = {
        "runtime/index.js": _File(_without_source_map(library), ".js"),
        "runtime/wasm-utils.js": _File(_without_source_map((folder / _WASM_UTILS).read_text(encoding="utf-8")), ".js"),
    }
    for name in _VARIANTS:
        for suffix in (".js", ".wasm"):
            path = folder / _LITERT / f"wasm/{name}{suffix}"
            found[f"runtime/{path.name}"] = _File(path.read_bytes(), suffix)
    codecs = {name: _File(content, Path(name).suffix) for name, content in codec_files(folder).items()}
    return found | codecs


def codec_files(folder: Path) -> dict[str, bytes]:
    """The decoders of DICOM objects by their path in a release, their scripts as modules."""
    found = {}
    for name, library in _CODECS.items():
        path = folder / f"node_modules/@cornerstonejs/codec-{name}/dist/{name}wasm_decode.js"
        module = f"{path.read_text(encoding='utf-8')}\nexport default {library};\n"
        found[f"codecs/{path.name}"] = _without_source_map(module)
        found[f"codecs/{path.stem}.wasm"] = path.with_suffix(".wasm").read_bytes()
    return found


def is_later(name: str) -> bool:
    """Whether a file of a release is fetched behind the first visit."""
    return name.startswith(_LATER) and name not in _AT_ONCE


def _without_source_map(text: str) -> bytes:
    return re.sub(r"//# sourceMappingURL=.*", "", text).encode()


def _bundle_files(opened: Bundle, content: bytes) -> dict[str, _File]:
    """The bundle's files, with `content` for its network; model.json says what it says, with the hash of that."""
    found = {f"bundle/{name}": _File(opened.content_of(name), Path(name).suffix) for name in opened.manifest.files}
    network = _File(content, ".tflite", planes=True)
    found[f"bundle/{bundles.MODEL}"] = network
    manifest = opened.manifest.model_dump(mode="json", exclude={"digest"})
    manifest["files"][bundles.MODEL] = network.sha256
    found[f"bundle/{bundles.MANIFEST}"] = _File(_json(manifest), ".json")
    return found


def _facts(opened: Bundle, files: Mapping[str, _File], weights: Weights, keys: Sequence[PublicKey]) -> dict[str, Any]:
    manifest, settings = opened.manifest, Settings()
    return {
        "model": {
            "name": manifest.name,
            "version": manifest.version,
            "run_id": manifest.origin.run_id,
            "sha256": opened.sha256,
        },
        "weights": weights.words,
        "packaged_at": manifest.origin.packaged_at,
        "model_json": files[f"bundle/{bundles.MANIFEST}"].sha256,
        "keys": [key.for_browser() for key in keys],
        "response_schema": RESPONSE_SCHEMA,
        "limits": {
            "max_body_bytes": settings.max_body,
            "max_pixels": settings.max_pixels,
            "max_frames": 1,
            "max_files": 1,
        },
    }


def _index(version: str, files: Mapping[str, _File]) -> tuple[str, str]:
    """The page with the addresses and hashes of this release, and the hashes of its inline scripts for the policy."""
    text = (WEB / "index.html").read_text(encoding="utf-8")
    folder = f"v/{version}/"
    scripts = {name: file for name, file in files.items() if name.startswith("web/") and file.suffix == ".js"}
    # Import maps carry the hashes of modules, which no attribute names.
    map_text = json.dumps({"integrity": {f"./{folder}{name}": _integrity(file) for name, file in scripts.items()}})
    text = re.sub(r'(href|src)="web/manifest\.webmanifest"', r'\1="manifest.webmanifest"', text)
    text = re.sub(
        r'(<(?:link rel="stylesheet" href|script type="module" src)="(web/[^"]+)")',
        lambda match: f'{match[1]} integrity="{_integrity(files[match[2]])}"',
        text,
    )
    text = text.replace('="web/', f'="{folder}web/')
    extra = f'<script type="module" src="{folder}web/offline/release.js"></script>'
    head = f'<script type="importmap">{map_text}</script>'
    text = text.replace("<title>", f"{head}\n    <title>", 1).replace("</head>", f"  {extra}\n  </head>", 1)
    digest = base64.b64encode(hashlib.sha256(map_text.encode()).digest()).decode()
    return text, f"'sha256-{digest}'"


def _integrity(file: _File) -> str:
    return "sha384-" + base64.b64encode(hashlib.sha384(file.content).digest()).decode()


def _write_files(folder: Path, files: Mapping[str, _File]) -> dict[str, dict[str, Any]]:
    """Write the files under their hashes; the list of them by their path in the release."""
    (folder / "files").mkdir()
    listed = {}
    for name, file in sorted(files.items()):
        packed = file.packed()
        place = f"files/{file.sha256[:32]}{file.suffix}{'.gz' if packed else ''}"
        content = packed or file.content
        (folder / place).write_bytes(content)
        listed[name] = {
            "file": place,
            "sha256": file.sha256,
            "bytes": len(file.content),
            "transferred": len(content),
            "packed": bool(packed),
            "planes": bool(packed) and file.planes,
            "later": is_later(name),
            "relaxed": _VARIANTS.get(Path(name).stem),
            "type": file.media_type,
        }
    return listed


def _write_shell(folder: Path, release: Mapping[str, Any]) -> None:
    """Write what stands under plain names: it is asked for again at every visit, and leads to the rest."""
    for name in _ICONS:
        shutil.copyfile(WEB / name, folder / name)
    boot = (WEB / "offline/boot.html").read_text(encoding="utf-8")
    for name in _SHELL:
        content = (WEB / "offline" / name).read_bytes()
        (folder / name).write_bytes(content)
        hashed = f'"{name}" integrity="{_integrity(_File(content, Path(name).suffix))}"'
        boot = boot.replace(f'"{name}"', hashed)
    (folder / "index.html").write_text(boot, encoding="utf-8")
    manifest = json.loads((WEB / "manifest.webmanifest").read_text(encoding="utf-8"))
    manifest |= {"id": "./", "start_url": "./", "scope": "./", "share_target": _SHARE_TARGET}
    (folder / "manifest.webmanifest").write_bytes(_json(manifest))
    (folder / "sw.js").write_text(f"const RELEASE = {json.dumps(release)};\n{_worker()}", encoding="utf-8")


def _worker() -> str:
    """The service worker, which imports nothing: browsers differ in whether one may be a module."""
    constants = f"const SIGNATURE = {json.dumps(web_constants.constants()['SIGNATURE'])};\n"
    check = (WEB / "device/signature.js").read_text(encoding="utf-8")
    check = re.sub(r"^import .*\n", "", check, flags=re.MULTILINE).replace("export async function", "async function")
    return constants + check + (WEB / "offline/sw.js").read_text(encoding="utf-8")


def _texts(*names: str) -> list[str]:
    return [(WEB / "offline" / name).read_text(encoding="utf-8") for name in names]


def _json(value: object) -> bytes:
    return (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode()
