"""Every block of README.md and of the first pages of docs/ that can be run is run, and prints what is shown.

``python`` blocks are whole programs, run in a folder with the cell file of a cell that serves. ``console``
blocks are commands behind ``$`` with what they print; an ellipsis stands for any text within a line.
``shell`` blocks are the two commands for a fresh clone: .ci/run extracts and runs them, and their form is
checked here. ``text`` blocks are pictures and files.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

import paxlock

ROOT = Path(__file__).parent.parent
PAGES = {
    page: (ROOT / page).read_text(encoding="utf-8")
    for page in (
        *("README.md", "docs/index.md", "docs/asyncio.md"),
        *("docs/blocking.md", "docs/which.md", "docs/metrics.md"),
    )
}
README = PAGES["README.md"]
TIME_LIMIT_S = 60
SEPARATOR = "\x1e"

Block = tuple[str, str]


def blocks(text: str) -> list[Block]:
    """(language, content) of every fenced block; those in tabs are indented."""
    found = re.findall(r"^( *)```(\w*)\n(.*?)^\1```$", text, re.MULTILINE | re.DOTALL)
    return [(language, textwrap.dedent(content)) for _, language, content in found]


def of(language: str, page: str = "README.md") -> list[str]:
    return [content for found, content in blocks(PAGES[page]) if found == language]


def every(language: str) -> pytest.MarkDecorator:
    """A parameter for each block of this language: the page, and the number on it. Those of other pages than
    the README take long together: every day it stands for them. A node of a new cell sits out first.
    """
    blocks = [
        pytest.param(
            page, number, marks=pytest.mark.slow if page != "README.md" or "open_node" in block else ()
        )
        for page in PAGES
        for number, block in enumerate(of(language, page))
    ]
    return pytest.mark.parametrize(("page", "number"), blocks)


def commands(block: str) -> list[Block]:
    """(command, what it prints) of a console block."""
    parts = re.split(r"^\$ ", block, flags=re.MULTILINE)
    assert parts[0] == "", "a console block begins with a command"
    pairs = (part.partition("\n") for part in parts[1:])
    return [(command, printed) for command, _, printed in pairs]


def matches(expected: str, printed: str) -> bool:
    """Whether the text is as expected, where an ellipsis stands for anything within its line."""
    pattern = ".*".join(re.escape(part) for part in expected.strip().split("…"))
    return re.fullmatch(pattern, printed.strip()) is not None


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """An environment in which ``paxlock`` is the one under test, installed or not."""
    folder = tmp_path_factory.mktemp("bin")
    script = folder / "paxlock"
    script.write_text(f'#!/bin/sh\nexec {sys.executable} -m paxlock "$@"\n', encoding="utf-8")
    script.chmod(0o755)
    mine = {name: value for name, value in os.environ.items() if not name.startswith("PAXLOCK_")}
    mine["PATH"] = f"{folder}{os.pathsep}{mine.get('PATH', '')}"
    mine["PYTHONPATH"] = str(Path(paxlock.__file__).parent.parent)
    return mine


@pytest.fixture(scope="module")
def cell_file(environment: dict[str, str]) -> Iterator[Path]:
    """The cell file of a ``paxlock dev`` that serves meanwhile."""
    process = subprocess.Popen(["paxlock", "dev"], stdout=subprocess.PIPE, text=True, env=environment)
    try:
        assert process.stdout is not None
        found = re.fullmatch(r"export PAXLOCK_CELL=(\S+)\n", process.stdout.readline())
        assert found is not None
        yield Path(found[1])
    finally:
        process.terminate()
        assert process.wait(TIME_LIMIT_S) == 0
        if process.stdout is not None:
            process.stdout.close()


def run_script(source: str, folder: Path, environment: dict[str, str], *options: str) -> str:
    """What a python block prints; warnings are errors."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", source, *options],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=TIME_LIMIT_S,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@contextmanager
