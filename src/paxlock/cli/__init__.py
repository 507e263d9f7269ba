"""The command line, ``paxlock`` (contract.md section 3): data on stdout, talk on stderr, stable exit codes.

Commands are loaded when they are called: ``paxlock --help`` and ``paxlock --version`` load neither trio nor
cryptography nor cbor2.
"""

from __future__ import annotations

from collections.abc import Sequence

from paxlock.cli.interrupts import INTERRUPTED, ending_at_once, say_interrupted

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code; ``arguments`` are those of the process unless given.

    Never raises: whatever goes wrong is one sentence on stderr and an exit code (``paxlock.cli.exits``).
    """
    try:
        with ending_at_once():
            from paxlock.cli.gc_pauses import load

            load("paxlock.cli.group")
            from paxlock.cli.group import run_command_line
        return run_command_line(arguments)
    except KeyboardInterrupt:  # beside what was loaded, or once more while an error is told
        say_interrupted()
        return INTERRUPTED
