"""The client of programs without an event loop.

    with paxlock.blocking.open_client("cell.toml") as client:
        with client.lock("nightly-report", ttl=10.0, wait=5.0) as held:
            upload(report, token=held.term)

Times are seconds. Everything may be called by many threads. What waits is ended by Ctrl-C in the main thread,
which leaves nothing behind, and by ``close`` in another thread (ClosedError).
"""

from __future__ import annotations

import warnings
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, NoReturn, Self, TypeVar, TypeVarTuple

from paxlock.blocking.changes import Changes
from paxlock.blocking.lease import HeldLease, LeaseBlock, Renew, Working
from paxlock.blocking.opening import open_session
from paxlock.blocking.running import Running
from paxlock.blocking.waiting import Gate
from paxlock.client import questions
from paxlock.client.administration import revoking, transferring
from paxlock.client.detached import releasing, renewing
from paxlock.client.discovery import settings_of
from paxlock.client.face import Statistics
from paxlock.client.functions import check_plain, plain
from paxlock.client.nesting import Nesting, waits_for_ever
from paxlock.client.standing import Change, Standing
from paxlock.client.staying import Staying
from paxlock.client.unopened import meant_for
from paxlock.config.cell import Cell, ClientSettings, check_label
from paxlock.config.durations import check_wait
from paxlock.core.session.events import (
    CountersRead,
    JournalRead,
    NodeCounters,
    NodeJournal,
    NodePing,
    NodeStanding,
    Pinged,
    Surveyed,
)
from paxlock.errors import ClosedError, LeaseLost, NotAcquired, Reason
from paxlock.forks import INHERITED, dies_in_child, same_process

