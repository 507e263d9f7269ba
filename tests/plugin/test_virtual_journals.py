"""What nodes remember of a name, in virtual time."""

from __future__ import annotations

import trio
from trio.testing import MockClock

from paxlock.core.journal import Happening
from paxlock.observe.auditing import audit
from paxlock.observe.explaining import episodes, sentence
from paxlock.testing import open_virtual_cell


async def test_a_holder_that_is_killed_and_the_one_after_it(autojump_clock: MockClock) -> None:
    async with open_virtual_cell() as cell:
        async with cell.open_client("corfu") as corfu:
            async with trio.open_nursery() as nursery:

                async def hold() -> None:
                    async with cell.open_client("athens") as athens:
                        await athens.acquire("n", ttl=10.0)
                        await trio.sleep(30.0)
                        cell.kill(athens)
                        await trio.sleep_forever()

                nursery.start_soon(hold)
                await cell.wait_holder("n")
                async with corfu.lock("n", ttl=10.0):
                    journals = await corfu.journal("n")
                nursery.cancel_scope.cancel()
            assert [journal.answered for journal in journals] == [True] * 3
            told = episodes(journals)
            whats = [episode.what for episode in told if episode.quorum]
            assert [what for what in whats if what is not Happening.REFUSED] == [
                Happening.ACCEPTED,
                Happening.RENEWED,
                Happening.EXPIRED,
                Happening.ACCEPTED,
            ]
            assert sentence(told[0]).startswith("athens became the holder in term 1: ")
            assert 35.0 < told[0].ago < 45.0
            found = audit(journals)
            assert [grant.label for grant in found.grants] == ["athens", "corfu"]
            assert (found.overlaps, found.not_judged) == ((), 0)
        await cell.kill_node("a")
        async with cell.open_client("delos") as delos:
            left = await delos.journal("n")
            assert [journal.answered for journal in left] == [False, True, True]
