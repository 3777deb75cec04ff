"""Limits and keys of the service, from the environment."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from serving.errors import SettingsError

KIB = 2**10
MIB = 2**20
GIB = 2**30
OFFLINE = "offline"
"""Folder beside the service's code that holds the page for devices, as in a bento that was packaged with it."""
_PAGE_MARK = "sw.js"
_SHORTEST_SECRET = 32


@dataclass(frozen=True)
class Settings:
    """What one worker accepts; each field says which variable sets it. Defaults suit 1 GiB of memory a worker."""

    max_body: int = 32 * MIB  # FRACTURE_MAX_BODY_MB: bytes of one request
    max_buffered: int = 128 * MIB  # FRACTURE_MAX_BUFFERED_MB: bytes of all requests at once
    # Of 16 bits they take 0.6 GiB; commands that read a user's own files take `decode.MAX_PIXELS`, and 2 GiB.
    max_pixels: int = 25_000_000  # FRACTURE_MAX_PIXELS: width x height of an image, from its header
    max_frames: int = 1  # FRACTURE_MAX_FRAMES: of a file; only the first is read
    max_files: int = 32  # FRACTURE_MAX_FILES: of a batch
    timeout: float = 30.0  # FRACTURE_TIMEOUT_S: to receive a request, and again to answer it
    concurrency: int = 32  # FRACTURE_CONCURRENCY: requests at once; further ones are answered 503
    scope: str = "refuse"  # FRACTURE_SCOPE: `warn` answers what the model is not for
    threads: int = 1  # FRACTURE_THREADS: predictions at once
    offline: Path | None = None  # FRACTURE_OFFLINE: folder of the page for devices, served below /offline
    api_keys: tuple[str, ...] = ()  # API_KEYS: separated by commas, see keys.py; empty switches authentication off
    store_url: str = ""  # FRACTURE_STORE_URL: database that keeps the answers; empty keeps none
    store_queue: int = 10_000  # FRACTURE_STORE_QUEUE: answers that wait to be written; further ones are dropped
    pseudonym_key: str = ""  # FRACTURE_PSEUDONYM_KEY: secret of the pseudonyms; empty keeps none
    feedback_key: str = ""  # FRACTURE_FEEDBACK_KEY: secrets of the feedback tokens; empty switches feedback off
    feedback_days: float = 30.0  # FRACTURE_FEEDBACK_DAYS: that a token is valid
    feedback_per_minute: int = 120  # FRACTURE_FEEDBACK_PER_MINUTE: of one key
    feedback_text: bool = False  # FRACTURE_FEEDBACK_TEXT: `true` takes free text from readers
    keep_images: Path | None = None  # FRACTURE_KEEP_IMAGES: folder that keeps the answered pictures, without headers
    keep_days: float = 90.0  # FRACTURE_KEEP_DAYS: after which a picture is deleted
    keep_bytes: int = 10 * GIB  # FRACTURE_KEEP_GB: that the folder may hold; further pictures are dropped
    shadow_bundle: Path | None = None  # FRACTURE_SHADOW_BUNDLE: bundle that answers silently beside the served one
    spare_idle: bool = True  # FRACTURE_SPARE_IDLE: `false` lets both compete with the answers for the processor
    spare_bytes: int = 64 * MIB  # FRACTURE_SPARE_MB: of images that wait to be kept, and as many for the shadow

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> "Settings":
        """Read the variables; SettingsError names one with a value that is none of its own."""
        values = os.environ if environment is None else environment
        default = cls()
        number = _Reader(values)
        return cls(
            max_body=int(number("FRACTURE_MAX_BODY_MB", default.max_body / MIB) * MIB),
            max_buffered=int(number("FRACTURE_MAX_BUFFERED_MB", default.max_buffered / MIB) * MIB),
            max_pixels=int(number("FRACTURE_MAX_PIXELS", default.max_pixels)),
            max_frames=int(number("FRACTURE_MAX_FRAMES", default.max_frames, whole=True)),
            max_files=int(number("FRACTURE_MAX_FILES", default.max_files, whole=True)),
            timeout=number("FRACTURE_TIMEOUT_S", default.timeout),
            concurrency=int(number("FRACTURE_CONCURRENCY", default.concurrency, whole=True)),
            scope=_scope(values),
            threads=int(number("FRACTURE_THREADS", default.threads, whole=True)),
            offline=_offline(values),
            api_keys=tuple(key for key in (part.strip() for part in values.get("API_KEYS", "").split(",")) if key),
            store_url=values.get("FRACTURE_STORE_URL", "").strip(),
            store_queue=int(number("FRACTURE_STORE_QUEUE", default.store_queue, whole=True)),
            pseudonym_key=_secret(values, "FRACTURE_PSEUDONYM_KEY"),
            feedback_key=_secret(values, "FRACTURE_FEEDBACK_KEY"),
            feedback_days=number("FRACTURE_FEEDBACK_DAYS", default.feedback_days),
            feedback_per_minute=int(number("FRACTURE_FEEDBACK_PER_MINUTE", default.feedback_per_minute, whole=True)),
            feedback_text=_switch(values, "FRACTURE_FEEDBACK_TEXT"),
            keep_images=_keep_images(values),
            keep_days=number("FRACTURE_KEEP_DAYS", default.keep_days),
            keep_bytes=int(number("FRACTURE_KEEP_GB", default.keep_bytes / GIB) * GIB),
            shadow_bundle=_shadow_bundle(values),
            spare_idle=_switch(values, "FRACTURE_SPARE_IDLE", default="true"),
            spare_bytes=int(number("FRACTURE_SPARE_MB", default.spare_bytes / MIB) * MIB),
        )


