"""A bundle's model and data set as a CycloneDX document (ML-BOM), for tools that read lists of parts."""

import uuid
from collections.abc import Iterator, Mapping
from typing import Any

from serving.bundle import Bundle, Manifest

SPECIFICATION = "1.6"
"""Of CycloneDX (ECMA-424, first edition)."""


def document(opened: Bundle, moment: str) -> dict[str, Any]:
    """The ML-BOM of a verified bundle, made at `moment` (ISO 8601): the network with its card, and the data set."""
    manifest = opened.manifest
    model, data = f"model:{opened.sha256}", f"data:{manifest.origin.data_hash}"
    return {
        "bomFormat": "CycloneDX",
        "specVersion": SPECIFICATION,
        "serialNumber": f"urn:uuid:{uuid.uuid4()}",
        "version": 1,
        "metadata": {
            "timestamp": moment,
            "component": {
                "type": "application",
                "bom-ref": f"bundle:{manifest.digest}",
                "name": manifest.name,
                "version": manifest.version,
                "properties": _properties({"bundle-sha256": manifest.digest}),
            },
        },
        "components": [_model(opened, model, data), _data(manifest, data)],
        "dependencies": [
            {"ref": f"bundle:{manifest.digest}", "dependsOn": [model]},
            {"ref": model, "dependsOn": [data]},
            {"ref": data},
        ],
    }


def _model(opened: Bundle, reference: str, data: str) -> dict[str, Any]:
    manifest = opened.manifest
    origin = manifest.origin.model_dump(mode="json", exclude={"forced"})
    return {
        "type": "machine-learning-model",
        "bom-ref": reference,
        "name": manifest.name,
        "version": manifest.version,
        "description": manifest.intended.use,
        "hashes": [{"alg": "SHA-256", "content": opened.sha256}],
        "modelCard": {
            "modelParameters": {
                "approach": {"type": "supervised"},
                "task": "image classification",
                "architectureFamily": "convolutional neural network",
                "modelArchitecture": manifest.architecture,
                "datasets": [{"ref": data}],
                "inputs": [{"format": "radiograph as JPEG, PNG, WebP, BMP, TIFF or DICOM"}],
                "outputs": [{"format": f"calibrated probabilities of {', '.join(manifest.classes)}; heatmap"}],
            },
            "quantitativeAnalysis": {"performanceMetrics": list(_metrics(manifest.quality))},
            "considerations": {
                "users": ["people trained to read radiographs"],
                "useCases": [manifest.intended.use],
                "technicalLimitations": [
                    manifest.intended.not_for,
                    f"Regions: {', '.join(manifest.intended.regions)}. Views: {', '.join(manifest.intended.views)}.",
                ],
            },
        },
        "properties": _properties({**origin, "number-format": manifest.number_format}),
    }


def _data(manifest: Manifest, reference: str) -> dict[str, Any]:
    trained = manifest.trained_on
    return {
        "type": "data",
        "bom-ref": reference,
        "name": trained.name,
        "version": trained.version,
        "description": trained.citation,
        "licenses": [{"license": {"name": trained.licence}}],
        "data": [
            {
                "type": "dataset",
                "name": trained.name,
                "classification": "synthetic" if trained.synthetic else "de-identified radiographs",
            }
        ],
        "properties": _properties(
            {name: getattr(manifest.origin, name) for name in ("data_hash", "split_hash", "test_hash")}
        ),
    }


def _metrics(quality: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The metrics on the test set, each with its interval; those at an operating point name it as their slice."""
    for name, found in sorted(quality.get("test", {}).items()):
        if "value" in found:
            yield from _metric(name, found, "test set")
        else:
            for inner, measure in sorted(found.items()):
                yield from _metric(inner, measure, f"test set, {name.replace('_', ' ')}")


def _metric(name: str, found: Any, where: str) -> Iterator[dict[str, Any]]:
    if not isinstance(found, dict) or found.get("value") is None:
        return
    metric: dict[str, Any] = {"type": name, "value": str(found["value"]), "slice": where}
    if found.get("low") is not None and found.get("high") is not None:
        bounds = {"lowerBound": str(found["low"]), "upperBound": str(found["high"])}
        metric["confidenceInterval"] = bounds
    yield metric


def _properties(facts: Mapping[str, Any]) -> list[dict[str, str]]:
    return [
        {"name": f"org.bone-fracture.{key.replace('_', '-')}", "value": str(value)}
        for key, value in sorted(facts.items())
        if value
    ]
