"""The table of messages in docs/messages.md, made from the code:

    python -m tests.message_table

writes it anew. Kinds and fields are those of the codec; who sends what is read from what each machine takes.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from paxlock.core import messages
from paxlock.core.durable import SeenNode
from paxlock.core.journal import Happened
from paxlock.core.lease import Candidate, Lease
from paxlock.core.node.replica import Replica
from paxlock.core.session.session import Session
from paxlock.wire import codec

__all__ = ["PAGE", "page"]

PAGE = Path(__file__).parents[1] / "docs" / "messages.md"
INSIDE: tuple[type, ...] = (
    Candidate,
    Lease,
    messages.Occupant,
    messages.Member,
    messages.WaiterEntry,
    Happened,
    SeenNode,
)

HEAD = """\
# Messages

Made from the code by `python -m tests.message_table`; not to be edited by hand. What each message means is
told in [protocol.md](protocol.md), sections 2 to 7, and field by field in `paxlock/core/messages.py`; how it
is written, in section 8 and in `paxlock/wire/codec.py`.

On the wire a message is an array: its kind, then its fields in this order. Times are whole milliseconds.
`request` is the number by which an answer finds its question; a push has 0.

"""


def taken_by(*functions: Callable[..., Any]) -> set[str]:
    """The classes that a machine's ``message`` may be of: those in its ``case``, or ``isinstance``."""
    found: set[str] = set()
    for function in functions:
        for node in ast.walk(ast.parse(textwrap.dedent(inspect.getsource(function)))):
            if isinstance(node, ast.MatchClass):
                found.add(ast.unparse(node.cls))
            elif isinstance(node, ast.Call) and ast.unparse(node).startswith("isinstance(message,"):
                found.update(ast.unparse(node.args[1]).split(" | "))
    return found


def _ways() -> dict[str, list[tuple[str, str]]]:
    """Of each class: (from, to)."""
    from_sessions = taken_by(Replica._from_session, Replica._answer_without_serving)
    between = taken_by(Replica._from_node)
    to_sessions = taken_by(Session.receive)
    ways: dict[str, list[tuple[str, str]]] = {}
    for name in sorted(vars(messages)):
        cls = getattr(messages, name)
        names = {base.__name__ for base in cls.__mro__} if isinstance(cls, type) else set()
        ways[name] = [
            way
            for way, taken in (
                (("session", "node"), from_sessions),
                (("node", "session"), to_sessions),
                (("node", "node"), between),
            )
            if names & taken
        ]
    return ways


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |\n"


def _fields(cls: type) -> str:
    names = getattr(cls, "__match_args__", ())
    return ", ".join(f"`{name}`" for name in names)


def page() -> str:
    """docs/messages.md as it should be."""
    ways = _ways()
    text = HEAD + _row(("kind", "message", "from", "to", "fields")) + _row(5 * ("---",))
    for kind, schema in sorted(codec._BY_KIND.items()):
        name = schema.cls.__name__
        senders = " or ".join(dict.fromkeys(sender for sender, _ in ways[name]))
        receivers = " or ".join(dict.fromkeys(receiver for _, receiver in ways[name]))
        text += _row((str(kind), f"`{name}`", senders, receivers, _fields(schema.cls)))
    text += "\nWhat is nested in them, as arrays without a kind:\n\n"
    text += _row(("value", "fields")) + _row(2 * ("---",))
    for cls in INSIDE:
        text += _row((f"`{cls.__name__}`", _fields(cls)))
    return text


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
