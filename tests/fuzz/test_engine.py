"""The loop, the smallest corpus, and the command that people run."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

import attrs
import pytest

from paxlock.core.messages import Hello
from paxlock.wire import codec

from . import __main__ as command
from . import store
from .engine import SOURCE, Crash, Tracer, change_bytes, explore, minimise, replay
from .script import STEPS_MAX, Step, parse, write
from .targets import TARGETS

CODEC = TARGETS["codec"]
HELLO_PAYLOAD = b"\x81\x82\x01\x01"


DEEP = """
def run(data):
    if data[0] == 0x17:
        if data[1] == 0x5F:
            if data[2] == 0x9F:
                if data[3] == 0xC0:
                    raise KeyError("found")
"""


def test_the_loop_is_guided_by_coverage() -> None:
    """It goes step by step to where a leap does not lead; each step is one condition of the code."""
    scope: dict[str, Any] = {}
    exec(compile(DEEP, f"{SOURCE}/planted.py", "exec"), scope)
    deep = attrs.evolve(CODEC, run=lambda data: scope["run"](data.ljust(4, b"\0")))
    with pytest.raises(Crash, match="KeyError"):
        explore(deep, [bytes(4)], rng=Random(1), executions=50_000)
    rng = Random(1)
    for _ in range(50_000):
        deep.run(deep.change(bytes(4), rng, lambda data: change_bytes(data, rng)))


def test_the_smallest_corpus_covers_the_same() -> None:
    found = explore(CODEC, CODEC.seeds(), rng=Random(1), executions=2_000)
    small = minimise(CODEC, found.corpus)
    assert set(small) < set(found.corpus)
    assert replay(CODEC, small).edges == replay(CODEC, found.corpus).edges
    assert minimise(CODEC, [HELLO_PAYLOAD, b"\x81\x82\x01\x02"]) == [HELLO_PAYLOAD]


ONCE = """
import functools

@functools.cache
def once():
    return 1

def run(data):
    once()
    if data == b"ab":
        return 2
"""


def test_what_is_done_once_in_a_process_is_no_inputs_own() -> None:
    """The first input to be run seems to cover more than the same input ever covers again."""
    scope: dict[str, Any] = {}
    exec(compile(ONCE, f"{SOURCE}/planted.py", "exec"), scope)
    once = attrs.evolve(CODEC, run=scope["run"])
    assert minimise(once, [b"a", b"ab"]) == [b"ab"]


def test_scripts_are_read_back() -> None:
    steps = [Step(0, 1, 2, 3, b"payload"), Step(255, 255, 255, 65_535, b"")]
    assert parse(write(b"ab", steps)) == steps
    assert parse(write(b"ab", steps)[:-1]) == steps[:1]
    assert len(parse(write(b"ab", steps * STEPS_MAX))) == STEPS_MAX
    assert parse(b"") == []


def test_the_tracer_counts_only_the_project() -> None:
    with Tracer() as tracer:
        Path("a") / "b"
    assert tracer.lines == 0
    with tracer:
        codec.encode(Hello(1))
    assert tracer.lines > 0


@pytest.fixture
def own_folders(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The command with folders of its own."""
    for name, function in (("read_corpus", store.read_corpus), ("write_corpus", store.write_corpus)):
        monkeypatch.setattr(command, name, lambda *what, function=function: function(*what, tmp_path))
    crashes = tmp_path / "crashes"
    monkeypatch.setattr(command, "save_crash", lambda target, data: store.save_crash(target, data, crashes))
    return tmp_path


def test_the_command_keeps_what_it_finds(own_folders: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["codec", "--plain", "--seconds", "0.3", "--keep", "--seed", "1"]) == 0
    printed = capsys.readouterr().out
    assert "executions" in printed and "seed 1" in printed
    kept = store.read_corpus("codec", own_folders)
    assert kept
    assert replay(CODEC, kept).edges >= replay(CODEC, CODEC.seeds()).edges


def test_the_command_fails_for_a_crash_and_shows_it_again(
    own_folders: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(codec, "_walk", lambda payload: None)
        assert command.main(["codec", "--plain", "--seconds", "5", "--seed", "1"]) == 1
        (crash,) = (own_folders / "crashes").iterdir()
        printed = capsys.readouterr()
        assert "one message has two encodings" in printed.err
        shown = printed.out.splitlines()[-1].split()
        assert shown[:-1] == ["python", "-m", "tests.fuzz", "codec", "--show"]
        assert Path(shown[-1]).samefile(crash)
        assert command.main(["codec", "--show", str(crash)]) == 1
    assert command.main(["codec", "--show", str(crash)]) == 0
    with pytest.raises(SystemExit, match="exactly one target"):
        command.main(["--show", str(crash)])


def test_a_crash_names_its_cause() -> None:
    with pytest.raises(Crash, match="an input of 1 bytes breaks it"):
        raise Crash(b"x") from KeyError(1)
