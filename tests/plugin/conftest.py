"""A folder for runs of pytest in which paxlock is as if installed, whether it is or not."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import paxlock
import paxlock.aio.opening
import paxlock.testing.running  # what a run of pytest within this one imports first would be imported twice


@pytest.fixture
def folder(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """With the entry point of the plugin, with warnings as errors, and without pytest-asyncio, which is not
    installed everywhere.
    """
    metadata = pytester.mkdir("paxlock-0.dist-info")
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: paxlock\nVersion: 0\n", encoding="utf-8")
    (metadata / "entry_points.txt").write_text(
        "[pytest11]\npaxlock = paxlock.testing.pytest_plugin\n", encoding="utf-8"
    )
    source = Path(paxlock.__file__).parent.parent
    monkeypatch.setenv("PYTHONPATH", f"{pytester.path}{os.pathsep}{source}")
    monkeypatch.syspath_prepend(pytester.path)
    pytester.makeini("[pytest]\nfilterwarnings = error\naddopts = -p no:asyncio\n")
    return pytester
