"""Exit codes, and which error of any kind ends with which (contract.md section 3)."""

from __future__ import annotations

import enum

import click

from paxlock.errors import (
    ConfigError,
    InternalError,
    LeaseLost,
    NotAcquired,
    NotAllowed,
    PaxlockError,
    Reason,
    StoreError,
)

__all__ = [
    "DURATIONS",
    "MEANINGS",
    "NO_ANSWER",
    "NO_KEY",
    "ExitCode",
    "Failure",
    "epilog",
    "explain",
    "signal_code",
    "unwrap",
]

SIGNAL_BASE = 128  # shells report the death by signal N as the exit code 128 + N
SIGPIPE = 13
NO_ANSWER = "no node answered: are they running, and is this the cell's key?"
NO_KEY = "no node answered: are they running? No key was given, and most cells have one (--key-file)"
CHAIN_MAX_LINKS = 16


class ExitCode(enum.IntEnum):
    """The exit codes that scripts may rely on."""

    DONE = 0
    USAGE = 64  #: bad usage, malformed handle, bad name or duration
    NO_QUORUM = 69
    INTERNAL = 70  #: an unexpected error: a bug in paxlock, or the system in the way
    HELD = 75  #: somebody else has the name, or several want it and nobody is known to hold it yet
    NOT_ALLOWED = 77
    CONFIG = 78  #: bad configuration, unusable data folder, port in use
    LEASE_LOST = 79
    NOT_RUNNABLE = 126
    NOT_FOUND = 127
    INTERRUPTED = 130


#: What each means, for the help of the commands.
MEANINGS = {
    ExitCode.DONE: "done",
    ExitCode.USAGE: "bad usage",
    ExitCode.NO_QUORUM: "no quorum answered in time",
    ExitCode.INTERNAL: "a bug, or the system in the way (a full disk, no descriptors left)",
    ExitCode.HELD: "held by somebody else",
    ExitCode.NOT_ALLOWED: "not allowed, by the key or by the permissions of a file",
    ExitCode.CONFIG: "bad configuration",
    ExitCode.LEASE_LOST: "the lease was lost or is over",
    ExitCode.NOT_RUNNABLE: "COMMAND cannot be run",
    ExitCode.NOT_FOUND: "COMMAND not found",
    ExitCode.INTERRUPTED: "interrupted (128 + its number by another signal than INT)",
}
DURATIONS = "A DURATION is numbers with units: 250ms, 15s, 1m30s, 2h."


def epilog(*codes: int | str, durations: bool = False) -> str:
    """The end of a command's help: its exit codes, by number or in words of its own, and how durations are
    written if it takes any. What any command may end with, a bug among them, is in the help of paxlock alone.
    """
    words = [code if isinstance(code, str) else f"{code} {MEANINGS[ExitCode(code)]}" for code in codes]
    return (f"{DURATIONS}\n\n" if durations else "") + f"Exit codes: {'; '.join(words)}."


class Failure(Exception):
    """Ends the command: the exit code, and the sentence for stderr (``""``: nothing is said)."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message

    def __reduce__(self) -> tuple[type[Failure], tuple[int, str]]:
        return type(self), (self.code, self.message)


def signal_code(signum: int) -> int:
    """The exit code of a command that a signal ended."""
    return SIGNAL_BASE + signum


def unwrap(error: BaseException) -> BaseException:
    """The error that matters in a group: the only one, or the first of paxlock's own or of the command."""
    while isinstance(error, BaseExceptionGroup):
        inside = [unwrap(each) for each in error.exceptions]
        known = [each for each in inside if isinstance(each, (Failure, PaxlockError, BrokenPipeError))]
        error = (known or inside)[0]
    return error


def explain(error: BaseException) -> tuple[int, str]:
    """The exit code for an error, and one sentence without a full stop at its end."""
    error = unwrap(error)
    match error:
        case Failure():
            return error.code, error.message
        case click.ClickException():
            return ExitCode.USAGE, _usage(error)
        case KeyboardInterrupt() | click.Abort():
            return ExitCode.INTERRUPTED, "interrupted"
        case BrokenPipeError():
            return signal_code(SIGPIPE), ""
        case NotAcquired():
            held = error.reason is not Reason.NO_QUORUM
            return (ExitCode.HELD if held else ExitCode.NO_QUORUM), str(error)
        case NotAllowed():
            return ExitCode.NOT_ALLOWED, str(error)
        case LeaseLost():
            return ExitCode.LEASE_LOST, str(error)
        case StoreError():
            return ExitCode.CONFIG, str(error)
        case ConfigError():
            refused = _caused_by(error, PermissionError)
            return (ExitCode.NOT_ALLOWED if refused else ExitCode.CONFIG), str(error)
        case InternalError():
            cause = f" ({_describe(error.__cause__)})" if error.__cause__ is not None else ""
            return ExitCode.INTERNAL, f"{error}{cause}; -v shows where"
        case OSError() if error.strerror:
            where = f" ({error.filename})" if error.filename else ""
            return ExitCode.INTERNAL, f"the system is in the way: {error.strerror}{where}; -v shows where"
        case _:
            return ExitCode.INTERNAL, f"unexpected error: {_describe(error)}; -v shows where"


def _usage(error: click.ClickException) -> str:
    sentence = " ".join(error.format_message().split()).rstrip(".")
    context = error.ctx if isinstance(error, click.UsageError) else None
    path = context.command_path if context is not None else "paxlock"
    return f"{sentence[:1].lower()}{sentence[1:]}; see '{path} --help'"


def _caused_by(error: BaseException, kind: type[BaseException]) -> bool:
    link: BaseException | None = error
    for _ in range(CHAIN_MAX_LINKS):
        if link is None or isinstance(link, kind):
            break
        link = link.__cause__
    return isinstance(link, kind)


def _describe(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
