"""Libraries that are installed by the extra "fencing-test" only."""

from __future__ import annotations

import importlib
import os
from typing import Any

import pytest

# Set where a missing server or library is an error, and not a reason to skip.
REQUIRED = "PAXLOCK_REQUIRE_SERVERS"


def library(name: str) -> Any:
    """The module. Skips the tests where it is missing, or fails them."""
    return importlib.import_module(name) if os.environ.get(REQUIRED) else pytest.importorskip(name)
