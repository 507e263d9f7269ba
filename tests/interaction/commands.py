"""What a golden script may say. Each command prints lines; what it cannot do is a ValueError.

    cell a b c [plain]       a cell of these nodes, which greeted each other; plain: no standing accept
    client athens ...        clients join in
    campaign athens [ttl=S] [wait=S]
                             athens wants the name (wait=0: one try)
    release athens           athens ends its campaign, held or not
    watch delphi             delphi watches
    poll delphi              delphi asks
    mail                     what is on its way
    deliver [newest] [from=x,y] [to=x,y] [kind=K,L] [number=N]
                             what is on its way now, so far as it fits, arrives in order; newest: only the
                             last of a kind from x to y, and the others are lost
    drop [from=x,y] [to=x,y] [kind=K,L] [number=N]
                             the same is lost
    wait S                   time goes on, and nothing arrives
    run S [cut=x,y] [late=x,y]
                             time goes on, and everything arrives at once; but from and to those that are cut
                             off it is lost, and of those that are late it stays on its way
    crash x                  a client or a node dies
    stop a                   a node stops cleanly
    restart a                a node starts from its disk
    join a                   a node starts with an empty disk
    show [a b] [athens]      what nodes remember of the name; whether a client holds it

S is in seconds. #N is the number that Accept, Renew, standing Prepares and their answers carry.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from itertools import groupby
from textwrap import wrap

import attrs
from by_hand import NAME, TTL

from paxlock.core.messages import NodeMode
from paxlock.core.session.events import Extended
from tests.interaction.cell import Envelope, ScriptCell
from tests.interaction.wording import say, seconds, tell, who

__all__ = ["Commands"]

Options = dict[str, str]


@attrs.define(eq=False)
class Commands:
    """One script under way: a cell, and the commands that move it."""

    _cell: ScriptCell | None = None

    def run(self, command: str) -> list[str]:
        """What one command prints."""
        verb, *words = command.split()
        function = _VERBS.get(verb)
        if function is None:
            raise ValueError(f"unknown command {verb!r}; there are {', '.join(_VERBS)}")
        options = dict(word.split("=", 1) for word in words if "=" in word)
        plain = [word for word in words if "=" not in word]
        unknown = set(options) - set(_OPTIONS.get(verb, ()))
        if unknown:
            raise ValueError(f"{verb} takes no {', '.join(sorted(unknown))}")
        return function(self, plain, options)

    @property
    def cell(self) -> ScriptCell:
        if self._cell is None:
            raise ValueError("a script begins with a cell")
        return self._cell

    # Who there is

    def _new_cell(self, words: list[str], _: Options) -> list[str]:
        nodes = [word for word in words if word != "plain"]
        if not nodes or any(len(node) != 1 for node in nodes):
            raise ValueError("a cell has nodes of one letter each")
        self._cell = ScriptCell("".join(nodes), plain="plain" in words)
        return []

    def _client(self, words: list[str], _: Options) -> list[str]:
        for name in words:
            self.cell.add_client(name)
        return []

    def _crash(self, words: list[str], _: Options) -> list[str]:
        for one in words:
            self._known(one, {**self.cell.nodes, **self.cell.clients})
            self.cell.crash(one)
        return []

    def _stop(self, words: list[str], _: Options) -> list[str]:
        for node in words:
            self._known(node, self.cell.nodes)
            self.cell.stop(node)
        return []

    def _restart(self, words: list[str], _: Options) -> list[str]:
        for node in words:
            self._down(node)
            self.cell.restart(node)
        return self._told()

    def _join(self, words: list[str], _: Options) -> list[str]:
        for node in words:
            self._down(node)
            self.cell.join(node)
        return self._told()

    def _known(self, one: str, among: Iterable[str]) -> str:
        if one not in among:
            raise ValueError(f"there is no {one!r} here")
        return one

    def _down(self, node: str) -> None:
        self._known(node, self.cell.node_ids)
        if node in self.cell.nodes:
            raise ValueError(f"node {node!r} is running")

    # What programs ask for

    def _campaign(self, words: list[str], options: Options) -> list[str]:
        wait = options.get("wait")
        for name in words:
            self._known(name, self.cell.clients)
            self.cell.campaign(name, float(options.get("ttl", TTL)), None if wait is None else float(wait))
        return self._sent(self.cell.collect()) + self._told()

    def _release(self, words: list[str], _: Options) -> list[str]:
        for name in words:
            self._known(name, self.cell.tickets)
            self.cell.release(name)
        return self._sent(self.cell.collect()) + self._told()

    def _watch(self, words: list[str], _: Options) -> list[str]:
        for name in words:
            self.cell.clients[self._known(name, self.cell.clients)].watch(NAME, False, self.cell.now)
        return self._sent(self.cell.collect()) + self._told()

    def _poll(self, words: list[str], _: Options) -> list[str]:
        for name in words:
            self.cell.clients[self._known(name, self.cell.clients)].poll(NAME, self.cell.now)
        return self._sent(self.cell.collect()) + self._told()

    # Messages and time

    def _mail(self, _: list[str], __: Options) -> list[str]:
        return self._sent(self.cell.mail)

    def _deliver(self, words: list[str], options: Options) -> list[str]:
        lines: list[str] = []
        found = self._take(options)
        if words == ["newest"]:
            found = list({(e.sender, e.to, _kind(e)): e for e in found}.values())
        elif words:
            raise ValueError(f"deliver takes no {words[0]!r}")
        for envelope in found:
            lines.append(f"{envelope.sender} -> {envelope.to}  {say(envelope.message)}")
            if envelope.to not in {**self.cell.nodes, **self.cell.clients}:
                lines.append("  nobody is there")
            sent = self.cell.hand_over(envelope)
            lines.extend(f"  {line}" for line in self._sent(sent) + self._told())
        return lines

    def _drop(self, _: list[str], options: Options) -> list[str]:
        return [f"lost: {_counted(Counter(_kind(envelope) for envelope in self._take(options)))}"]

    def _take(self, options: Options) -> list[Envelope]:
        senders, receivers, kinds = (_listed(options.get(key)) for key in ("from", "to", "kind"))
        number = options.get("number")
        found = [
            envelope
            for envelope in self.cell.mail
            if senders(envelope.sender)
            and receivers(envelope.to)
            and kinds(_kind(envelope))
            and (number is None or getattr(envelope.message, "seq", None) == int(number))
        ]
        if not found:
            raise ValueError("no such message is on its way")
        self.cell.mail = [envelope for envelope in self.cell.mail if envelope not in found]
        return found

    def _wait(self, words: list[str], _: Options) -> list[str]:
        sent = self.cell.wait(_duration(words))
        return [f"t={seconds(self.cell.now)}", *self._sent(sent), *self._told()]

    def _run(self, words: list[str], options: Options) -> list[str]:
        lost, late = (_concerns(options.get(key)) for key in ("cut", "late"))
        arrived = self.cell.run(_duration(words), lost=lost, late=late)
        counts = wrap(
            f"t={seconds(self.cell.now)}, arrived: {_counted(arrived)}", 100, subsequent_indent="  "
        )
        return [*counts, *self._told(brief=True)]

    # What is to be seen

    def _show(self, words: list[str], _: Options) -> list[str]:
        lines: list[str] = []
        for one in words or self.cell.node_ids:
            if one in self.cell.clients:
                lines.append(self._client_line(one))
            else:
                lines.append(self._node_line(self._known(one, self.cell.node_ids)))
        return lines

    def _client_line(self, name: str) -> str:
        held = self.cell.holding.get(name)
        if held is None or held.deadline <= self.cell.now:
            return f"{name}: holds nothing"
        return f"{name}: holds, token {held.term}, for {seconds(held.deadline - self.cell.now)}"

    def _node_line(self, node: str) -> str:
        replica = self.cell.nodes.get(node)
        if replica is None:
            return f"{node}: down"
        if replica.mode is not NodeMode.SERVING:
            return f"{node}: {replica.mode.name.lower()}"
        acceptor, now = replica._acceptor, self.cell.now
        record = acceptor.records.get(NAME)
        if record is None:
            return f"{node}: term {acceptor.floor}, nothing remembered"
        owner = "closed" if record.owner is None else f"promised to {who(record.owner)}"
        line = f"{node}: term {record.term} {owner}"
        if record.lease is not None:
            left = seconds(record.deadline - now)
            line += f", holds for {who(record.lease.candidate)} in {record.lease_term}, {left} left"
        waiting = [] if record.line is None else record.line.entries(now)
        if waiting:
            line += f", in line: {' '.join(who(entry.candidate) for entry in waiting)}"
        return line

    def _sent(self, envelopes: Iterable[Envelope]) -> list[str]:
        """What is on its way; the same to several, one after the other, in one line."""
        said = [(e.sender, say(e.message), e.to) for e in envelopes]
        return [
            f"{sender} -> {' '.join(to for _, _, to in group)}  {text}"
            for (sender, text), group in groupby(said, key=lambda one: one[:2])
        ]

    def _told(self, *, brief: bool = False) -> list[str]:
        told = self.cell.take_told()
        return [
            f"{name}: {tell(event, self.cell.now)}"
            for name, event in told
            if not (brief and isinstance(event, Extended))
        ]


def _kind(envelope: Envelope) -> str:
    return type(envelope.message).__name__


def _counted(kinds: Counter[str]) -> str:
    return ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items())) or "nothing"


def _listed(text: str | None) -> Callable[[str], bool]:
    """Whether something is named in `a,b`; everything is where nothing was said."""
    if text is None:
        return lambda _: True
    names = text.split(",")
    return lambda one: one in names


def _concerns(text: str | None) -> Callable[[Envelope], bool]:
    """Whether a message is from or to somebody named in `a,b`; none is where nothing was said."""
    names = [] if text is None else text.split(",")
    return lambda envelope: envelope.sender in names or envelope.to in names


def _duration(words: list[str]) -> float:
    if len(words) != 1:
        raise ValueError("one number of seconds is wanted")
    return float(words[0])


_VERBS: dict[str, Callable[[Commands, list[str], Options], list[str]]] = {
    "cell": Commands._new_cell,
    "client": Commands._client,
    "campaign": Commands._campaign,
    "release": Commands._release,
    "watch": Commands._watch,
    "poll": Commands._poll,
    "mail": Commands._mail,
    "deliver": Commands._deliver,
    "drop": Commands._drop,
    "wait": Commands._wait,
    "run": Commands._run,
    "crash": Commands._crash,
    "stop": Commands._stop,
    "restart": Commands._restart,
    "join": Commands._join,
    "show": Commands._show,
}
_OPTIONS = {
    "campaign": ("ttl", "wait"),
    "deliver": ("from", "to", "kind", "number"),
    "drop": ("from", "to", "kind", "number"),
    "run": ("cut", "late"),
}
