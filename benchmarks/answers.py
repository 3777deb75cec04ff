"""Whether two versions of the service answer alike: record every answer of one, compare those of another.

    python -m benchmarks.answers record URL FOLDER FILE     # one line of JSON for each file of FOLDER
    python -m benchmarks.answers compare BEFORE AFTER       # what differs, by kind; exit code 1 where numbers do

Texts for a person may be reworded: they are listed apart and do not count as a difference.
"""

import argparse
import hashlib
import json
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx

_TEXTS = {"statement", "message", "detail", "title"}
_OF_THE_REQUEST = {"request_id"}


def record(url: str, folder: Path, target: Path) -> int:
    """Send every file below FOLDER with all options on; write name, status and answer; gives the number of files."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    with httpx.Client(base_url=url, timeout=60) as client, target.open("w", encoding="utf-8") as out:
        lines = [("GET /model", client.get("/model"))]
        for path in files:
            query = {"explain": "true", "preview": "true"}
            lines.append((path.name, client.post("/predict", params=query, content=path.read_bytes())))
            while lines:
                name, response = lines.pop(0)
                out.write(json.dumps([name, response.status_code, _shortened(response.json())]) + "\n")
    return len(files)


def _shortened(value: Any) -> Any:
    """The same with pictures as their hash."""
    if isinstance(value, dict):
        return {
            key: hashlib.sha256(item.encode()).hexdigest()[:16] if key == "data" else _shortened(item)
            for key, item in value.items()
        }
    return [_shortened(item) for item in value] if isinstance(value, list) else value


def compare(before: Path, after: Path) -> int:
    """Print what differs; gives the number of files whose status, keys, codes or numbers do."""
    old, new = (
        {name: (status, answer) for name, status, answer in map(json.loads, path.open(encoding="utf-8"))}
        for path in (before, after)
    )
    changed: dict[str, list[str]] = {}
    texts: Counter[tuple[str, str]] = Counter()
    for name in sorted(old.keys() | new.keys()):
        if name not in old or name not in new:
            changed[name] = ["only in one of the two"]
            continue
        for place, was, now in _differences("", {"status": old[name][0], "body": old[name][1]},
                                            {"status": new[name][0], "body": new[name][1]}):  # fmt: skip
            if place.rpartition(".")[2] in _TEXTS:
                texts[str(was), str(now)] += 1
            else:
                changed.setdefault(name, []).append(f"{place}: {was!r} -> {now!r}")
    print(f"{len(old)} answers before, {len(new)} after; {len(changed)} differ in status, keys, codes or numbers")
    for name, found in list(changed.items())[:20]:
        print(f"  {name}: {'; '.join(found[:4])}")
    print(f"{len(texts)} texts were reworded")
    for (was, now), count in texts.most_common():
        print(f"  {count} x {was!r}\n    -> {now!r}")
    return len(changed)


def _differences(place: str, before: Any, after: Any) -> Iterator[tuple[str, Any, Any]]:
    if isinstance(before, dict) and isinstance(after, dict):
        for key in sorted((before.keys() | after.keys()) - _OF_THE_REQUEST):
            if key not in before or key not in after:
                yield f"{place}.{key}", before.get(key, "absent"), after.get(key, "absent")
            else:
                yield from _differences(f"{place}.{key}", before[key], after[key])
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for number, (was, now) in enumerate(zip(before, after, strict=True)):
            yield from _differences(f"{place}[{number}]", was, now)
    elif before != after:
        yield place, before, after


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    recording = commands.add_parser("record")
    recording.add_argument("url")
    recording.add_argument("folder", type=Path)
    recording.add_argument("file", type=Path)
    comparing = commands.add_parser("compare")
    comparing.add_argument("before", type=Path)
    comparing.add_argument("after", type=Path)
    given = parser.parse_args()
    if given.command == "record":
        print(f"{record(given.url, given.folder, given.file)} files answered, in {given.file}")
    else:
        sys.exit(1 if compare(given.before, given.after) else 0)


if __name__ == "__main__":
    main()