def packaged_page(root: Path) -> Path | None:
    """The page for devices that lies beside the service's code in `root`, if there is one."""
    return root / OFFLINE if (root / OFFLINE / _PAGE_MARK).is_file() else None


def _scope(values: Mapping[str, str]) -> str:
    text = values.get("FRACTURE_SCOPE", "").strip().lower() or "refuse"
    if text not in {"refuse", "warn"}:
        raise SettingsError(f"FRACTURE_SCOPE: {text!r} is neither refuse nor warn")
    return text


def _offline(values: Mapping[str, str]) -> Path | None:
    text = values.get("FRACTURE_OFFLINE", "").strip()
    if not text:
        return None
    folder = Path(text).absolute()
    if not (folder / _PAGE_MARK).is_file():
        raise SettingsError(f"FRACTURE_OFFLINE: {text} is no page; write one with `fracture export --format web DIR`")
    return folder


def _keep_images(values: Mapping[str, str]) -> Path | None:
    folder = _with_store(values, "FRACTURE_KEEP_IMAGES")
    if folder is not None and not (folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)):
        raise SettingsError(f"FRACTURE_KEEP_IMAGES: {folder} is no folder that can be written; make it")
    return folder


def _shadow_bundle(values: Mapping[str, str]) -> Path | None:
    folder = _with_store(values, "FRACTURE_SHADOW_BUNDLE")
    if folder is not None and not folder.is_dir():
        raise SettingsError(f"FRACTURE_SHADOW_BUNDLE: {folder} is no bundle; write one with `fracture package`")
    return folder


def _with_store(values: Mapping[str, str], name: str) -> Path | None:
    """The folder that a variable names; without a store nobody could tell later what it holds."""
    text = values.get(name, "").strip()
    if text and not values.get("FRACTURE_STORE_URL", "").strip():
        raise SettingsError(f"{name}: needs FRACTURE_STORE_URL, the database that keeps the answers")
    return Path(text).absolute() if text else None


def _secret(values: Mapping[str, str], name: str) -> str:
    """A secret, or several separated by commas, of which the first is used and all are accepted."""
    text = values.get(name, "").strip()
    if text and any(len(part.strip()) < _SHORTEST_SECRET for part in text.split(",")):
        raise SettingsError(f"{name}: is shorter than {_SHORTEST_SECRET} characters; make one: openssl rand -hex 32")
    return text


def _switch(values: Mapping[str, str], name: str, default: str = "false") -> bool:
    text = values.get(name, "").strip().lower() or default
    if text not in {"true", "false", "1", "0"}:
        raise SettingsError(f"{name}: {text!r} is neither true nor false")
    return text in {"true", "1"}


@dataclass(frozen=True)
class _Reader:
    values: Mapping[str, str]

    def __call__(self, name: str, default: float, whole: bool = False) -> float:
        text = self.values.get(name, "").strip()
        if not text:
            return default
        try:
            value = float(text)
        except ValueError:
            raise SettingsError(f"{name}: {text!r} is no number") from None
        if not 0 < value < float("inf") or (whole and value != int(value)):
            raise SettingsError(f"{name}: {text!r} is not a {'whole ' if whole else ''}number above 0")
        return value
