"""The group of commands, loaded one by one, and the frame around every call of the command line."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, TextIO

import click

from paxlock.cli import exits, output
from paxlock.cli.gc_pauses import load
from paxlock.cli.options import talk_options

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

__all__ = ["COMMANDS", "command_line", "run_command_line"]

PROGRAM = "paxlock"

#: name -> (module, what it does): known without loading the command, so that --help is fast.
COMMANDS = {
    "init": ("init", "Make the cell file and the key of a new cell."),
    "serve": ("serve", "Run one node of a cell."),
    "dev": ("dev", "Run a whole cell for trying things out."),
    "acquire": ("acquire", "Acquire a lease and print its handle."),
    "renew": ("acquire", "Renew the lease that a handle names."),
    "release": ("acquire", "Release the lease that a handle names."),
    "run": ("run", "Run a command while holding a lease."),
    "elect": ("elect", "Take part in an election."),
    "watch": ("watch", "Follow who leads one or more names."),
    "status": ("status", "Show the nodes, or one name."),
    "revoke": ("revoke", "End the tenure of somebody else."),
    "transfer": ("revoke", "Hand a name over to one who waits for it."),
    "grant": ("grant", "Make the key of a client from the cell's own key."),
    "key": ("key", "Make the root keys of a cell, and change them while it runs."),
    "member": ("member", "Show the nodes of a cell, and move one."),
    "ls": ("status", "List the names in use."),
    "stats": ("stats", "Show what every node has counted since its start."),
    "explain": ("explain", "Tell what happened to a name."),
    "audit": ("explain", "Check by the journals of all nodes that no two grants overlapped."),
    "doctor": ("doctor", "Judge the cell, the network and this machine."),
}


_CODES = "\n".join(f"  {code:3d}  {meaning}" for code, meaning in exits.MEANINGS.items())
EPILOG = f"""
The cell is found by --cell, PAXLOCK_CELL, --nodes or PAXLOCK_NODES. To try paxlock out, run 'paxlock dev' in
one terminal and what it prints in another.

{exits.DURATIONS} Only 0 needs none.

\b
Exit codes (those of a command are in its own --help; any may end with 70, and by a signal):
{_CODES}

\b
Completion at the shell, for bash, zsh and fish:
  eval "$(_PAXLOCK_COMPLETE=bash_source paxlock)"
  eval "$(_PAXLOCK_COMPLETE=zsh_source paxlock)"
  _PAXLOCK_COMPLETE=fish_source paxlock | source
"""


@contextmanager
def _reader_gone() -> Iterator[None]:
    """A broken pipe ends the command as the signal would have; click alone would end it with 1."""
    try:
        yield
    except BrokenPipeError as error:
        output.silence_stdout()
        raise exits.Failure(*exits.explain(error)) from error
    except BaseExceptionGroup as error:
        if isinstance(exits.unwrap(error), BrokenPipeError):
            output.silence_stdout()
        raise


class LazyGroup(click.Group):
    """A group that imports the module of a command when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = load(f"paxlock.cli.{COMMANDS[cmd_name][0]}")
        command = getattr(module, f"{cmd_name}_command")
        assert isinstance(command, click.Command)
        return command

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """As click does it, but without loading the commands for a word of what they do."""
        from click.shell_completion import CompletionItem

        found = [
            CompletionItem(name, help=summary)
            for name, (_, summary) in COMMANDS.items()
            if name.startswith(incomplete)
        ]
        return found + click.Command.shell_complete(self, ctx, incomplete)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            sentence = (
                f"no such option {error.option_name!r} before the command: those of a command stand after it"
            )
            raise click.UsageError(sentence, ctx) from error

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if name not in COMMANDS and not ctx.resilient_parsing:
            close = get_close_matches(name, COMMANDS, n=1)
            guess = f" (did you mean {close[0]!r}?)" if close else ""
            raise click.UsageError(f"no such command {name!r}{guess}", ctx)
        return super().resolve_command(ctx, args)

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        with _reader_gone():
            return super().make_context(info_name, args, parent, **extra)

    def invoke(self, ctx: click.Context) -> Any:
        with _reader_gone():
            return super().invoke(ctx)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, summary) in COMMANDS.items()])


def _print_version(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if not value or ctx.resilient_parsing:
        return
    output.emit(f"{PROGRAM} {_version()}")
    ctx.exit(0)


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("paxlock")
    except PackageNotFoundError:
        return "(not installed)"


@click.group(
    cls=LazyGroup,
    name=PROGRAM,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=EPILOG,
)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_version,
    help="Print the version and exit.",
)
@talk_options
@click.pass_context
def command_line(ctx: click.Context) -> int:
    """Leader election and locks, on a handful of nodes that speak Paxos over UDP."""
    if ctx.invoked_subcommand is not None:
        return exits.ExitCode.DONE
    click.echo(ctx.get_help(), err=True)
    return exits.ExitCode.USAGE


def run_command_line(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; every error becomes one sentence on stderr."""
    output.voice.quiet = output.voice.verbose = False
    _fill_stdio()
    for stream in (sys.stdout, sys.stderr):
        _never_fail_to_encode(stream)
    try:
        code = command_line.main(
            args=None if arguments is None else list(arguments), prog_name=PROGRAM, standalone_mode=False
        )
    except SystemExit:
        raise  # click has answered a shell that completes
    except BaseException as error:  # noqa: BLE001 - this is where every error ends
        code = _report(error)
    return _finish(code if isinstance(code, int) else exits.ExitCode.DONE)


def _report(error: BaseException) -> int:
    code, sentence = exits.explain(error)
    if output.voice.verbose and code == exits.ExitCode.INTERNAL:
        with suppress(OSError, ValueError):
            traceback.print_exception(error)
    if sentence:
        output.say(sentence, even_if_quiet=True)
    return code


def _finish(code: int) -> int:
    """Flush stdout here, where a reader that has gone can still be met quietly."""
    if sys.stdout is None:
        return int(code)
    try:
        sys.stdout.flush()
    except BrokenPipeError as error:
        output.silence_stdout()
        return exits.explain(error)[0]
    except (OSError, ValueError):
        output.silence_stdout()  # what is left in the buffer would be an error once more at the exit
        return int(code)
    return int(code)


def _fill_stdio() -> None:
    """Where stdin, stdout or stderr was closed, nothing that is opened later may take its number: what is
    meant for the stream would be written there. Commands that are started find it closed as before.
    """
    for fd in (0, 1, 2):
        try:
            os.fstat(fd)
        except OSError:
            with suppress(OSError):
                os.open(os.devnull, os.O_RDWR)  # it has the lowest number that is free


def _never_fail_to_encode(stream: TextIO | None) -> None:
    """A name that the terminal's encoding lacks is shown escaped instead of ending the command."""
    reconfigure = getattr(stream, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="backslashreplace")
