"""`python -m serving.store upgrade`: make the tables, or bring them to this program's version; `check` looks only."""

import os
import sys
from typing import TYPE_CHECKING

from serving.errors import one_line
from serving.late import late
from serving.store.errors import StoreError

if TYPE_CHECKING:
    from serving.store import database
else:
    database = late("serving.store.database")  # the extra is needed from its first use on


def main(arguments: list[str]) -> int:
    """Run one of both on FRACTURE_STORE_URL; 1 with a line on stderr where that fails, 2 for wrong usage."""
    if arguments not in (["upgrade"], ["check"]):
        print("usage: FRACTURE_STORE_URL=... python -m serving.store upgrade|check", file=sys.stderr)
        return 2
    url = os.environ.get("FRACTURE_STORE_URL", "")
    if not url:
        print("error: FRACTURE_STORE_URL is not set; it names the database", file=sys.stderr)
        return 1
    try:
        store = database.Database(url)
        if arguments == ["upgrade"]:
            store.upgrade()
        store.check()
    except ModuleNotFoundError as error:
        print(f"error: {one_line(error)}; install the packages of locks/store.txt", file=sys.stderr)
        return 1
    except StoreError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"{store.name}: ready")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
