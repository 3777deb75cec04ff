"""What is inside an image, as a CycloneDX document: every package of the service's lock, with its hashes."""

import uuid
from collections.abc import Mapping
from typing import Any

from pipeline.lockfile import Package

SPECIFICATION = "1.5"
"""Of CycloneDX (ECMA-424's predecessor, cyclonedx.org/docs/1.5/json)."""


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
