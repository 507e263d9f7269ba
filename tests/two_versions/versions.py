"""The two versions: this tree, and a wheel in a virtual environment of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import attrs

from tests.chaos.cluster import ROOT

__all__ = ["Version", "installed", "this_tree"]

INSTALL_S = 300.0
CALL_S = 60.0


@attrs.frozen
class Version:
    """How programs of one version are run. ``place`` is where its package must lie."""

    name: str
    python: tuple[str, ...]
    env: dict[str, str]
    place: Path

    def command(self, *words: str) -> list[str]:
        """The command that runs ``paxlock`` with these words."""
        return [*self.python, "-m", "paxlock", *words]

    def number(self) -> str:
        """Its version number. Raises RuntimeError where another package than its own would be run."""
        told = "import paxlock; print(paxlock.__file__); print(paxlock.__version__)"
        file, number = subprocess.run(
            [*self.python, "-c", told],
            env=self.env,
            cwd="/",
            capture_output=True,
            text=True,
            timeout=CALL_S,
            check=True,
        ).stdout.splitlines()
        if not Path(file).resolve().is_relative_to(self.place.resolve()):
            raise RuntimeError(f"the {self.name} version would be run from {file}, not below {self.place}")
        return number


def _environment() -> dict[str, str]:
    """What of ours a process may know: nothing that leads it to another package or cell."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("PAXLOCK_") and name not in ("PYTHONPATH", "PYTHONHOME")
    }


def this_tree() -> Version:
    """The version that is to be released."""
    source = ROOT / "src"
    env = {**_environment(), "PYTHONPATH": str(source)}
    return Version("new", (sys.executable, "-P"), env, source / "paxlock")


def installed(wheel: Path, folder: Path) -> Version:
    """A virtual environment with this wheel, and with what it needs from the package index.

    Raises RuntimeError with what pip said where that fails.
    """
    python = folder / "bin" / "python"
    for command in (
        # By the pip that is here: to install one more takes as long as all the rest.
        [sys.executable, "-m", "venv", "--without-pip", str(folder)],
        [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", str(wheel.resolve())],
    ):
        done = subprocess.run(
            command, env=_environment(), capture_output=True, text=True, timeout=INSTALL_S, check=False
        )
        if done.returncode:
            raise RuntimeError(f"{wheel.name} cannot be installed: {done.stderr.strip()[-2000:]}")
    return Version("old", (str(python), "-I"), _environment(), folder)
