"""What a worker and its spare process say to each other over pipes: a frame of facts and bytes, and a line back."""

import json
import os
import select
import struct
from collections.abc import Mapping
from typing import IO, Any

_LENGTHS = struct.Struct("<II")
"""Of the facts and of the content, in bytes."""
Facts = Mapping[str, Any]


def write(pipe: IO[bytes], facts: Facts, content: bytes = b"") -> None:
    """Send one frame; OSError when nobody is there any more."""
    head = json.dumps(facts).encode()
    pipe.write(_LENGTHS.pack(len(head), len(content)) + head)
    pipe.write(content)
    pipe.flush()


def read(descriptor: int) -> tuple[dict[str, Any], bytes] | None:
    """Wait for the next frame; None at the end of the pipe."""
    lengths = _exactly(descriptor, _LENGTHS.size)
    if lengths is None:
        return None
    head_length, content_length = _LENGTHS.unpack(lengths)
    head, content = _exactly(descriptor, head_length), _exactly(descriptor, content_length)
    return None if head is None or content is None else (json.loads(head), content)


def is_waiting(descriptor: int, seconds: float) -> bool:
    """Whether something can be read, or the pipe has ended, within so many seconds."""
    return bool(select.select([descriptor], [], [], seconds)[0])


def _exactly(descriptor: int, count: int) -> bytes | None:
    parts: list[bytes] = []
    while count:
        part = os.read(descriptor, min(count, 2**20))
        if not part:
            return None
        parts.append(part)
        count -= len(part)
    return b"".join(parts)