__all__ = ["Client", "open_client"]

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class Client(Staying):
    """Locks, elections, watches and questions in one cell. Made by ``open_client``.

    Its session, socket and thread begin with the first use. A client that is used in a ``with`` block is that
    of the process which entered the block: in the child of a fork every call raises ClosedError. One without
    a block, such as a global of a pre-forking server, begins anew with its first use in each child; what the
    parent held is the parent's.
    """

    _opener = "open_client"

    def __init__(
        self,
        settings: ClientSettings,
        label: str | None,
        *,
        last_will: bool = False,
        thrifty: bool = False,
    ) -> None:
        self._settings = settings
        self._label = label
        self._last_will = last_will
        self._thrifty = thrifty
        self._running: Running | None = None
        self._entered = False
        self._inherited = False
        self._closed = False
        self._opening = Gate()
        self._nesting = Nesting()
        self._finalizer: weakref.finalize[[Running], Client] | None = None
        dies_in_child(self)

    def __enter__(self) -> Self:
        self._entered = True
        self._session()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    if not TYPE_CHECKING:  # a type checker says so earlier

        async def __aenter__(self) -> NoReturn:
            raise TypeError(meant_for("blocking code", self._opener))

        async def __aexit__(self, *_: object) -> None:
            """Python looks for it before it enters."""

    def close(self) -> None:
        """Let go of everything: what is still held is lost to the program, then released; whoever waits is
        told ClosedError. Bounded in time, and harmless when repeated.
        """
        same_process()
        self._closed = True
        if self._finalizer is not None:
            self._finalizer.detach()
        if self._running is not None:
            self._running.leave()

    def forked(self) -> None:
        """This is the child of a fork."""
        dies_in_child(self)
        self._opening = Gate()
        self._nesting = Nesting()
        if self._finalizer is not None:
            self._finalizer.detach()
            self._finalizer = None
        self._running = None
        self._inherited = self._entered

    # Locks and elections

    def lock(
        self,
        name: str,
        *,
        ttl: float | None = None,
        wait: float | None = None,
        label: str | None = None,
        data: bytes = b"",
        at_least: float = 0.0,
        on_lost: Callable[[LeaseLost], object] | None = None,
        interrupt: bool = False,
        renew: Renew = "background",
    ) -> LeaseBlock:
        """A block that holds the lease of ``name``: see LeaseBlock and ``acquire``.

        ``interrupt``: a loss raises LeaseLost in the thread that has entered the block, at the next step of
        its Python code; not while it waits in C code (``time.sleep``, a socket).
        """
        working = Working(on_lost, renew)

        def acquire() -> HeldLease:
            return self._acquire(name, ttl, wait, label, data, at_least=at_least, working=working)

        return LeaseBlock(acquire, self._nesting, waits_for_ever(name, wait), interrupt=interrupt)

    def campaign(
        self,
        name: str,
        *,
        ttl: float | None = None,
        wait: float | None = None,
        label: str | None = None,
        data: bytes = b"",
        at_least: float = 0.0,
        on_lost: Callable[[LeaseLost], object] | None = None,
        interrupt: bool = False,
        renew: Renew = "background",
    ) -> LeaseBlock:
        """The same as ``lock``, for readers: an election, in the same namespace. ``data`` (up to 512 bytes,
        e.g. the leader's address) reaches whoever polls or watches.
        """
        return self.lock(
            name,
            ttl=ttl,
            wait=wait,
            label=label,
            data=data,
            at_least=at_least,
            on_lost=on_lost,
            interrupt=interrupt,
            renew=renew,
        )

    def acquire(
        self,
        name: str,
        *,
        ttl: float | None = None,
        wait: float | None = None,
        label: str | None = None,
        data: bytes = b"",
        at_least: float = 0.0,
        on_lost: Callable[[LeaseLost], object] | None = None,
        renew: Renew = "background",
    ) -> HeldLease:
        """Acquire without a block, for objects that hold a lease for their lifetime.

        ``wait``: None waits for ever, 0 never waits for a holder to let go, else seconds in all. Of several
        with ``wait=0`` at one moment on a free name exactly one gets it, and the others are told HELD, with
        its label; NO_QUORUM after at most 1 s without one, or a few round trips. ``on_lost`` is called once
        with the LeaseLost, by a thread of paxlock's. With ``renew="manual"`` the lease is renewed only while
        the worker calls ``held.heartbeat()``. ``ttl`` is 10 s unless given, or the cell's max_ttl where that
        is shorter.

        ``at_least``: released earlier than so many seconds after it was acquired, the lease is kept until
        then, so that nobody else gets the name. A client that is closed meanwhile leaves it to run out: for
        that the ttl is raised, up to the cell's max_ttl.

        Raises NotAcquired, or ConfigError (a ValueError) for names, labels, data and durations that do not
        fit, TypeError for durations that are no numbers, BusyError for a name whose lease this client has
        detached, also while it waits.
        """
        working = Working(on_lost, renew)
        return self._acquire(name, ttl, wait, label, data, at_least=at_least, working=working)

    def lead(
        self,
        name: str,
        fn: Callable[[HeldLease, *Ts], T],
        *args: *Ts,
        ttl: float | None = None,
        label: str | None = None,
        data: bytes = b"",
        at_least: float = 0.0,
        on_lost: Callable[[LeaseLost], object] | None = None,
        interrupt: bool = False,
        renew: Renew = "background",
    ) -> T:
        """Campaign, run ``fn(held_lease, *args)``, campaign again after each loss.

        Returns what ``fn`` returns, unless the lease was lost while it ran: then it runs again in a later
        term. Other errors of ``fn`` come out. With ``at_least`` the lease outlives an ``fn`` that returns
        earlier (see ``acquire``); its result comes at once. Raises TypeError for an async function.
        """
        check_plain("lead", fn)
        while True:
            held: HeldLease | None = None
            try:
                with self.lock(
                    name,
                    ttl=ttl,
                    label=label,
                    data=data,
                    at_least=at_least,
                    on_lost=on_lost,
                    interrupt=interrupt,
                    renew=renew,
                ) as held:
                    return plain("lead", fn, fn(held, *args))
            except (LeaseLost, ExceptionGroup) as error:
                if held is None or not held.tells(error):
                    raise
                self._check()

    # Looking

    def watch(self, name: str) -> Changes:
        """Watch a name, or all names with a prefix (``"jobs/*"``): ``with client.watch(name) as changes``,
        then ``for change in changes``. The first change is the present state; a watch skips what was replaced
        meanwhile, never runs backwards, and always arrives at the last state (protocol.md section 6).
        """
        return self._session().watch(name)

    def watch_forever(self, name: str, fn: Callable[[Change], object]) -> None:
        """Call ``fn(change)`` for every change, one at a time, in order, until the client is closed."""
        check_plain("watch_forever", fn)
        with self.watch(name) as changes:
            for change in changes:
                plain("watch_forever", fn, fn(change))

    def poll(self, name: str) -> Standing:
        """A quorum's answer to what a name is: led, free or, without a quorum for 1 s, unknown."""
        session = self._session()
        desk = session.desk
        return desk.standing(name, session.answer(lambda to: desk.poll(name, to, line=False)))

    def inspect(self, name: str) -> Standing:
        """As ``poll``, but asks every node, and tells who waits in line."""
        session = self._session()
        desk = session.desk
        return desk.standing(name, session.answer(lambda to: desk.poll(name, to, line=True)))

    def list(self, prefix: str = "") -> list[Standing]:
        """The standings of all names in use that begin with ``prefix``, in order of name.

        Without a quorum it waits, until the client is closed: a part of the names would pass for all.
        """
        session = self._session()
        desk = session.desk
        names = desk.names_of(session.answer(lambda to: desk.names(prefix, to)))
        found = session.answers(names)
        return [desk.standing(name, answer) for name, answer in zip(names, found, strict=True)]

    def survey(self) -> tuple[NodeStanding, ...]:
        """How every node of the cell describes itself; those that do not answer within 1 s have no mode."""
        session = self._session()
        found = session.answer(lambda to: questions.survey(session.desk, to))
        assert isinstance(found, Surveyed)
        return found.nodes

    def journal(self, name: str) -> tuple[NodeJournal, ...]:
        """What every node remembers of what happened to a name: promises, leases, refusals, their ends.

        For people, and in memory alone: it decides nothing, and begins with each start of a node. Needs a key
        that may observe the name: raises NotAllowed. A node that does not answer within 1 s has no entries.
        """
        session = self._session()
        found = session.answer(lambda to: questions.journal(session.desk, name, to))
        assert isinstance(found, JournalRead)
        return found.nodes

    def ping(self, nodes: Sequence[str] | None = None) -> tuple[NodePing, ...]:
        """Send one small datagram to each of these nodes, by id, or to all: what comes back within 1 s?

        It is not repeated: several in a row tell how much is lost. Raises ConfigError for a node that the
        cell does not have.
        """
        session = self._session()
        found = session.answer(lambda to: questions.ping(session.desk, nodes, to))
        assert isinstance(found, Pinged)
        return found.nodes

    def counters(self) -> tuple[NodeCounters, ...]:
        """What every node has counted since its start, for people and programs that look after the cell.

        A node that does not answer within 1 s has none.
        """
        session = self._session()
        found = session.answer(lambda to: questions.count(session.desk, to))
        assert isinstance(found, CountersRead)
        return found.nodes

    def statistics(self) -> Statistics:
        """Frozen counters: messages by kind, datagrams dropped by reason, trouble of the socket. Those of a
        client that was closed can still be read.
        """
        running = self._running
        if running is None or not self._closed:
            running = self._session()
        return running.counters()

    # Detached leases

    def renew_handle(self, handle: str, wait: float | None = None) -> float:
        """Renew the lease of a handle by its whole ttl; gives the seconds it has left.

        Raises LeaseLost where the grant is over, NotAcquired (NO_QUORUM) where no quorum answered within
        ``wait``, ConfigError for a handle that is malformed or of another cell.
        """
        session = self._session()
        return session.play(renewing(session.desk, handle, wait))

    def release_handle(self, handle: str, wait: float | None = None) -> None:
        """Release exactly the grant of a handle; one that is over already is no error.

        The grant ends at once, whoever holds it, and the next in line gets the name. A holder that still
        works is told within a round trip, at the next renewal (a third of its ttl) at the latest, and its
        lease is lost as RELEASED: until then two believe that they hold.

        Raises NotAcquired (NO_QUORUM) where no quorum answered within ``wait``, ConfigError as above.
        """
        session = self._session()
        session.play(releasing(session.desk, handle, wait))

    # The tenures of others

    def revoke(self, name: str, term: int, *, force: bool = False, wait: float | None = None) -> float:
        """End the tenure of this term, whoever holds it; one that is over already is no error. Gives for how
        many seconds its lease is still held, at most: 0 where it is over.

        The holder is told at once: its lease is lost as REVOKED, and the next in line gets the name when its
        program has let go. Without ``force`` that is all: returns when it has. With ``force`` the lease is
        not renewed any more either, and runs out at its deadline, a ttl later at most: returns when a quorum
        has taken that. Until then it keeps everybody out (protocol.md section 12).

        Needs a key that may administer the name: raises NotAllowed. Raises ConfigError where the name is led
        in a term below this one, or this is none; NotAcquired (NO_QUORUM, or HELD where the holder has not
        let go) where ``wait`` seconds were not enough.
        """
        session = self._session()
        return session.play(revoking(session.desk, name, term, force=force, wait=wait))

    def transfer(self, name: str, *, to: str, wait: float | None = None) -> int:
        """A planned hand-over: ask the holder to let go, as ``revoke`` does without ``force``, and have who
        waits with the label ``to``, of several the one for longest, next in line. Gives its term.

        Needs a key that may administer the name: raises NotAllowed. Raises ConfigError where nobody holds the
        name, or nobody with this label waits for it; NotAcquired where the holder has not let go within
        ``wait`` seconds, or another one got the name after all (HELD), where nobody did (CONTENDED), or
        without a quorum (NO_QUORUM).
        """
        session = self._session()
        return session.play(transferring(session.desk, name, to, wait=wait))

    # Within

    def _acquire(
        self,
        name: str,
        ttl: float | None,
        wait: float | None,
        label: str | None,
        data: bytes,
        *,
        at_least: float,
        working: Working,
    ) -> HeldLease:
        session = self._session()
        check_wait(wait)
        until = None if wait is None else session.now() + wait
        left = wait
        while True:
            held = session.acquire(name, ttl, left, label, data, at_least=at_least, working=working)
            if held.valid:
                return held
            # Granted, but this thread came to run only after it had lapsed.
            held.waive().release()
            if until is not None:
                left = max(0.0, until - session.now())
                if not left:
                    detail = "the lease ran out before it could be used"
                    raise NotAcquired(name, Reason.NO_QUORUM, detail=detail)

    def _check(self) -> None:
        """Raise the closed error where nothing can be asked any more."""
        same_process()
        if self._inherited:
            raise ClosedError(INHERITED)
        if self._closed:
            raise ClosedError("this client is closed")

    def _session(self) -> Running:
        """The session of this process, opened now if this is the first use."""
        self._check()
        running = self._running
        if running is None:
            with self._opening:
                self._check()
                running = self._running
                if running is None:
                    running = open_session(
                        self._settings,
                        label=self._label,
                        last_will=self._last_will,
                        thrifty=self._thrifty,
                        check_wanted=self._check,
                    )
                    self._finalizer = weakref.finalize(self, _collected, running)
                    self._finalizer.atexit = False
                    self._running = running
            if self._closed:
                running.leave()  # closed by another thread, which has not seen this session
        running.check()
        return running


