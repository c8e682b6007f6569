"""`python -m degeneracy.cli`."""

import sys

from degeneracy.cli import main

if __name__ == "__main__":
    sys.exit(main())
