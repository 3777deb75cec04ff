"""`python -m hospital`: the gateway and its commands."""

import sys

from hospital.cli import main

if __name__ == "__main__":
    sys.exit(main())
