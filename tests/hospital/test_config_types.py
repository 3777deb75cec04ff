"""Every key of hospital.toml takes values of its own type alone; the keys are those of the schema."""

import json
import types
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import pytest
from pydantic import BaseModel

from hospital import config
from hospital.config import Config
from hospital.errors import HospitalError

NEEDED = {
    "name": "a",
    "ae_title": "A",
    "host": "127.0.0.1",
    "port": 1,
    "url": "https://a.example/x",
    "path": "-",
    "site": "n",
    "certificate": "c.pem",
    "key": "k.pem",
    "authorities": "a.pem",
}
"""A value for each key that has no default."""
NUMBER, WHOLE = "has to be a number, without quotes", "has to be a whole number, without quotes"
WRONG: dict[Any, list[tuple[Any, str]]] = {
    int: [("5", WHOLE), (True, WHOLE), (5.0, WHOLE), ([5], WHOLE)],
    float: [("5", NUMBER), (True, NUMBER), ([5], NUMBER), (float("inf"), "has to be a finite number")],
    bool: [(value, "has to be true or false") for value in ("true", 1, 0.0)],
    str: [(value, "has to be text, in quotes") for value in (1, True, 1.5)],
    Path: [(value, "has to be a path, in quotes") for value in (1, True, ["a"])],
    tuple: [(value, "has to be a list, in brackets") for value in ("a", 1, True)],
    dict: [(value, "has to be a table") for value in ("a", 1, True, ["a"])],
}
Key = tuple[str, Any, dict[str, Any], tuple[str | int, ...]]
"""How an error names a key, its type, a configuration in which it may stand, and where in that."""


def plain(annotation: Any) -> list[Any]:
    """The types that a key may have, without what narrows them down; one for each kind of a table."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return plain(get_args(annotation)[0])
    if origin in {Union, types.UnionType}:
        return [one for part in get_args(annotation) if part is not types.NoneType for one in plain(part)]
    return [annotation]


def put(document: dict[str, Any], place: tuple[str | int, ...], value: Any) -> dict[str, Any]:
    """A copy of a document with a value at a place."""
    copy: dict[str, Any] = json.loads(json.dumps(document))
    holder: Any = copy
    for part in place[:-1]:
        holder = holder[part]
    holder[place[-1]] = value
    return copy


def filled(model: type[BaseModel]) -> dict[str, Any]:
    """A table with what it needs."""
    found: dict[str, Any] = {}
    for name, field in model.model_fields.items():
        if field.is_required():
            (kind,) = plain(field.annotation)
            found[name] = get_args(kind)[0] if get_origin(kind) is Literal else NEEDED[name]
    return found


def keys(model: type[BaseModel], told: str, document: dict[str, Any], place: tuple[str | int, ...]) -> Iterator[Key]:
    """All keys of a table, and of those in it; `kind`, which says what table it is, has a fault of its own."""
    for name, field in model.model_fields.items():
        if name == "kind":
            continue
        annotation: Any = field.annotation
        (first, *_) = plain(annotation)
        is_list = get_origin(first) is tuple
        key, at = f"{told}{name}", (*place, name)
        if is_list:
            yield key, tuple, document, at
            key, at, annotation = f"{key}.0", (*at, 0), get_args(first)[0]
        members = plain(annotation)
        for member in members:
            within = put(document, at[:-1], [None]) if is_list else document
            if isinstance(member, type) and issubclass(member, BaseModel):
                if len(members) == 1:
                    yield key, dict, within, at
                kind = f".{filled(member)['kind']}" if len(members) > 1 else ""
                yield from keys(member, f"{key}{kind}.", put(within, at, filled(member)), at)
            else:
                origin = get_origin(member)
                kept = (
                    str if origin is Literal else dict if origin is not None and issubclass(origin, Mapping) else member
                )
                yield key, kept, within, at


KEYS = list(keys(Config, "", {}, ()))


def written(value: Any) -> str:
    """A value in TOML."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {written(one)}" for key, one in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(written, value)) + "]"
    return str(value) if isinstance(value, float) else json.dumps(value)


def read(folder: Path, document: dict[str, Any]) -> Config:
    path = folder / "hospital.toml"
    path.write_text("\n".join(f"{key} = {written(value)}" for key, value in document.items()))
    return config.read(path)


def test_all_tables_are_walked() -> None:
    told = {key for key, *_ in KEYS}
    deep = {
        "receiver.peers.0.addresses.0",
        "destinations.0.hl7.tls.key",
        "store.reports.tls.authorities",
        "audit.tls.key",
    }
    assert deep | {"audit.tls.key", "shared_spool", "receiver.port", "store.codes", "polls.0.page_size"} <= told
    assert len(told) > 120


@pytest.mark.parametrize("key", KEYS, ids=[f"{number}-{key[0]}" for number, key in enumerate(KEYS)])
def test_value_of_another_type_has_one_line(tmp_path: Path, key: Key) -> None:
    told, kind, document, place = key
    for value, reason in WRONG[kind]:
        with pytest.raises(HospitalError) as raised:
            read(tmp_path, put(document, place, value))
        said = str(raised.value).removeprefix(f"{tmp_path / 'hospital.toml'}: ")
        assert said.startswith(f"{told}: has to be "), (value, said)
        assert reason in said or "has to be '" in said  # of a choice
        assert "\n" not in said


def test_whole_number_is_a_number(tmp_path: Path) -> None:
    assert read(tmp_path, {"study": {"stable_seconds": 3}}).study.stable_seconds == 3.0


def test_date_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "hospital.toml").write_text("name = 2026-11-28")
    with pytest.raises(HospitalError, match="name: has to be text, in quotes"):
        config.read(tmp_path / "hospital.toml")
