"""A guardian that stands still: what it cannot take over yet waits in the program, in order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import pytest

from paxlock.host import guardian as guardian_module
from paxlock.host.guardian import ClientGuardian

HOME = ("127.0.0.1", 7400)
SOCKET = 7


class Link:
    """The channel: takes ``room`` more lines."""

    def __init__(self) -> None:
        self.room = 0
        self.said: list[tuple[str, int]] = []
        self.killed = False

    def say(self, line: str, fds: Sequence[int] = ()) -> bool:
        if self.room:
            self.room -= 1
            self.said.append((line.rpartition(" ")[2] if line.startswith("will") else line, len(fds)))
            return True
        return False

    def sync(self) -> bool:
        return True

    def kill(self) -> None:
        self.killed = True


@pytest.fixture
def link(monkeypatch: pytest.MonkeyPatch) -> Link:
    found = Link()
    monkeypatch.setattr(guardian_module, "_enrol", lambda: (cast(Any, found), 1))
    return found


def test_nothing_of_a_client_is_lost_and_the_newest_counts(link: Link) -> None:
    guardian = ClientGuardian([SOCKET], 10.0)
    guardian.expect()
    guardian.deposit(0, 0, HOME, [b"\x01"])
    guardian.deposit(0, 1, HOME, [b"\x02"])
    guardian.deposit(0, 0, HOME, [b"\x03"])
    assert link.said == []
    link.room = 2
    guardian.catch_up()
    assert link.said == [("client 1 10000", 1), ("02", 0)]
    link.room = 9
    guardian.catch_up()
    assert link.said[2:] == [("03", 0)]
    guardian.catch_up()
    assert len(link.said) == 3


def test_it_is_tried_again_before_a_guardian_is_given_up(link: Link) -> None:
    guardian = ClientGuardian([SOCKET], 10.0)
    guardian.deposit(0, 0, HOME, [b"\x01"])
    guardian.settle()
    assert link.killed
    link.killed, link.room = False, 9
    guardian.settle()
    assert [word for word, _ in link.said] == ["client 1 10000", "01"] and not link.killed
