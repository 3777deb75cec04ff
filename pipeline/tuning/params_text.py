"""The text of params.yaml with a trial's values: comments, order and quotes stay."""

import difflib
import io
from collections.abc import Mapping
from typing import Any

from ruamel.yaml import YAML

_WIDE = 1 << 16


def changed(text: str, values: Mapping[str, Any]) -> str:
    """`text` with the values of dotted keys, such as train.dropout."""
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = _WIDE
    content = yaml.load(text)
    for key, value in values.items():
        *groups, last = key.split(".")
        target = content
        for group in groups:
            target = target.setdefault(group, {})
        if last not in target or target[last] != value:
            target[last] = value
    buffer = io.StringIO()
    yaml.dump(content, buffer)
    return buffer.getvalue()


def difference(text: str, other: str) -> str:
    """A unified diff of two texts of params.yaml, which `git apply` takes; empty where they are the same."""
    lines = difflib.unified_diff(
        text.splitlines(keepends=True), other.splitlines(keepends=True), "a/params.yaml", "b/params.yaml", n=1
    )
    return "".join(lines)
