"""Lock files: the pinned packages of an environment."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from packaging.markers import Marker
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from pipeline.errors import InputError

_HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")


@dataclass(frozen=True)
class Package:
    """One pinned line of a lock."""

    name: str
    version: str
    hashes: tuple[str, ...]  # hex sha256 of every file of this version that the lock accepts
    marker: Marker | None

    def applies(self, environment: Mapping[str, str]) -> bool:
        """Whether it is installed in an environment, in the names of PEP 508."""
        return self.marker is None or self.marker.evaluate(dict(environment))


def read_lock(path: Path) -> list[Package]:
    """The packages of a lock with hashes; InputError for a line that pins nothing."""
    found = []
    joined = path.read_text(encoding="utf-8").replace("\\\n", " ")
    for line in joined.splitlines():
        text = line.split(" #")[0].strip()
        if not text or text.startswith("#"):
            continue
        try:
            requirement = Requirement(text.split("--hash")[0].strip())
        except InvalidRequirement:
            raise InputError(
                f"{path}: {text[:60]!r} is no line of a lock; restore the file or package the model again"
            ) from None
        pins = [part.version for part in requirement.specifier if part.operator == "=="]
        hashes = tuple(_HASH.findall(text))
        if len(pins) != 1 or not hashes:
            raise InputError(
                f"{path}: {requirement.name} has no pin with a hash; restore the file or package the model again"
            )
        found.append(Package(canonicalize_name(requirement.name), pins[0], hashes, requirement.marker))
    return found
