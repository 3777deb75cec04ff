"""`python -m serving.store upgrade`: make the tables, or bring them to this program's version; `check` looks only."""

import os
import sys

from serving.errors import one_line


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
        from serving.store.database import Database, StoreError  # noqa: PLC0415  so that a missing extra is one line
    except ModuleNotFoundError as error:
        print(f"error: {one_line(error)}; install the packages of locks/store.txt", file=sys.stderr)
        return 1
    try:
        database = Database(url)
        if arguments == ["upgrade"]:
            database.upgrade()
        database.check()
    except StoreError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"{database.name}: ready")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
