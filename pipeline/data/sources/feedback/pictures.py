"""Where the pictures of confirmed images are: kept by the service, or in folders, matched by their hash."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from pipeline.data import deidentify
from pipeline.data.layout import IMAGE_SUFFIXES
from pipeline.data.sources.feedback.confirmed import ConfirmedImage
from pipeline.errors import InputError
from pipeline.files import sha256_file

_KEPT_SUFFIX = ".png"


@dataclass(frozen=True)
class Picture:
    """An image file without identifying metadata."""

    content: bytes
    suffix: str


@dataclass(frozen=True)
class Pictures:
    """Files of answered images: `kept` is the folder of FRACTURE_KEEP_IMAGES, `by_hash` the files as they were sent."""

    kept: Path | None
    by_hash: Mapping[str, Path]

    def of(self, image: ConfirmedImage) -> Picture | None:
        """The file as it was sent where there is one, else the kept picture, else None.

        InputError for a file that cannot be de-identified.
        """
        sent = self.by_hash.get(image.first.image_sha256 or "")
        path = sent or self._kept(image)
        if path is None:
            return None
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            return None  # its time was over a moment ago
        return Picture(deidentify.deidentify(content, path.suffix), deidentify.sniff(content) or path.suffix)

    def _kept(self, image: ConfirmedImage) -> Path | None:
        if self.kept is None:
            return None
        paths = [self.kept / f"{row.answer_id}{_KEPT_SUFFIX}" for row in image.answers]
        return next((path for path in paths if path.is_file()), None)


def find(kept: Path | None, folders: Iterable[Path], wanted: Iterable[str]) -> Pictures:
    """Look the files with the `wanted` sha256 up; InputError for a folder that is none."""
    chosen = [folder for folder in (kept, *folders) if folder is not None]
    for folder in chosen:
        if not folder.is_dir():
            raise InputError(f"{folder}: is no folder; name one that holds images with --kept or --images")
    if not chosen:
        raise InputError("name the folder of kept images with --kept, or folders of the files as sent with --images")
    left = set(wanted)
    found: dict[str, Path] = {}
    for folder in folders:
        for path in sorted(folder.rglob("*")):
            if path.suffix.lower() in {*IMAGE_SUFFIXES, ".dicom", ""} and path.is_file():
                digest = sha256_file(path)
                if digest in left:
                    found.setdefault(digest, path)
    return Pictures(kept, found)
