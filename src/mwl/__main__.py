"""`python -m mwl` is the `mwl` command."""

import sys

from mwl.app.cli import main

if __name__ == "__main__":
    sys.exit(main())
