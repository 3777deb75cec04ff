"""What is inside an image, as a CycloneDX document: every package of the service's lock, with its hashes."""

import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from packaging.markers import Marker
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from pipeline.errors import InputError

SPECIFICATION = "1.5"
"""Of CycloneDX (ECMA-424's predecessor, cyclonedx.org/docs/1.5/json)."""
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
            raise InputError(f"{path}: {text[:60]!r} is no line of a lock; package the model again") from None
        pins = [part.version for part in requirement.specifier if part.operator == "=="]
        hashes = tuple(_HASH.findall(text))
        if len(pins) != 1 or not hashes:
            raise InputError(f"{path}: {requirement.name} has no pin with a hash; package the model again")
        found.append(Package(canonicalize_name(requirement.name), pins[0], hashes, requirement.marker))
    return found


def document(packages: list[Package], subject: str, labels: Mapping[str, str], moment: str) -> dict[str, Any]:
    """The CycloneDX document of an image named `subject` that holds `packages`, made at `moment` (ISO 8601)."""
    return {
        "bomFormat": "CycloneDX",
        "specVersion": SPECIFICATION,
        "serialNumber": f"urn:uuid:{uuid.uuid4()}",
        "version": 1,
        "metadata": {
            "timestamp": moment,
            "component": {
                "type": "container",
                "bom-ref": subject,
                "name": subject,
                "properties": [{"name": name, "value": value} for name, value in sorted(labels.items())],
            },
        },
        "components": [_component(package) for package in sorted(packages, key=lambda package: package.name)],
        "dependencies": [{"ref": subject, "dependsOn": sorted(_address(package) for package in packages)}],
    }


def _address(package: Package) -> str:
    return f"pkg:pypi/{package.name}@{package.version}"


def _component(package: Package) -> dict[str, Any]:
    # One file of those with these hashes was installed; which one depends on the machine.
    distributions = [
        {"type": "distribution", "url": _address(package), "hashes": [{"alg": "SHA-256", "content": digest}]}
        for digest in package.hashes
    ]
    return {
        "type": "library",
        "bom-ref": _address(package),
        "name": package.name,
        "version": package.version,
        "purl": _address(package),
        "externalReferences": distributions,
    }
