"""``paxlock explain`` and ``audit``: what happened to names, by what all nodes remember."""

from __future__ import annotations

from collections.abc import Sequence

import click

from paxlock.cli.exits import ExitCode, Failure, epilog
from paxlock.cli.options import NAME, CellOptions, client_options, json_option
from paxlock.cli.output import JSON_VERSION, Facts, emit, printable, say, seconds, standing_facts, to_json
from paxlock.cli.runtime import connect, run_async, typed_values
from paxlock.cli.status import ANSWER_WAIT_S, format_standing
from paxlock.cli.waiting import no_quorum, why_no_quorum
from paxlock.client.standing import Standing
from paxlock.core.quorum import majority
from paxlock.core.session.events import NodeJournal
from paxlock.core.session.judgement import State
from paxlock.observe.auditing import Audit, Grant, Overlap, Promised, audit
from paxlock.observe.explaining import Episode, episodes, sentence

__all__ = ["audit_command", "explain_command"]

OVERLAPPED = 1


# --- one name --------------------------------------------------------------------------------------------


def _told_by(journals: Sequence[NodeJournal]) -> int:
    return sum(journal.answered for journal in journals)


def _episode_facts(episode: Episode) -> Facts:
    facts: Facts = {
        "what": episode.what.name.lower(),
        "ago_ms": round(episode.ago * 1000),
        "nodes": list(episode.nodes),
        "term": episode.term,
    }
    if episode.session:
        facts |= {"label": episode.label, "session": episode.session[:8], "attempt": episode.attempt}
    if episode.reason is not None:
        facts |= {"reason": episode.reason.name.lower(), "times": episode.times}
    return facts


def _reach_facts(journals: Sequence[NodeJournal]) -> list[Facts]:
    return [
        {"id": each.node_id, "answered": each.answered, "reach_ms": round(each.reach * 1000)}
        if each.answered
        else {"id": each.node_id, "answered": False}
        for each in journals
    ]


def _explanation(standing: Standing, journals: Sequence[NodeJournal]) -> str:
    lines = [f"{seconds(each.ago)} ago {printable(sentence(each))}" for each in episodes(journals)]
    if not lines:
        lines.append(f"nothing is remembered of {printable(standing.name)!r}")
    for each in journals:
        whole = f"since {seconds(each.reach)} ago" if each.answered else "nothing: it did not answer"
        lines.append(f"node {each.node_id} remembers {'all ' if each.answered else ''}{whole}")
    if standing.state is State.LED:
        holder = f"held by {printable(standing.label) or 'somebody without a label'}"
    else:
        holder = "which is " + standing.state.value
    nobody = "somebody without a label"
    lines += [
        f"{printable(waiter.label) or nobody} waits since {seconds(waiter.waiting)}: {holder}"
        for waiter in standing.waiters
    ]
    return "\n".join([*lines, format_standing(standing)])


@click.command("explain", epilog=epilog(0, 64, 69, 77, 78))
@click.argument("name", type=NAME)
@json_option
@client_options
def explain_command(options: CellOptions, name: str, as_json: bool) -> int:
    """Tell what happened to a name.

    Every node keeps in memory what it did last with each name, since its start. This asks all nodes,
    merges what they say by time, and says what the name is now. Needs a key that may observe the name.
    """
    settings = options.settings()

    async def explain() -> int:
        async with connect(settings, wait=ANSWER_WAIT_S) as client:
            with typed_values():
                standing = await client.inspect(name)
                journals = await client.journal(name)
            told = _told_by(journals) >= majority(len(journals))
            trouble = "" if told else await why_no_quorum(client)
        if as_json:
            facts = standing_facts(standing)
            facts["journals"] = _reach_facts(journals)
            facts["history"] = [_episode_facts(each) for each in episodes(journals)]
            emit(to_json(facts))
        else:
            emit(_explanation(standing, journals))
        if trouble:
            say(trouble)
        return ExitCode.DONE if told else ExitCode.NO_QUORUM

    return run_async(explain)


# --- many names ------------------------------------------------------------------------------------------


def _who(promised: Promised) -> str:
    return f"{promised.label or 'session ' + promised.candidate.session.hex()[:8]} (term {promised.term})"


def _overlap_sentence(name: str, overlap: Overlap) -> str:
    first, second = overlap.first, overlap.second
    took = f"node {second.node_id} took {_who(second)} {seconds(second.began)} ago"
    return (
        f"OVERLAP of {name!r}: {took}, {overlap.seconds:.3f} s before its promise to {_who(first)} was over"
    )


def _grant_facts(grant: Grant | Promised, ended: float) -> Facts:
    return {
        "term": grant.term,
        "label": grant.label,
        "session": grant.candidate.session.hex()[:8],
        "attempt": grant.candidate.attempt,
        "began_ms": round(grant.began * 1000),
        "ended_ms": round(ended * 1000),
    }


def _audit_facts(name: str, found: Audit) -> Facts:
    return {
        "name": name,
        "grants": [_grant_facts(grant, grant.ended) for grant in found.grants],
        "not_judged": found.not_judged,
        "overlaps": [
            {
                "first": _grant_facts(overlap.first, overlap.first.until),
                "second": _grant_facts(overlap.second, overlap.second.until),
                "overlap_ms": round(overlap.seconds * 1000, 3),
                "node": overlap.first.node_id,
            }
            for overlap in found.overlaps
        ],
    }


@click.command("audit", epilog=epilog("0 no two grants overlapped", "1 some did", 64, 69, 77, 78))
@click.argument("prefix", default="")
@json_option
@client_options
def audit_command(options: CellOptions, prefix: str, as_json: bool) -> int:
    """Check by the journals of all nodes that no two grants overlapped.

    Looks at the names in use that begin with PREFIX, as far back as a quorum of nodes remembers: since
    their start at most. Needs a key that may observe these names.
    """
    settings = options.settings()

    async def check() -> int:
        found: dict[str, Audit] = {}
        told = total = 0
        async with connect(settings, wait=ANSWER_WAIT_S) as client:
            with typed_values():
                nodes = await client.survey()
                total = told = len(nodes)
                if trouble := no_quorum(nodes):
                    raise Failure(ExitCode.NO_QUORUM, trouble)
                for standing in await client.list(prefix):
                    journals = await client.journal(standing.name)
                    told = min(told, _told_by(journals))
                    found[standing.name] = audit(journals)
        overlaps = sum(len(each.overlaps) for each in found.values())
        if as_json:
            names = [_audit_facts(name, each) for name, each in found.items()]
            answered = {"up": told, "total": total}
            emit(to_json({"v": JSON_VERSION, "overlaps": overlaps, "nodes": answered, "names": names}))
        else:
            for name, each in found.items():
                for overlap in each.overlaps:
                    emit(printable(_overlap_sentence(name, overlap)))
            grants = sum(len(each.grants) for each in found.values())
            left_out = sum(each.not_judged for each in found.values())
            verdict = f"overlaps: {overlaps}" if overlaps else "no two grants overlapped"
            emit(f"{verdict} (names: {len(found)}, grants: {grants}, nodes: {told} of {total})")
            if left_out:
                emit(f"candidates that no quorum remembers to have accepted, not judged: {left_out}")
        if overlaps:
            return OVERLAPPED
        return ExitCode.DONE if told >= majority(total) else ExitCode.NO_QUORUM

    return run_async(check)
