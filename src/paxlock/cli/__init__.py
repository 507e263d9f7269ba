"""The command line, ``paxlock`` (contract.md section 3): data on stdout, talk on stderr, stable exit codes.

Commands are loaded when they are called: ``paxlock --help`` and ``paxlock --version`` load neither trio nor
cryptography nor cbor2.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

__all__ = ["main"]

INTERRUPTED = 130  #: the one of exits.py, which may not be loaded yet


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code; ``arguments`` are those of the process unless given.

    Never raises: whatever goes wrong is one sentence on stderr and an exit code (``paxlock.cli.exits``).
    """
    try:
        from paxlock.cli.gc_pauses import load

        load("paxlock.cli.group")
        from paxlock.cli.group import run_command_line
    except KeyboardInterrupt:  # to load is a good part of what a short command takes
        if sys.stderr is not None:
            sys.stderr.write("paxlock: interrupted\n")
        return INTERRUPTED
    return run_command_line(arguments)
