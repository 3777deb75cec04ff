"""The body of an answer from another server, as long as it comes fast enough."""

from collections.abc import Iterator
from time import monotonic

import httpx

from hospital.errors import TryAgainError

_SLOWEST = 10_000  # bytes a second


def blocks(answer: httpx.Response, name: str, seconds: float) -> Iterator[bytes]:
    """The body as it comes, not decompressed; TryAgainError where it takes `seconds` longer than at 10 kB a second."""
    begun, size = monotonic(), 0
    for block in answer.iter_raw():
        size += len(block)
        if monotonic() - begun > seconds + size / _SLOWEST:
            raise TryAgainError("slow", f"{name} takes too long for an answer")
        yield block