def _collected(running: Running) -> None:
    """A client was collected that nobody had closed."""
    if running.abandon():
        warnings.warn(
            "a paxlock client was not closed: its leases are lost; use it in a with block, or close it",
            ResourceWarning,
            stacklevel=2,
        )


def open_client(
    cell: Cell | ClientSettings | str | Path | Sequence[str],
    *,
    key: bytes | str | None = None,
    label: str | None = None,
    last_will: bool = False,
    thrifty: bool = False,
) -> Client:
    """A client of a cell: ``with open_client("cell.toml") as client``; or without a block, until ``close`` or
    the end of the interpreter.

    ``cell`` is a path to a cell file, a Cell, or a list of node addresses. Addresses are only seeds: the
    nodes, and so the quorum, always come from the configuration (protocol.md section 1); the first use then
    waits until one has answered, and ``key`` is the cell's key. ``label`` says who this is, for people (host
    and process unless given). Neither cell nor node need be up: no quorum is waiting, not an error.
    ``last_will``: where this process is killed, a small process beside it tells the nodes at once, instead of
    leaving its leases to run out; Linux only, elsewhere a warning (protocol.md section 11).
    ``thrifty``: an acquisition asks only a quorum at first, where that is as fast. That saves datagrams, and
    is for programs near their nodes whose names are rarely wanted by several at once (docs/scaling.md).

    Raises ConfigError for a configuration that cannot be, also later, from any verb, when nodes turn out to
    run with another one.
    """
    if label is not None:
        check_label(label)
    return Client(settings_of(cell, key), label, last_will=last_will, thrifty=thrifty)
