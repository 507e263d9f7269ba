"""Sealing, rotation, key texts, and the replay window against a plain twin."""

from __future__ import annotations

import random

import pytest

from paxlock.config.keys import format_key, key_id, new_key, parse_key
from paxlock.errors import ConfigError
from paxlock.limits import KEY_BYTES
from paxlock.wire import keyring as keyring_module
from paxlock.wire.channels import Channel
from paxlock.wire.keyring import REPLAY_WINDOW_DATAGRAMS, SEAL_BYTES, Keyring, ReplayWindow

KEY = bytes(range(KEY_BYTES))
OTHER_KEY = bytes(KEY_BYTES)
ME, YOU = Channel(None, b"me"), Channel(None, b"you")


def test_what_is_sealed_opens_only_as_it_was() -> None:
    ring = Keyring({3: KEY})
    sealer = ring.sealer(ME)
    sealed = sealer.seal(9, b"hello", b"header")
    assert sealer.key_id == 3
    assert len(sealed) == len(b"hello") + sealer.overhead == len(b"hello") + SEAL_BYTES
    assert b"hello" not in sealed
    other = Keyring({3: KEY})
    assert other.open_untrusted(3, ME, 9, sealed, b"header") == b"hello"
    assert other.open_untrusted(3, ME, 10, sealed, b"header") is None
    assert other.open_untrusted(3, YOU, 9, sealed, b"header") is None
    assert other.open_untrusted(3, ME, 9, sealed, b"Header") is None
    assert other.open_untrusted(3, ME, 9, sealed[:-1], b"header") is None
    assert other.open_untrusted(3, ME, 9, b"", b"header") is None
    assert other.open_untrusted(4, ME, 9, sealed, b"header") is None
    assert other.open_untrusted(0, ME, 9, sealed, b"header") is None
    assert Keyring({3: OTHER_KEY}).open_untrusted(3, ME, 9, sealed, b"header") is None


def test_first_key_seals_and_all_open() -> None:
    before, during, after = Keyring.of([KEY]), Keyring.of([OTHER_KEY, KEY]), Keyring.of([OTHER_KEY])
    old, new = before.sealer(ME), during.sealer(ME)
    assert (old.key_id, new.key_id) == (key_id(KEY), key_id(OTHER_KEY))
    assert during.open_untrusted(old.key_id, ME, 1, old.seal(1, b"old", b""), b"") == b"old"
    assert after.open_untrusted(new.key_id, ME, 1, new.seal(1, b"new", b""), b"") == b"new"
    assert not before.knows(new.key_id) and during.knows(new.key_id)


def test_unsealed() -> None:
    ring = Keyring.unsealed()
    sealer = ring.sealer(ME)
    assert (sealer.key_id, sealer.overhead, ring.sealed) == (0, 0, False)
    assert ring.open_untrusted(0, ME, 1, sealer.seal(1, b"plain", b"h"), b"h") == b"plain"
    assert ring.open_untrusted(1, ME, 1, b"plain", b"h") is None
    assert ring.knows(0) and not ring.knows(1) and not Keyring({1: KEY}).knows(0)


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({}, "needs a key"),
        ({0: KEY}, "from 1 to 255, not 0"),
        ({256: KEY}, "from 1 to 255, not 256"),
        ({1: KEY[:31]}, "32 bytes, not 31"),
    ],
)
def test_bad_keys_are_refused(keys: dict[int, bytes], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        Keyring(keys)


def test_same_key_twice_is_refused() -> None:
    with pytest.raises(ConfigError, match="share a key id"):
        Keyring.of([KEY, KEY])


def test_only_openers_are_remembered_and_only_so_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keyring_module, "SUBKEYS_MAX", 3)
    ring = Keyring({1: KEY})
    for number in range(100):
        assert ring.open_untrusted(1, Channel(None, b"forged %d" % number), 1, bytes(40), b"") is None
    assert len(ring._ciphers) == 0
    for name in (Channel(None, text) for text in (b"a", b"b", b"c", b"a", b"d")):
        assert ring.open_untrusted(1, name, 1, ring.sealer(name).seal(1, b"x", b""), b"") == b"x"
    assert [channel.text for _, channel in ring._ciphers] == [b"c", b"a", b"d"]


def test_key_texts() -> None:
    key = new_key()
    assert len(key) == KEY_BYTES
    assert key != new_key()
    text = format_key(key)
    assert text.startswith("paxlock-key-1:") and "\n" not in text
    assert parse_key(f"  {text}\n") == key


@pytest.mark.parametrize(
    "text",
    [
        "",
        "paxlock-key-1:",
        "paxlock-key-2:" + "A" * 43,
        "paxlock-key-1:" + "A" * 42,
        "paxlock-key-1:" + "A" * 44,
        "paxlock-key-1:" + "A" * 42 + "B",  # stray bits in the last character
        "paxlock-key-1:" + "!" * 43,
        "paxlock-key-1:" + "\N{GREEK SMALL LETTER ALPHA}" * 43,
        format_key(KEY) + "\n" + format_key(KEY),
    ],
)
def test_bad_key_texts_are_refused_without_showing_them(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_key(text)
    assert caught.value.__cause__ is None and caught.value.__suppress_context__
    assert "AAAA" not in str(caught.value) and format_key(KEY)[20:] not in str(caught.value)


def test_keys_are_not_shown() -> None:
    ring = Keyring({1: KEY})
    assert repr(KEY)[2:20] not in repr(ring) + repr(ring.sealer(ME))
    with pytest.raises(ConfigError, match="32 bytes, not 5"):
        format_key(b"short")


def test_replay_window_against_a_plain_twin() -> None:
    rng = random.Random(5)
    for _ in range(20):
        window, taken, highest, at = ReplayWindow(), set[int](), 0, 1
        for _ in range(2000):
            at += rng.choice((0, 1, 1, 2, 3, 40, 3000)) if rng.random() < 0.5 else 0
            sequence = max(0, at - rng.randrange(2 * REPLAY_WINDOW_DATAGRAMS))
            expected = (
                sequence >= 1
                and sequence not in taken
                and (sequence > highest or highest - sequence < REPLAY_WINDOW_DATAGRAMS)
            )
            assert window.take(sequence) is expected
            if expected:
                taken.add(sequence)
                highest = max(highest, sequence)
        assert window.seen.bit_length() <= REPLAY_WINDOW_DATAGRAMS


def test_replay_window_survives_a_huge_step() -> None:
    window = ReplayWindow()
    assert window.take(1)
    assert window.take((1 << 64) - 1)
    assert not window.take(1)
    assert window.take((1 << 64) - 2)
    assert window.seen.bit_length() <= REPLAY_WINDOW_DATAGRAMS
