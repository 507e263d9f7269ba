"""A plugin of pytest that runs tests with a bug planted:

python -m pytest -n0 -p tests.planted.plugin --planted=NAME tests/paper
"""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from tests.planted.mutations import planted
from tests.planted.table import PLANTED_BUGS


def pytest_addoption(parser: pytest.Parser) -> None:
    """The option of the plugin."""
    parser.addoption("--planted", metavar="NAME", help="run the tests with this bug of the table planted")


def pytest_configure(config: pytest.Config) -> None:
    """Plant the bug before any test is imported."""
    name = config.getoption("--planted")
    if name is None:
        return
    stack = ExitStack()
    stack.enter_context(planted({mutation.name: mutation for mutation in PLANTED_BUGS}[name]))
    config.add_cleanup(stack.close)
