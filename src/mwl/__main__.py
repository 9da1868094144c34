"""`python -m mwl` is the `mwl` command."""

import sys

from mwl.cli import main

if __name__ == "__main__":
    sys.exit(main())
