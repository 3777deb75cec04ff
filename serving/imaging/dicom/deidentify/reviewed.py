"""The list of images in which a person has read the text and found that it identifies nobody."""

from pathlib import Path

from serving.imaging.dicom.dataset import identifier


class ReviewedError(Exception):
    """A list that cannot be used; the message is one line: which file, which line, what to do."""


def read_reviewed(path: Path) -> frozenset[str]:
    """SOP Instance UIDs, one a line; empty lines and what follows # are skipped. ReviewedError for anything else."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except FileNotFoundError:
        raise ReviewedError(f"{path}: not found; name a file with a SOP Instance UID on each line") from None
    except (OSError, UnicodeDecodeError):
        raise ReviewedError(f"{path}: cannot be read as text; write a SOP Instance UID on each line") from None
    found = set()
    for number, line in enumerate(lines, start=1):
        words = line.partition("#")[0].strip()
        if words and not identifier(words):
            raise ReviewedError(f"{path}: line {number} is no UID; write a SOP Instance UID on each line")
        found.add(words)
    return frozenset(found - {""})
