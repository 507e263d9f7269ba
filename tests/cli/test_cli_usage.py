"""The frame of the command line: help, laziness, exit codes, and one sentence for every mistake."""

from __future__ import annotations

import errno
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import click
import pytest
from paxlock_process import NO_CELL, default_signals, environment

from paxlock import Cell
from paxlock.cli import main
from paxlock.cli.exits import MEANINGS, ExitCode, Failure, explain, signal_code
from paxlock.cli.group import COMMANDS, command_line
from paxlock.cli.hook import Hook
from paxlock.cli.output import standing_facts, to_json
from paxlock.cli.status import CHECK_CODES
from paxlock.client.standing import Standing, State, Waiter
from paxlock.core.session.attempt import NOBODY_YET
from paxlock.errors import (
    ConfigError,
    InternalError,
    LeaseLost,
    LossReason,
    NotAcquired,
    Reason,
    StoreError,
)

PAGE = Path(__file__).parents[2] / "docs" / "command_line.md"
HEAVY = ("trio", "cryptography", "cbor2")


@pytest.fixture(autouse=True)
def _no_cell(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("PAXLOCK_CELL", "PAXLOCK_NODES", "PAXLOCK_KEY_FILE", "PAXLOCK_NODE", "PAXLOCK_DATA_DIR"):
        monkeypatch.delenv(variable, raising=False)


def in_a_new_python(script: str, argument: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", script, argument],
        capture_output=True,
        text=True,
        env=environment({}),
        check=False,
        preexec_fn=default_signals,
    )


@pytest.mark.parametrize("option", ["--help", "--version", "run --help"])
def test_help_and_version_load_nothing_heavy(option: str) -> None:
    script = (
        "import sys; from paxlock.cli import main; code = main(sys.argv[1].split()); "
        f"print([name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr); sys.exit(code)"
    )
    done = in_a_new_python(script, option)
    assert done.returncode == 0
    assert done.stderr == "[]\n"
    assert done.stdout.startswith("paxlock " if option == "--version" else "Usage: paxlock")


@pytest.mark.parametrize("command", ["serve", "dev"])
def test_a_node_loads_nothing_of_the_client(command: str) -> None:
    script = (
        "import sys; from paxlock.cli import main; code = main([sys.argv[1], '--help']); "
        "loaded = [name for name in ('paxlock.client', 'paxlock.core.session') if name in sys.modules]; "
        "print(loaded, "
        "'paxlock.node.server' in sys.modules, file=sys.stderr); sys.exit(code)"
    )
    done = in_a_new_python(script, command)
    assert done.returncode == 0
    assert done.stderr == "[] True\n"


def test_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    lines = capsys.readouterr().out.splitlines()
    for name, (_, summary) in COMMANDS.items():
        assert any(line.split() == [name, *summary.split()] for line in lines)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_exists_and_says_what_the_list_says(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with click.Context(command_line) as context:
        command = command_line.get_command(context, name)
    assert command is not None
    assert command.name == name
    assert command.help is not None
    assert command.help.split("\n")[0] == COMMANDS[name][1]
    assert main([name, "--help"]) == 0
    assert capsys.readouterr().out.startswith(f"Usage: paxlock {name}")


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_tells_its_exit_codes_and_how_durations_are_written(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([name, "--help"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "64 bad usage" in text
    assert ("--exec COMMAND" in text) == ("127 COMMAND not found" in text and name != "run")
    assert (" DURATION " in text) == ("250ms, 15s, 1m30s, 2h" in text)


@pytest.mark.parametrize("name", ["elect", "watch"])
def test_the_help_says_that_no_shell_runs_the_command_of_exec(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([name, "--help"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "without a shell: for variables, pipes or several commands give 'sh -c \"...\"'" in text
    assert Hook.parse('sh -c "echo $PAXLOCK_STATE; exit 3"', {}).argv == (
        *("sh", "-c"),
        "echo $PAXLOCK_STATE; exit 3",
    )


def test_the_help_of_run_says_that_no_kill_follows_a_signal(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "--help"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "are passed on to the command, and no KILL follows them" in text
    assert "between TERM and KILL when the lease is lost" in text


def test_the_help_has_every_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    for code, meaning in MEANINGS.items():
        assert [str(int(code)), *meaning.split()] in lines
    assert set(ExitCode) == set(MEANINGS)


@pytest.mark.parametrize("arguments", [["grant", "--acquire"], ["key", "new"]])
def test_a_key_goes_to_stdout_without_a_file_and_with_a_dash(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    Cell.new({"a": "127.0.0.1:7400"}).save(tmp_path / "cell.toml")
    monkeypatch.setenv("PAXLOCK_CELL", str(tmp_path / "cell.toml"))
    monkeypatch.chdir(tmp_path)
    for given in ([], ["-"]):
        assert main([*arguments, *given]) == 0
        captured = capsys.readouterr()
        assert captured.out.splitlines()[-1].startswith("paxlock-") and captured.err == ""
        assert "key" in json.loads((main([*arguments, *given, "--json"]), capsys.readouterr().out)[1])
    assert sorted(file.name for file in tmp_path.iterdir()) == ["cell.key", "cell.toml"]
    assert main([*arguments, "--help"]) == 0
    assert "[FILE]" in capsys.readouterr().out


def test_the_page_for_scripts_has_every_exit_code_and_every_command() -> None:
    page = PAGE.read_text(encoding="utf-8")
    codes = {
        int(code)
        for code in re.findall(r"^\| (\d+(?:, \d+)*) \|", page, re.MULTILINE)
        for code in code.split(", ")
    }
    assert codes == {*ExitCode, *CHECK_CODES.values(), 1} - {ExitCode.INTERRUPTED}
    assert "130 by Ctrl-C" in page
    words = set(re.findall(r"[a-z]+", " ".join(re.findall(r"`([^`]*)`", page))))
    assert set(COMMANDS) <= words


def test_the_json_of_the_page_for_scripts_is_what_is_printed() -> None:
    found = re.search(r"```json\n(.*)\n```", PAGE.read_text(encoding="utf-8"))
    assert found is not None
    standing = Standing(
        "deploy", State.LED, 7, "build 42", b"", 8.1234, 10.0, (Waiter("build 43", 0.512),), 3, 3
    )
    assert to_json(standing_facts(standing)) == found[1]


def completed(shell: str, words: str, at: int) -> str:
    """What the shell is told to offer for the last of these words."""
    script = "from paxlock.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", script],
        capture_output=True,
        text=True,
        env=environment({"_PAXLOCK_COMPLETE": shell, "COMP_WORDS": words, "COMP_CWORD": str(at)}),
        check=True,
    )
    if at == 1:
        assert "trio" not in done.stderr
    return done.stdout


def test_the_shell_completes_commands_and_options() -> None:
    assert completed("bash_complete", "paxlock re", 1) == "plain,renew\nplain,release\nplain,revoke\n"
    assert completed("bash_complete", "paxlock run --at", 2) == "plain,--at-least\n"
    assert "Renew the lease that a handle names." in completed("zsh_complete", "paxlock re", 1)


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_the_help_names_the_shells_that_complete(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    assert f"_PAXLOCK_COMPLETE={shell}_source paxlock" in capsys.readouterr().out
    assert "_paxlock" in completed(f"{shell}_source", "", 0)


def test_without_a_command_the_help_is_talk(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == ExitCode.USAGE
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "acquire" in captured.err


BAD_TERMS = ["abc", "0", "1.5", "1_0", " 1", "\u0661", str(1 << 62), "9" * 5000]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nonsense"], "no such command 'nonsense'; see 'paxlock --help'"),
        (["aquire", "job"], "no such command 'aquire' (did you mean 'acquire'?); see"),
        (["--nonsense"], "no such option '--nonsense' before the command: those of a command stand after it"),
        (["--cell", "cell.toml", "status"], "no such option '--cell' before the command"),
        (["acquire"], "NAME"),
        (["acquire", ""], "must not be empty"),
        (["acquire", "jobs*"], "must not end in '*'"),
        (["acquire", "x" * 256], "255 bytes"),
        (["acquire", "job", "--ttl", "5"], 'such as "5s"'),
        (["acquire", "job", "--ttl", "soon"], "write it like"),
        (["acquire", "job", "--wait", "-1s"], "must not be negative"),
        (["acquire", "job", "--try", "--wait", "5s"], "not both"),
        (["acquire", "job", "--label", "x" * 65], "64 bytes"),
        (["acquire", "job", "--data", "x" * 513], "512 bytes"),
        (["renew", "nonsense"], "not a handle"),
        (["release", "pl1.AAAA"], "not a handle"),
        (["run", "job"], "COMMAND"),
        (["run", "job", "ls", "-l"], "put -- before the command"),
        (["run", "job", "-E", "256", "--", "true"], "'256' is not an exit code: give a number from 0 to 255"),
        (["run", "job", "-E", "x", "--", "true"], "'x' is not an exit code"),
        *((["revoke", "job", term, "--force"], f"{term!r} is not a term: give") for term in BAD_TERMS),
        (["key"], "say what is to be done: new, list, add, promote or drop; see 'paxlock key --help'"),
        (["member"], "say what is to be done: list or move; see 'paxlock member --help'"),
        (["key", "promote", "0"], "'0' is not the id of a key: give"),
        (["key", "drop", "one"], "'one' is not the id of a key: give"),
        (["watch"], "NAME"),
        (["watch", "a\tb"], "control characters"),
        (["watch", "job", "--until", "unknown"], "unknown"),
        (["watch", "job", "--once", "--until", "led"], "not both"),
        (["watch", "job", "--exec", "'"], "cannot be split"),
        (["elect", "job", "--exec", ""], "empty"),
        (["status", "--check"], "needs a NAME"),
        (["dev", "--nodes", "2"], "2"),
        (["serve", "--create", "--join"], "not two"),
        (["serve", "--by-clock", "--join"], "not two"),
        (["serve", "--by-clock", "--start", "create"], "not two"),
        (["serve", "--durability", "never"], "never"),
        (["serve", "--listen", "nowhere"], "not an address"),
        (["serve", "--node", "a b"], "not a node id"),
        (["status", "--nodes", "nowhere"], "not an address"),
        (["status", "--nodes", "127.0.0.1:7400,0.0.0.0:7400"], "all addresses of a host"),
        (["ls", "a\tb"], "control characters"),
        (["ls", "x" * 256], "255 bytes"),
        (["acquire", "a\u200bb"], "U+200B, which nobody can see"),
        (["watch", "a\u202eb*"], "U+202E, which nobody can see"),
        (["acquire", "job", "--label", "a\u202eb"], "U+202E, which nobody can see"),
        (["init", "cell.key", "a=10.0.0.7:7400"], "no name for a cell file"),
        (["init", "", "a=10.0.0.7:7400"], "no name for a cell file"),
        (["init", "-", "a=10.0.0.7:7400"], "no name for a cell file"),
        (["init", "a=10.0.0.7:7400", "b=10.0.0.8:7400"], "no name for a cell file"),
        (["init", "/nonexistent/cell.toml", "a=0.0.0.0:7400"], "all addresses of a host"),
        (["init", "/nonexistent/cell.toml", "a=[::]:7400"], "all addresses of a host"),
        (
            ["init", "/nonexistent/cell.toml", "a=host:1", "b=10.0.0.1:1", "c=[fd00::1]:1"],
            "node b and node c cannot reach each other: c has IPv6 addresses only",
        ),
        (["init", "/nonexistent/cell.toml", "a"], "ID=ADDRESS"),
        (["init", "/nonexistent/cell.toml", "a=nowhere"], "not an address"),
        (["init", "/nonexistent/cell.toml", "a=h:1", "b=h:2"], "1, 3, 5 or 7 nodes"),
    ],
)
def test_bad_usage_is_64_and_one_sentence(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == ExitCode.USAGE
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("paxlock: ")
    assert captured.err.count("\n") == 1
    assert said in captured.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["acquire", "job"], "which cell?"),
        (["status"], "which cell?"),
        (["run", "job", "--", "true"], "which cell?"),
        (["serve"], "which cell?"),
        (["status", "--cell", "/nonexistent/cell.toml"], "there is no cell file"),
        (["status", "--nodes", "10.0.0.7:7400"], "without a key"),
        (["init", "/nonexistent/cell.toml", "a=127.0.0.1:7400"], "make the folder /nonexistent first"),
    ],
)
def test_bad_configuration_is_78_and_one_sentence(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == ExitCode.CONFIG
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert said in captured.err


def _refused() -> ConfigError:
    error = ConfigError("the key file cell.key cannot be read: Permission denied")
    error.__cause__ = PermissionError(13, "Permission denied")
    outer = ConfigError("cell file cell.toml: the key file cell.key cannot be read")
    outer.__cause__ = error
    return outer


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (click.UsageError("no"), 64),
        (NotAcquired("job", Reason.NO_QUORUM), 69),
        (RuntimeError("a bug"), 70),
        (InternalError("a bug"), 70),
        (OSError(24, "Too many open files"), 70),
        (NotAcquired("job", Reason.HELD, "host:1"), 75),
        (NotAcquired("job", Reason.CONTENDED, detail=NOBODY_YET), 75),
        (_refused(), 77),
        (ConfigError("no"), 78),
        (StoreError("no"), 78),
        (LeaseLost("job", 7, LossReason.EXPIRED), 79),
        (KeyboardInterrupt(), 130),
        (BrokenPipeError(), 141),
        (Failure(99, "so"), 99),
    ],
)
def test_every_error_has_its_exit_code_also_inside_groups(error: BaseException, code: int) -> None:
    assert explain(error)[0] == code
    assert explain(BaseExceptionGroup("", [BaseExceptionGroup("", [error])]))[0] == code
    assert "\n" not in explain(error)[1]


def test_what_is_ours_wins_in_a_group() -> None:
    group = ExceptionGroup("", [RuntimeError("noise"), LeaseLost("job", 7, LossReason.EXPIRED)])
    assert explain(group)[0] == 79


def test_an_unexpected_error_is_one_line_and_v_shows_the_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("first line\nsecond line")

    monkeypatch.setattr("paxlock.config.cell.client_settings", broken)
    assert main(["status"]) == ExitCode.INTERNAL
    error = capsys.readouterr().err
    assert error == "paxlock: unexpected error: RuntimeError: first line second line; -v shows where\n"
    assert main(["-v", "status"]) == main(["status", "-v"]) == ExitCode.INTERNAL
    assert capsys.readouterr().err.count("Traceback") == 2


def test_a_command_for_exec_that_is_missing_or_not_runnable(tmp_path_factory: pytest.TempPathFactory) -> None:
    plain = tmp_path_factory.mktemp("plain") / "plain"
    plain.write_text("")
    with pytest.raises(Failure) as missing:
        Hook.parse("no-such-command x", {})
    assert missing.value.code == ExitCode.NOT_FOUND
    with pytest.raises(Failure) as unusable:
        Hook.parse(str(plain), {})
    assert unusable.value.code == ExitCode.NOT_RUNNABLE


def test_the_environment_of_exec_is_that_of_the_change_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAXLOCK_TERM", "3")
    monkeypatch.setenv("PAXLOCK_LABEL", "old")
    hook = Hook.parse("true 'a b'", {"PAXLOCK_CELL": "/cell.toml"})
    assert hook.argv == ("true", "a b")
    found = hook.environment({"v": 1, "name": "job", "state": "led", "term": 7, "data": "a\0b"})
    ours = {name: value for name, value in found.items() if name.startswith("PAXLOCK_")}
    assert ours == {
        "PAXLOCK_CELL": "/cell.toml",
        "PAXLOCK_NAME": "job",
        "PAXLOCK_STATE": "led",
        "PAXLOCK_TERM": "7",
    }


def test_an_interrupt_while_it_loads_is_no_traceback(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(module: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("paxlock.cli.gc_pauses.load", interrupted)
    assert main(["status"]) == ExitCode.INTERRUPTED
    assert capsys.readouterr().err == "paxlock: interrupted\n"


#: Ctrl-C at a bad moment of an import: what a callback raises is dropped, that of a class's part is wrapped.
INTERRUPTED_IMPORT = """
import signal, sys, weakref
import paxlock.cli

class Gone:
    pass

class Part:
    def __set_name__(self, owner, name):
        signal.raise_signal(signal.SIGINT)

class Finder:
    def find_spec(self, name, path=None, target=None):
        where, how = sys.argv[1].split()
        if name == where and how == "dropped":
            gone = Gone()
            seen = weakref.ref(gone, lambda _: signal.raise_signal(signal.SIGINT))
            del gone
        elif name == where:
            type("Owner", (), {"part": Part()})

sys.meta_path.insert(0, Finder())
sys.exit(paxlock.cli.main(["status", "--nodes", "127.0.0.1:9", "no such name"]))
"""


@pytest.mark.parametrize("how", ["dropped", "wrapped"])
@pytest.mark.parametrize("module", ["paxlock.cli.group", "click", "paxlock.cli.status", "trio"])
def test_an_interrupt_while_it_loads_is_never_lost(module: str, how: str) -> None:
    done = in_a_new_python(INTERRUPTED_IMPORT, f"{module} {how}")
    assert (done.stderr, done.stdout) == ("paxlock: interrupted\n", "")
    assert done.returncode == ExitCode.INTERRUPTED


def test_another_interrupt_while_an_error_is_told_is_no_traceback(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("paxlock.cli.output.say", interrupted)
    assert main(["status", "--no-such-option"]) == ExitCode.INTERRUPTED
    assert capsys.readouterr().err == "paxlock: interrupted\n"


def test_what_an_interrupt_does_is_as_before_once_the_command_line_is_loaded() -> None:
    before = signal.getsignal(signal.SIGINT)
    assert main(["status", "--no-such-option"]) == ExitCode.USAGE
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.parametrize("how", [("--polite", "--force"), ("--force", "--polite")])
def test_to_revoke_in_two_ways_at_once_is_refused(
    how: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    """The last one won, unseen."""
    assert main(["revoke", "job", "1", *how, "--nodes", "127.0.0.1:9"]) == ExitCode.USAGE
    assert "give --polite or --force, not both" in capsys.readouterr().err


@pytest.mark.parametrize("command", [["status"], ["member", "list"], ["member", "move", "a", "127.0.0.1:9"]])
@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("\ufeff[cell]\n", "begins with a byte order mark: save it as UTF-8 without one"),
        ("[cell\n", "this is not TOML"),
        ("[cell]\n", "id is missing in [cell]"),
    ],
)
def test_a_cell_file_that_cannot_be_read_is_named_whatever_the_command(
    command: list[str], text: str, why: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "odd.toml"
    path.write_text(text, encoding="utf-8")
    assert main([*command, "--cell", str(path)]) == ExitCode.CONFIG
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and said.count(str(path)) == 1 and why in said


def test_a_key_to_be_added_that_may_not_be_read_is_77(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cell_file, key = tmp_path / "cell.toml", tmp_path / "more.key"
    assert main(["init", str(cell_file), "a=127.0.0.1:9"]) == ExitCode.DONE
    assert main(["key", "new", str(key)]) == ExitCode.DONE
    capsys.readouterr()
    opened = os.open

    def forbids(path: str, *rest: int, **more: int) -> int:
        if str(path) == str(key):
            raise PermissionError(errno.EACCES, "Permission denied")
        return opened(path, *rest, **more)

    monkeypatch.setattr(os, "open", forbids)
    monkeypatch.setattr(os, "access", lambda path, *_, **__: str(path) != str(key))  # root may read anything
    assert main(["key", "add", "--cell", str(cell_file), str(key)]) == ExitCode.NOT_ALLOWED
    assert "cannot be read: Permission denied" in capsys.readouterr().err


def test_exit_codes_of_signals_are_those_of_shells() -> None:
    assert [signal_code(2), signal_code(15)] == [130, 143]


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["acquire", "--help"]])
def test_a_reader_that_has_gone_is_met_quietly(arguments: list[str]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-m", "paxlock", *arguments],
        stdout=writer,
        stderr=subprocess.PIPE,
        env=environment({}),
        check=False,
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, b"")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--version"], "stdout cannot be written: No space left on device"),
        (["--help"], "the system is in the way: No space left on device; -v shows where"),
        (["init", "--help"], "the system is in the way: No space left on device; -v shows where"),
    ],
)
def test_a_stdout_that_takes_nothing_is_an_error_of_one_line(arguments: list[str], said: str) -> None:
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "paxlock", *arguments],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            env=environment({}),
            check=False,
        )
    assert done.returncode == ExitCode.INTERNAL
    assert done.stderr == f"paxlock: {said}\n"


def test_a_file_that_may_not_be_written_is_77_and_the_help_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    Cell.new({"a": "127.0.0.1:7400"}).save(tmp_path / "cell.toml")
    real = os.open

    def forbidden(path: Path, flags: int, *rest: int, **more: int) -> int:  # also to root
        if flags & os.O_CREAT:
            raise PermissionError(13, "Permission denied")
        return real(path, flags, *rest, **more)

    monkeypatch.setattr(os, "open", forbidden)
    for arguments in (
        ["init", str(tmp_path / "other.toml"), "a=127.0.0.1:7400"],
        ["key", "new", str(tmp_path / "new.key")],
        ["member", "move", "a", "127.0.0.1:7401", "--cell", str(tmp_path / "cell.toml")],
    ):
        assert main(arguments) == ExitCode.NOT_ALLOWED
        assert "Permission denied" in capsys.readouterr().err
        assert main([*arguments, "--help"]) == 0
        assert "77 not allowed" in " ".join(capsys.readouterr().out.split())


CLOSED_STDIO = """
import os, sys
from paxlock.cli import main

for fd in (0, 1, 2):
    os.close(fd)
sys.stdin = sys.stdout = sys.stderr = None
code = main(["--version"])
null = os.stat(os.devnull)
there = [os.path.samestat(os.fstat(fd), null) and not os.get_inheritable(fd) for fd in (0, 1, 2)]
with open(sys.argv[1], "w") as file:
    print(code, there, file=file)
"""


def test_nothing_of_ours_takes_the_place_of_a_stream_that_was_closed(tmp_path: Path) -> None:
    """A socket of the event loop was stderr where that had been closed, and got the log lines of a node."""
    in_a_new_python(CLOSED_STDIO, str(tmp_path / "found"))
    assert (tmp_path / "found").read_text() == "0 [True, True, True]\n"


def test_python_m_paxlock_is_the_same_program() -> None:
    assert NO_CELL.output("--version").startswith("paxlock ")
    assert "which cell?" in NO_CELL.fails(78, "status")
