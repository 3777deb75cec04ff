"""Bicep templates as pycep reads them. It knows the grammar, not the types of Azure."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.deploy import checkers

_PARSE = """
import json, sys
from pathlib import Path
from pycep import BicepParser
print(json.dumps(BicepParser().parse(text=Path(sys.argv[1]).read_text()), default=str))
"""


def parse(template: Path) -> dict[str, Any]:
    """The parse tree, with property accesses as dotted names and calls as text."""
    answer = checkers.run("python", "-c", _PARSE, template)
    assert answer.returncode == 0, answer.stderr
    parsed: dict[str, Any] = _plain(json.loads(answer.stdout))
    return parsed


def resources(tree: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Symbolic name -> what is declared, with `type` and, for one that is not always made, `condition`.

    One that is made for each item of a list has its name in `loop`.
    """
    found = {}
    for name, resource in tree["resources"].items():
        config = resource["config"]
        wrapped = set(config) in ({"condition", "config"}, {"condition", "config", "loop_type"})
        found[name] = {
            "type": resource["type"],
            "existing": resource["existing"],
            "condition": config["condition"] if wrapped else None,
            "loop": config["loop_type"]["detail"]["array_name"] if "loop_type" in config else None,
            **(config["config"] if wrapped else config),
        }
    return found


def of_type(declared: Mapping[str, dict[str, Any]], kind: str) -> dict[str, dict[str, Any]]:
    """Those of a type that the template makes."""
    return {name: found for name, found in declared.items() if found["type"] == kind and not found["existing"]}


def _plain(node: Any) -> Any:
    if isinstance(node, list):
        return [_plain(item) for item in node]
    if not isinstance(node, dict):
        return node
    operator = node.get("operator")
    if isinstance(operator, dict) and operator["type"] == "property_accessor":
        return ".".join(str(_plain(part)) for part in operator["operands"].values())
    function = node.get("function")
    if isinstance(function, dict):
        return f"{function['type']}({', '.join(str(_plain(part)) for part in function['parameters'].values())})"
    return {key.strip("'"): _plain(value) for key, value in node.items()}
