"""`python -m benchmarks.hospital PART`: what the gateway does under faults and load; PART is one of those below."""

import sys
from collections.abc import Callable

from benchmarks.hospital import lost, memory, throughput

_PARTS: dict[str, tuple[Callable[[list[str]], int], str]] = {
    "lost": (lost.main, "kills, a destination that is away half of the time, a disk that fills up: is anything lost?"),
    "throughput": (throughput.main, "rate of C-STORE beside a bare loop, and seconds to the confirmed delivery"),
    "memory": (memory.main, "resident memory over thousands of objects"),
}


def main() -> int:
    """Run a part; its exit code."""
    part, *options = sys.argv[1:] or [""]
    if part in _PARTS:
        return _PARTS[part][0](options)
    print(
        "usage: python -m benchmarks.hospital PART [options]; --help behind a part tells its options", file=sys.stderr
    )
    for name, (_, text) in _PARTS.items():
        print(f"  {name:<11} {text}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
