"""The same measurement under another interpreter, in an environment of its own with paxlock and the peers."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.processes import ROOT, Failed

__all__ = ["run_with", "without_option"]

OPTION = "--python"


def without_option(arguments: Sequence[str]) -> list[str]:
    """The command line without ``--python FILE``."""
    left, words = [], iter(arguments)
    for word in words:
        if word == OPTION:
            next(words, None)
        elif not word.startswith(OPTION + "="):
            left.append(word)
    return left


def run_with(python: Path, folder: Path, arguments: Sequence[str]) -> int:
    """Run ``python -m benchmarks`` with these arguments under that interpreter; gives its exit code.

    Raises Failed where no environment can be made with it.
    """
    environment = folder / "environment"
    own = environment / "bin" / "python"
    steps = (
        ([str(python), "-m", "venv", str(environment)], "no environment can be made with it"),
        ([str(own), "-m", "pip", "install", "-q", f"{ROOT}[bench]"], "paxlock cannot be installed for it"),
    )
    for command, what in steps:
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False)
        except OSError as error:
            raise Failed(f"{python}: {what}: {error.strerror}") from error
        if done.returncode != 0:
            said = (done.stderr or done.stdout).strip().splitlines()
            raise Failed(f"{python}: {what}: {said[-1] if said else 'it does not say why'}")
    print(f"measuring with {python}", file=sys.stderr, flush=True)
    clean = {name: value for name, value in os.environ.items() if name not in ("PYTHONHOME", "VIRTUAL_ENV")}
    return subprocess.run([str(own), "-m", "benchmarks", *arguments], env=clean, check=False).returncode
