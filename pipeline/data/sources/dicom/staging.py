"""What is de-identified already, kept in the private folder so that an interrupted command goes on."""

import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

from pipeline.files import atomic_file

_FORM = 1
"""Number of what `deidentify` writes: a change of it makes earlier work useless."""


@dataclass(frozen=True)
class Staged:
    """A de-identified object: its names for the private table, and what its row in labels.csv says."""

    original: str
    patient_id: str
    patient: str
    study_instance_uid: str
    sop_instance_uid: str
    image_id: str
    digest: str
    region: str
    view: str
    reviewed: bool


class Staging:
    """A folder of mode 0700; `mark` stands for key and profile, and work under another one is thrown away."""

    def __init__(self, folder: Path, fingerprint: str) -> None:
        self._folder = folder
        self._mark = f"{_FORM} {fingerprint}\n"

    def open(self) -> int:
        """Make the folder, or take up what an earlier command left; how many objects there are."""
        mark = self._folder / "mark"
        if not mark.is_file() or mark.read_text(encoding="utf-8") != self._mark:
            self.remove()
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with atomic_file(mark) as partial:
            partial.write_text(self._mark, encoding="utf-8")
        return sum(1 for _ in self._folder.glob("*.json"))

    def find(self, image_id: str) -> Staged | None:
        """The object under an id, None where it is not there as a whole."""
        try:
            found = Staged(**json.loads((self._folder / f"{image_id}.json").read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return None
        return found if self.path(image_id).is_file() else None

    def add(self, staged: Staged, content: bytes) -> None:
        """Keep an object; its description, which `find` asks for, is written last."""
        for target, written in (
            (self.path(staged.image_id), content),
            (self._folder / f"{staged.image_id}.json", json.dumps(asdict(staged)).encode()),
        ):
            with atomic_file(target) as partial:
                partial.chmod(0o600)
                partial.write_bytes(written)

    def path(self, image_id: str) -> Path:
        """Where the de-identified object lies."""
        return self._folder / f"{image_id}.dcm"

    def remove(self) -> None:
        """Throw everything away."""
        shutil.rmtree(self._folder, ignore_errors=True)
