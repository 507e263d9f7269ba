"""``python -m paxlock``: the same as the command ``paxlock``."""

from __future__ import annotations

import sys

from paxlock.cli import main

if __name__ == "__main__":
    sys.exit(main())
