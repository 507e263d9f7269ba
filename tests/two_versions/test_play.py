"""Plays with versions made from this tree: one whose store is newer, and one that knows fewer messages."""

from __future__ import annotations

import json
import os
from pathlib import Path

import attrs
import pytest

from tests.two_versions.cell import Layout
from tests.two_versions.play import Pace, play_versions
from tests.two_versions.versions import Version, this_tree

pytestmark = [pytest.mark.slow, pytest.mark.processes]

BRISK = Pace(between=0.3, whole=0.5, killed=False)
# Python runs this at every start: records are written in the next format, and read in both.
NEXT_STORE = """
import paxlock.store.folder as folder
import paxlock.store.format as form

THIS, NEXT = form.FORMAT_VERSION, form.FORMAT_VERSION + 1
read, write = form.decode_record, form.encode_record

def decode(content):
    form.FORMAT_VERSION = NEXT if b'"version": %d' % NEXT in content else THIS
    return read(content)

def encode(record):
    form.FORMAT_VERSION = NEXT
    return write(record)

folder.decode_record, folder.encode_record = decode, encode
"""
# One that makes the record unreadable before it refuses it.
DAMAGES = """
import paxlock.store.folder as folder

read = folder.Store.read_record

def read_record(store):
    try:
        return read(store)
    except folder.StoreError:
        (store.folder / folder.RECORD_FILE).write_bytes(b"damaged")
        raise

folder.Store.read_record = read_record
"""
# One from before there were Ping, Pong, Count and Counted.
FEWER_MESSAGES = """
import paxlock.wire.codec as codec

for kind in (39, 40, 41, 42):
    del codec._BY_KIND[kind]
"""


def planted(version: Version, name: str, source: str, folder: Path) -> Version:
    """This version, with something that Python runs at every start."""
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(source)
    path = os.pathsep.join((str(folder), version.env["PYTHONPATH"]))
    return attrs.evolve(version, name=name, env={**version.env, "PYTHONPATH": path})


@pytest.mark.parametrize("damages", [False, True])
def test_an_old_version_refuses_a_newer_store_and_must_leave_it_alone(tmp_path: Path, damages: bool) -> None:
    new = planted(this_tree(), "new", NEXT_STORE, tmp_path / "next")
    old = planted(this_tree(), "old", DAMAGES if damages else "", tmp_path / "previous")
    folder = tmp_path / "play"
    folder.mkdir()
    found, told = play_versions(old, new, folder, Layout(), BRISK, lambda _: None)
    sentence = "it is of format version 2, and this paxlock knows version 1"
    assert sentence in "".join(line for line in told.splitlines() if line.startswith("no way back: ")), told
    if damages:
        assert any("the old version has changed the store of a" in each for each in found), told
    else:
        assert found == [], told
        record = json.loads((folder / "data-a" / "record.json").read_text().rpartition("sha256")[0])
        assert record["version"] == 2


def test_messages_that_the_old_version_does_not_know_are_no_harm(tmp_path: Path) -> None:
    old = planted(this_tree(), "old", FEWER_MESSAGES, tmp_path / "previous")
    new = planted(this_tree(), "new", "", tmp_path / "next")
    folder = tmp_path / "play"
    folder.mkdir()
    found, told = play_versions(old, new, folder, Layout(), BRISK, lambda _: None)
    assert found == [], told
    # The three old nodes at first, and at the end; the new ones tell.
    assert "6 lives of nodes that told nothing" in told
    assert "dropped.unproved" in told