def other_nodes(folder: Path, environment: dict[str, str]) -> Iterator[None]:
    """A new cell of a, b and c in ``folder``, with b and c running."""
    with ExitStack() as sockets:
        ports = []
        for _ in range(3):
            sock = sockets.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            sock.bind(("127.0.0.1", 0))
            ports.append(sock.getsockname()[1])
    cell = paxlock.Cell.new({n: f"127.0.0.1:{p}" for n, p in zip("abc", ports, strict=True)}, max_ttl=10)
    cell.save(folder / "cell.toml")
    processes = []
    try:
        for node in "bc":
            command = ["paxlock", "-q", "serve", "--cell", "cell.toml", "--node", node]
            command += ["--data-dir", f"data-{node}"]
            processes.append(subprocess.Popen(command, cwd=folder, env=environment))
        yield
    finally:
        for process in processes:
            process.terminate()
        codes = [process.wait(TIME_LIMIT_S) for process in processes]
        assert codes == [0, 0]


def place(cell_file: Path, folder: Path) -> None:
    """Copy the cell file and its key to where a program looks for them."""
    for file in (cell_file, cell_file.with_suffix(".key")):
        shutil.copy(file, folder)


@pytest.mark.processes
@every("python")
def test_python_block(
    page: str, number: int, cell_file: Path, environment: dict[str, str], tmp_path: Path
) -> None:
    source = of("python", page)[number]
    for library in re.findall(
        r"^(?:import|from) (fastapi|uvloop|anyio|prometheus_client)\b", source, re.MULTILINE
    ):
        pytest.importorskip(library)
    if "open_node" in source:
        with other_nodes(tmp_path, environment):
            printed = run_script(source, tmp_path, environment)
            again = run_script(source, tmp_path, environment)
        assert again.strip()
    else:
        place(cell_file, tmp_path)
        printed = run_script(source + DRIVER * ("fastapi" in source), tmp_path, environment)
    assert printed.strip()


#: What a server does with an application that is defined by a block.
DRIVER = """
import asyncio


async def serve() -> None:
    async with app.router.lifespan_context(app):
        await asyncio.sleep(1)


asyncio.run(serve())
"""


@pytest.mark.slow
@pytest.mark.processes
def test_the_first_program_can_be_started_twice(
    cell_file: Path, environment: dict[str, str], tmp_path: Path
) -> None:
    place(cell_file, tmp_path)
    source = of("python")[0]
    assert "import paxlock.aio" in source
    with ThreadPoolExecutor() as pool:
        both = [pool.submit(run_script, source, tmp_path, environment) for _ in range(2)]
    terms = [re.fullmatch(r"leading with fencing token (\d+)\n", one.result()) for one in both]
    assert len({term and int(term[1]) for term in terms} - {None}) == 2


@pytest.mark.processes
@every("console")
def test_console_block(
    page: str, number: int, cell_file: Path, environment: dict[str, str], tmp_path: Path
) -> None:
    pairs = commands(of("console", page)[number])
    script = "".join(f"{command}\nprintf '{SEPARATOR}'\n" for command, _ in pairs)
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=tmp_path,
        env=environment | {"PAXLOCK_CELL": str(cell_file)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=TIME_LIMIT_S,
        check=False,
    )
    *printed, rest = done.stdout.split(SEPARATOR)
    assert rest == ""
    for (command, expected), found in zip(pairs, printed, strict=True):
        assert matches(expected, found), f"{command} printed {found!r}"


def test_the_two_commands_for_a_fresh_clone_are_one_line_each() -> None:
    setups = of("shell")
    assert len(setups) == 2
    assert all(setup.count("\n") == 1 and setup.startswith("python3 -m venv .venv && ") for setup in setups)
    assert ".venv/bin/python examples/embedded_election.py" in setups[0]
    assert setups[1].endswith(".venv/bin/pytest\n")


def test_every_block_says_what_it_is() -> None:
    assert {language for language, _ in blocks(README)} == {"text", "shell", "python", "console"}
    for page in PAGES:
        assert {language for language, _ in blocks(PAGES[page])} <= {"text", "shell", "python", "console"}


def test_every_link_leads_somewhere() -> None:
    for page in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]:
        links = re.findall(r"\]\((?!https?://)([^)#]+)[^)]*\)", page.read_text(encoding="utf-8"))
        missing = [link for link in links if not (page.parent / link).exists()]
        assert missing == [], f"{page.name} links to what is not there"


def test_an_ellipsis_stays_within_its_line() -> None:
    assert matches("a … c", "a b c")
    assert not matches("a … c", "a b\n c")
    assert not matches("a … c", "a b d")
