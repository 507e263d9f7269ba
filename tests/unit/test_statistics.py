"""Counters have one spelling, which the names of metrics have too."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import paxlock.core
from paxlock.core import messages
from paxlock.core.statistics import counted

KINDS = [kind.__name__ for kind in messages.Message.__args__]
FIT = re.compile(r"[a-z]+(_[a-z]+)*")


def counters_in_source() -> Iterator[str]:
    """What the core counts besides messages: the text of each ``counters[...] += 1``, {} for what differs."""
    for path in Path(paxlock.core.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.AugAssign) and "counters[" in ast.unparse(node.target):
                assert isinstance(node.target, ast.Subscript)
                match node.target.slice:
                    case ast.Constant(value=str(text)):
                        yield text
                    case ast.JoinedStr(values=parts):
                        yield "".join(str(p.value) if isinstance(p, ast.Constant) else "x" for p in parts)


def test_a_kind_of_message_is_told_in_words() -> None:
    found = counted(dict.fromkeys(KINDS, 1))
    assert {"prepare", "standing_prepare", "watch_event"} <= found.keys()
    assert all(FIT.fullmatch(word) for word in found)
    assert len(found) == len(KINDS)


def test_whatever_else_is_counted_is_spelled_so_already() -> None:
    words = set(counters_in_source())
    assert {"stranger", "not_allowed", "refused_x"} <= words
    assert [word for word in words if not FIT.fullmatch(word)] == []
    assert counted(dict.fromkeys(words, 1)).keys() == words


def test_what_is_told_is_a_frozen_copy() -> None:
    counters = {"Renew": 1}
    found = counted(counters)
    counters["Renew"] = 2
    assert found["renew"] == 1
    with pytest.raises(TypeError):
        found["renew"] = 0  # type: ignore[index]
