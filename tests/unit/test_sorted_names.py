"""Names in order, and keys by prefix."""

from __future__ import annotations

from random import Random

import pytest

from paxlock.core.node.sorted_names import CHUNK_MAX_NAMES, SortedNames
from paxlock.core.node.subscriptions import Prefixes


@pytest.mark.parametrize("seed", range(5))
def test_names_come_in_order_whatever_came_and_went(seed: int) -> None:
    rng = Random(seed)
    names, wanted = SortedNames(), set[str]()
    for _ in range(6 * CHUNK_MAX_NAMES):
        name = "".join(rng.choices("abc/", k=rng.randint(1, 6)))
        if name not in wanted:
            wanted.add(name)
            names.add(name)
        elif rng.random() < 0.7:
            wanted.remove(name)
            names.remove(name)
    assert len(names) == len(wanted)
    for prefix, after in (("", ""), ("a", ""), ("ab", "abc"), ("b", "a"), ("b", "c"), ("", "bb"), ("x", "")):
        expected = sorted(name for name in wanted if name.startswith(prefix) and name > after)
        assert list(names.walk(prefix, after)) == expected
    for name in sorted(wanted):
        names.remove(name)
    assert len(names) == 0 and list(names.walk("", "")) == []


def test_no_chunk_grows_beyond_its_bound() -> None:
    names = SortedNames()
    for number in range(20 * CHUNK_MAX_NAMES):
        names.add(f"{number * 7919 % 100_003:06}")
    assert max(map(len, names._chunks)) <= CHUNK_MAX_NAMES
    assert [chunk[-1] for chunk in names._chunks] == names._lasts


def test_a_name_has_the_keys_of_all_its_prefixes_and_of_no_others() -> None:
    prefixes = Prefixes[int]()
    for key, prefix in enumerate(("", "jobs/", "jobs/a", "jobs/", "other", "jobs/abc")):
        prefixes.add(prefix, key)
    assert sorted(prefixes.of("jobs/ab")) == [0, 1, 2, 3]
    assert sorted(prefixes.of("job")) == [0]
    assert len(prefixes) == 6
    prefixes.discard("jobs/", 1)
    prefixes.discard("jobs/", 9)
    prefixes.discard("nobody", 9)
    assert sorted(prefixes.of("jobs/ab")) == [0, 2, 3]


def test_a_change_asks_once_for_each_length_and_not_for_each_watcher() -> None:
    prefixes = Prefixes[int]()
    for key in range(1_000):
        prefixes.add(f"of-{key:04}/", key)
    assert len(prefixes._lengths) == 1
    assert list(prefixes.of("of-0007/n")) == [7]
    for key in range(1_000):
        prefixes.discard(f"of-{key:04}/", key)
    assert (prefixes._lengths, prefixes._by_prefix) == ({}, {})
