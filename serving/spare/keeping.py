"""`python -m serving.spare.keeping`: writes answered pictures without their headers, for a worker."""

import re
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2

from serving.imaging import decode, dicom
from serving.imaging.canonical.intensity import robust_range, spread
from serving.imaging.canvas import Pixels
from serving.spare import child

SUFFIX = ".png"
_OURS = re.compile(r"\.?[0-9a-f]{32}\.(png|partial)")
"""Nothing else in the folder is counted or deleted."""
_DAY_SECONDS = 86_400
_STALE_SECONDS = 3600
_COUNT_AGAIN_SECONDS = 600
_COMPRESSION = 3
"""Of zlib: a third of the time of 6 at a few per cent of its size."""


@dataclass
class ImageFolder:
    """A folder of pictures named by answer_id, with the time and the size that it may hold.

    Several workers may write to one folder; each looks again at what it holds every ten minutes.
    """

    folder: Path
    days: float
    most_bytes: float
    max_pixels: int = decode.MAX_PIXELS
    robust: bool = True
    clock: Callable[[], float] = time.time
    _held: int = field(default=0, init=False)
    _counted: float = field(default=float("-inf"), init=False)

    def keep(self, answer_id: str, content: bytes) -> str:
        """Write one image; empty, or why not: `burned_in` text that its header declares, or `full`.

        ImageError for a file that cannot be decoded, OSError for a folder that cannot be written.
        """
        if _has_text(content):
            return "burned_in"
        done, encoded = cv2.imencode(SUFFIX, self._picture(content), [cv2.IMWRITE_PNG_COMPRESSION, _COMPRESSION])
        if self.clock() - self._counted > _COUNT_AGAIN_SECONDS:
            self.sweep()
        if not done or self._held + len(encoded) > self.most_bytes:
            return "full"
        partial = self.folder / f".{answer_id}.partial"
        try:
            partial.touch(0o600)
            partial.write_bytes(encoded.tobytes())
            partial.replace(self.folder / f"{answer_id}{SUFFIX}")
        finally:
            partial.unlink(missing_ok=True)
        self._held += len(encoded)
        return ""

    def sweep(self) -> None:
        """Delete what is too old, and what a killed process left half-written; count the rest."""
        now, held = self.clock(), 0
        for path in self.folder.iterdir():
            with suppress(FileNotFoundError):  # another worker may be doing the same
                if not _OURS.fullmatch(path.name):
                    continue
                found = path.stat()
                longest = self.days * _DAY_SECONDS if path.suffix == SUFFIX else _STALE_SECONDS
                if now - found.st_mtime > longest:
                    path.unlink()
                else:
                    held += found.st_size
        self._held, self._counted = held, now

    def _picture(self, content: bytes) -> Pixels:
        """The whole upright picture in eight bits, as a reader is shown it."""
        decoded = decode.decode(content, max_pixels=self.max_pixels)
        if decoded.values is None or not self.robust:
            return decoded.pixels
        return spread(decoded.values, *robust_range(decoded.values))


def _has_text(content: bytes) -> bool:
    """Whether a DICOM header declares text in the pixels (PS3.3, C.7.6.1, Burned In Annotation)."""
    return dicom.is_dicom(content) and str(dicom.read(content).get("BurnedInAnnotation", "")).strip().upper() == "YES"


def main() -> None:
    """Keep the images that arrive on stdin."""
    folders: list[ImageFolder] = []

    def begin(settings: Mapping[str, Any]) -> child.Work:
        kept = ImageFolder(**{**settings, "folder": Path(settings["folder"])})
        cv2.setNumThreads(1)
        folders.append(kept)

        def work(facts: Mapping[str, Any], content: bytes) -> dict[str, Any]:
            try:
                reason = kept.keep(facts["answer_id"], content)
            except OSError as error:
                return {"dropped": "full", "message": f"FRACTURE_KEEP_IMAGES: {error.strerror or error}"}
            return {"dropped": reason} if reason else {"done": True}

        return work

    def sweep() -> None:
        with suppress(OSError):
            for kept in folders:
                kept.sweep()

    child.serve(begin, sweep)


if __name__ == "__main__":
    main()
