"""Programs that stand in for what only a cloud has, and a reader of its templates."""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

DOCKER = """
import hashlib, json, os, subprocess, sys
words = sys.argv[1:]
with open(os.environ.get("DOCKER_LOG", os.devnull), "a") as log:
    log.write(" ".join(words) + "\\n")
if words[0] == "login":
    sys.exit(0 if sys.stdin.read().strip() else "no password")
if words[0] == "push":
    host, _, rest = words[1].partition("/")
    name, _, tag = rest.partition(":")
    layer = {"mediaType": "application/vnd.docker.container.image.v1+json", "size": 2,
             "digest": "sha256:" + hashlib.sha256(tag.encode()).hexdigest()}
    manifest = {"schemaVersion": 2, "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
                "config": layer, "layers": [layer]}
    sys.exit(subprocess.call(
        ["aws", "ecr", "put-image", "--region", host.split(".")[3], "--repository-name", name, "--image-tag", tag,
         "--image-manifest", json.dumps(manifest)], stdout=subprocess.DEVNULL))
"""
"""Pushes to the moto server by the real client, as an image whose bytes are its tag."""


def write_program(path: Path, python: str) -> None:
    """An executable that runs a few lines of Python."""
    path.write_text(f"#!{sys.executable} -S\n{python}")
    path.chmod(0o755)


def recorded(folder: Path, answers: Mapping[str, Sequence[Mapping[str, Any]]], program: str = "aws") -> Path:
    """An `aws` (or another program) in `folder` that gives recorded answers, and writes what it was asked to calls.txt.

    `answers`: "service operation" -> what it prints (out, err) and its exit code (code), one after the other; the
    last one is given again and again. Anything else is refused.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "answers.json").write_text(json.dumps({key: list(value) for key, value in answers.items()}))
    write_program(folder / program, _RECORDED.replace("FOLDER", repr(str(folder))))
    return folder


_RECORDED = """
import json, os, sys
folder = FOLDER
path = os.path.join(folder, "answers.json")
answers = json.load(open(path))
with open(os.path.join(folder, "calls.txt"), "a") as log:
    log.write(" ".join(sys.argv[1:]) + "\\n")
asked = " ".join(sys.argv[1:3])
if asked not in answers:
    sys.exit(f"not recorded: {asked}")
answer = answers[asked].pop(0) if len(answers[asked]) > 1 else answers[asked][0]
json.dump(answers, open(path, "w"))
sys.stderr.write(answer.get("err", ""))
sys.stdout.write(answer["out"] if isinstance(answer.get("out", ""), str) else json.dumps(answer["out"]))
sys.exit(answer.get("code", 0))
"""


def read_template(path: Path) -> dict[str, Any]:
    """A CloudFormation template, its short forms (!Ref, !Sub, ...) written out."""
    yaml = YAML(typ="safe", pure=True)

    def construct(loader: Any, tag: str, node: Any) -> dict[str, Any]:
        if node.id == "scalar":
            value = node.value
        elif node.id == "sequence":
            value = loader.construct_sequence(node, deep=True)
        else:
            value = loader.construct_mapping(node, deep=True)
        if tag == "GetAtt" and isinstance(value, str):
            value = value.split(".")
        return {tag if tag in {"Ref", "Condition"} else f"Fn::{tag}": value}

    yaml.constructor.add_multi_constructor("!", construct)
    template: dict[str, Any] = yaml.load(path)
    return template
