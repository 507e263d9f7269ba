"""One cell for these tests: each has names of its own."""

from __future__ import annotations

from tests.blocking.conftest import cell, client, path, run

__all__ = ["cell", "client", "path", "run"]
