"""Limits and keys of the service, from the environment."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from serving.errors import SettingsError

MIB = 2**20


@dataclass(frozen=True)
class Settings:
    """What one worker accepts; each field says which variable sets it. Defaults suit 1 GiB of memory a worker."""

    max_body: int = 32 * MIB  # FRACTURE_MAX_BODY_MB: bytes of one request
    max_buffered: int = 128 * MIB  # FRACTURE_MAX_BUFFERED_MB: bytes of all requests at once
    max_pixels: int = 25_000_000  # FRACTURE_MAX_PIXELS: width x height of an image, from its header
    max_frames: int = 1  # FRACTURE_MAX_FRAMES: of a file; only the first is read
    max_files: int = 32  # FRACTURE_MAX_FILES: of a batch
    timeout: float = 30.0  # FRACTURE_TIMEOUT_S: to receive a request, and again to answer it
    concurrency: int = 32  # FRACTURE_CONCURRENCY: requests at once; further ones are answered 503
    scope: str = "refuse"  # FRACTURE_SCOPE: `warn` answers what the model is not for
    threads: int = 1  # FRACTURE_THREADS: predictions at once
    offline: Path | None = None  # FRACTURE_OFFLINE: folder of the page for devices, served below /offline
    api_keys: tuple[str, ...] = ()  # API_KEYS: separated by commas; empty switches authentication off

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
        )


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
    if not (folder / "sw.js").is_file():
        raise SettingsError(f"FRACTURE_OFFLINE: {text} is no page; write one with `fracture export --format web DIR`")
    return folder


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
