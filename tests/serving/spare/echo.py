"""A spare process for the tests: says how long an image is, or does what the image tells it to."""

import os
import sys
from collections.abc import Mapping
from typing import Any

from serving.spare import child


def begin(settings: Mapping[str, Any]) -> child.Work:
    """Refuse settings that are `broken`."""
    if settings.get("broken"):
        raise ValueError("broken\nsettings")

    def work(facts: Mapping[str, Any], content: bytes) -> dict[str, Any]:
        if content == b"die":
            sys.stdout.flush()
            os._exit(9)
        if content == b"raise":
            raise RuntimeError("defect")
        if content == b"print":
            print("a library's chatter", flush=True)
        if content == b"policy":
            return {"done": [os.sched_getscheduler(0), os.nice(0)]}
        return {"dropped": "full"} if content == b"full" else {"done": [facts["name"], len(content)]}

    return work


if __name__ == "__main__":
    child.serve(begin)
