"""``--exec COMMAND``: a command for every change, one at a time, in order (contract.md section 3)."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Self

import attrs
import trio

from paxlock.cli.exits import ExitCode, Failure, signal_code
from paxlock.cli.output import Facts, say, to_json

__all__ = ["NO_SHELL", "Hook"]

#: For the help of ``--exec``.
NO_SHELL = (
    "It is split into words, and started without a shell: for variables, pipes or several commands give "
    "'sh -c \"...\"'. It gets the change as PAXLOCK_* and as JSON on stdin."
)

_VARIABLES = ("name", "state", "term", "label", "data", "data_b64")


@attrs.frozen
class Hook:
    """The words of the command, and what its environment gets besides our own."""

    argv: tuple[str, ...]
    extra: Mapping[str, str]

    @classmethod
    def parse(cls, command: str, extra: Mapping[str, str]) -> Self:
        """Split a command as a shell would. Raises Failure: 64 malformed, 127 not found, 126 not runnable."""
        try:
            argv = shlex.split(command)
        except ValueError as error:
            sentence = f"--exec {command!r} cannot be split into words: {str(error).lower()}"
            raise Failure(ExitCode.USAGE, sentence) from error
        if not argv:
            raise Failure(ExitCode.USAGE, "--exec needs a command, but it is empty")
        if shutil.which(argv[0]) is None:
            if "/" in argv[0] and Path(argv[0]).exists():
                raise Failure(ExitCode.NOT_RUNNABLE, f"--exec: {argv[0]!r} is not executable")
            raise Failure(ExitCode.NOT_FOUND, f"--exec: command not found: {argv[0]!r}")
        return cls(tuple(argv), extra)

    def of_cell(self, cell_id: bytes) -> Self:
        """The same, whose command is told the cell: terms of two cells are not to be compared."""
        return attrs.evolve(self, extra={**self.extra, "PAXLOCK_CELL_ID": cell_id.hex()})

    def environment(self, facts: Facts) -> dict[str, str]:
        """Our environment with the change as ``PAXLOCK_*``; what the change does not have is not there."""
        variables = dict(os.environ) | dict(self.extra)
        for field in _VARIABLES:
            variables.pop(f"PAXLOCK_{field.upper()}", None)
            value = str(facts.get(field, "\0"))
            if "\0" not in value:  # no environment can hold that one
                variables[f"PAXLOCK_{field.upper()}"] = value
        return variables

    async def run(self, facts: Facts) -> None:
        """Run the command for one change and wait for its end; a failure is told on stderr, no more.

        Its stdout is our stderr: ours holds nothing but our own lines. It has a session of its own, so
        that what ends us at the terminal reaches us first; if cancelled, it is terminated.
        """
        try:
            done = await trio.run_process(
                self.argv,
                stdin=f"{to_json(facts)}\n".encode(),
                stdout=sys.__stderr__.fileno() if sys.__stderr__ is not None else None,
                env=self.environment(facts),
                check=False,
                start_new_session=True,
            )
        except OSError as error:
            say(f"--exec: {self.argv[0]!r} cannot be run: {error.strerror}", even_if_quiet=True)
            return
        if done.returncode != 0:
            code = done.returncode if done.returncode > 0 else signal_code(-done.returncode)
            say(f"--exec: {self.argv[0]!r} ended with exit code {code}", even_if_quiet=True)
