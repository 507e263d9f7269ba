"""The wire form of messages: the table, the golden bytes, and what is refused."""

from __future__ import annotations

import enum
import typing

import attrs
import cbor2
import pytest

from paxlock.core import journal, seeing, steering
from paxlock.core import messages as m
from paxlock.core.durable import SeenNode
from paxlock.core.lease import TERM_MAX, Candidate, Lease
from paxlock.core.reasons import Barrier
from paxlock.wire import codec
from paxlock.wire.codec import (
    INT_MAX,
    MESSAGES_MAX,
    PAYLOAD_MAX_BYTES,
    Malformed,
    decode_untrusted,
    encode,
    join,
)
from paxlock.wire.schema import ATTEMPTS_MAX

S1 = bytes(range(16))
S2 = bytes(range(16, 32))
RUN = bytes(range(32, 48))
CANDIDATE = Candidate(S1, 7)
LOCK = bytes(range(48, 64))
LEASE = Lease(CANDIDATE, 10_000, "host-1", b"10.0.0.7:8080", 5, 2)
OCCUPANT = m.Occupant(CANDIDATE, m.Occupancy.PROMISED, 12, "host-1", 900, 10_000, 40)
VIEW = m.View(9, "jobs", 6, LEASE, 5, True, True, False, 900)
MEMBERS = (m.Member("a", "10.0.0.7:7400"), m.Member("b", "[::1]:7400"))

GREETED = m.Greeted(
    *(8, 3, RUN, 2, b"", 4, RUN, 2000, m.NodeMode.RECOVERING, True, False, 30_000, 40_000, 7),
    (SeenNode("b", 6, RUN),),
)

# One sample of each kind and its exact bytes: the wire format does not change unnoticed. A new message gets a
# new line; a line that has been released never changes.
GOLDEN: list[tuple[m.Message, str]] = [
    (m.Hello(1), "820101"),
    (
        m.Prepare(2, "jobs", 5, CANDIDATE, 1500, 50, 80, "host-1"),
        "890202646a6f6273058250000102030405060708090a0b0c0d0e0f071905dc1832185066686f73742d31",
    ),
    (
        m.Accept(3, "jobs", 5, LEASE, 8, 1500, 80, LOCK),
        "890303646a6f627305868250000102030405060708090a0b0c0d0e0f0719271066686f73742d314d31302e302e302e373a383038300502081905dc185050303132333435363738393a3b3c3d3e3f",
    ),
    (
        m.Commit("jobs", 5, LEASE, LOCK),
        (
            "8504646a6f627305868250000102030405060708090a0b0c0d0e0f0719271066686f73742d314d31302e302e302e373a383038300502"
            "50303132333435363738393a3b3c3d3e3f"
        ),
    ),
    (m.Renew(4, S1, 9, (7, 300)), "86050450000102030405060708090a0b0c0d0e0f09820719012c80"),
    (
        m.Renew(4, S1, 9, (7,), (LOCK,)),
        "86050450000102030405060708090a0b0c0d0e0f0981078150303132333435363738393a3b3c3d3e3f",
    ),
    (m.Release(5, "jobs", CANDIDATE, 5), "860605646a6f62738250000102030405060708090a0b0c0d0e0f070540"),
    (
        m.Release(5, "jobs", CANDIDATE, 5, LOCK),
        "860605646a6f62738250000102030405060708090a0b0c0d0e0f070550303132333435363738393a3b3c3d3e3f",
    ),
    (m.Poll(6, "jobs"), "830706646a6f6273"),
    (m.Watch(7, 1, "jobs/", True, 3000), "86080701656a6f62732ff5190bb8"),
    (m.Seen(1, (("jobs", 4), ("more", 70_000))), "8309018282646a6f62730482646d6f72651a00011170"),
    (
        m.Promise(2, "jobs", CANDIDATE, 6, 5, 4),
        "870a02646a6f62738250000102030405060708090a0b0c0d0e0f07060504",
    ),
    (
        m.Refused(2, "jobs", CANDIDATE, m.RefusalReason.HELD, 6, 4, OCCUPANT, 3),
        "890b02646a6f62738250000102030405060708090a0b0c0d0e0f07020604888250000102030405060708090a0b0c0d0e0f07020c66686f73742d311903841927101828f403",
    ),
    (m.Recovering(2, 30_606), "830c0219778e"),
    (m.Forbidden(2, Barrier.RIGHTS), "83181f0202"),
    (m.Accepted(3, "jobs", CANDIDATE, 6, 8), "860d03646a6f62738250000102030405060708090a0b0c0d0e0f070608"),
    (
        m.Renewed(4, S2, S1, 9, ((7, 5), (9, 6)), (11,)),
        "870e0450101112131415161718191a1b1c1d1e1f50000102030405060708090a0b0c0d0e0f0982820705820906810b",
    ),
    (m.Released(5, "jobs", CANDIDATE, 4), "850f05646a6f62738250000102030405060708090a0b0c0d0e0f0704"),
    (
        VIEW,
        "8a1009646a6f627306868250000102030405060708090a0b0c0d0e0f0719271066686f73742d314d31302e302e302e373a38303830050205f5f5f4190384",
    ),
    (m.Watching(7, 1), "83110701"),
    (
        m.WatchEvent(1, 4, VIEW),
        "841201048909646a6f627306868250000102030405060708090a0b0c0d0e0f0719271066686f73742d314d31302e302e302e373a38303830050205f5f5f4190384",
    ),
    (
        m.Welcome(1, "a", MEMBERS, 30_000, 10_000, 10, m.NodeMode.SERVING, 0, 1 << 55, "no b"),
        "8b181e016161828261616d31302e302e302e373a373430308261626a5b3a3a315d3a373430301975301927100a03001b0080000000000000646e6f2062",
    ),
    (m.Greet(8, 3, RUN), "8414080350202122232425262728292a2b2c2d2e2f"),
    (
        GREETED,
        "90181d080350202122232425262728292a2b2c2d2e2f02400450202122232425262728292a2b2c2d2e2f1907d002f5f4197530199c4007818361620650202122232425262728292a2b2c2d2e2f",
    ),
    (m.Inquire(9, "jobs"), "831609646a6f6273"),
    (
        m.StandingPrepare(2, "jobs", 5, CANDIDATE, 1500, 50, 80, "host-1", 10_000, b"10.0.0.7:8080", 8, LOCK),
        "8d1702646a6f6273058250000102030405060708090a0b0c0d0e0f071905dc1832185066686f73742d311927104d31302e302e302e373a383038300850303132333435363738393a3b3c3d3e3f",
    ),
    (m.Waiting(10, "jobs", 20), "8418180a646a6f627314"),
    (m.List(11, "jobs/", "", 8), "8518190b656a6f62732f6008"),
    (m.Unwatch(12, 1), "83181a0c01"),
    (
        m.Waiters(10, "jobs", 21, (m.WaiterEntry(CANDIDATE, "host-1", 250),)),
        "85181b0a646a6f62731581838250000102030405060708090a0b0c0d0e0f0766686f73742d3118fa",
    ),
    (
        m.Names(11, "jobs/", ("jobs/a", "jobs/b"), False),
        "85181c0b656a6f62732f82666a6f62732f61666a6f62732f62f4",
    ),
    (
        steering.Revoke(13, "jobs", CANDIDATE, 5, True, None),
        "8718200d646a6f62738250000102030405060708090a0b0c0d0e0f0705f5f6",
    ),
    (
        steering.Revoke(13, "jobs", CANDIDATE, 5, False, Candidate(S2, 2)),
        "8718200d646a6f62738250000102030405060708090a0b0c0d0e0f0705f48250101112131415161718191a1b1c1d1e1f02",
    ),
    (
        steering.Publish(14, "jobs", CANDIDATE, 3, b"10.0.0.8:8080"),
        "8618210e646a6f62738250000102030405060708090a0b0c0d0e0f07034d31302e302e302e383a38303830",
    ),
    (
        steering.RevokeAnswer(13, "jobs", CANDIDATE, True, False),
        "8618220d646a6f62738250000102030405060708090a0b0c0d0e0f07f5f4",
    ),
    (
        steering.LetGo(0, "jobs", CANDIDATE),
        "84182300646a6f62738250000102030405060708090a0b0c0d0e0f07",
    ),
    (
        steering.Published(14, "jobs", CANDIDATE, 3),
        "8518240e646a6f62738250000102030405060708090a0b0c0d0e0f0703",
    ),
    (journal.Recall(15, "jobs", 3), "8418250f646a6f627303"),
    (
        journal.Recalled(
            *(15, "jobs", 3, 60_000, False),
            (
                journal.Happened(
                    *(4, journal.Happening.ACCEPTED, 250, CANDIDATE, 9, "athens", 10_000, None, 1)
                ),
            ),
        ),
        "8718260f646a6f62730319ea60f48189040218fa8250000102030405060708090a0b0c0d0e0f070966617468656e73192710f601",
    ),
    (seeing.Ping(16), "82182710"),
    (seeing.Pong(16, 60_000), "8318281019ea60"),
    (seeing.Count(17, "dropped.seal"), "831829116c64726f707065642e7365616c"),
    (
        seeing.Counted(17, "", True, (("dropped.seal", 3), ("names", 300))),
        "85182a1160f582826c64726f707065642e7365616c03" + "82656e616d657319012c",
    ),
]


def test_table_covers_the_union_exactly() -> None:
    assert set(codec._BY_CLASS) == set(typing.get_args(m.Message))
    assert len(codec._BY_KIND) == len(codec._BY_CLASS)
    assert {type(message) for message, _ in GOLDEN} == set(typing.get_args(m.Message))


@pytest.mark.parametrize(("message", "expected"), GOLDEN, ids=lambda value: type(value).__name__)
def test_golden_bytes(message: m.Message, expected: str) -> None:
    encoded = encode(message)
    assert encoded.hex() == expected
    (decoded,) = decode_untrusted(join([encoded]))
    assert decoded == message
    assert type(decoded) is type(message)


def test_decoded_values_have_their_classes() -> None:
    refused, event, renewed = decode_untrusted(
        join([encode(message) for message in (GOLDEN_REFUSED, GOLDEN_EVENT, GOLDEN_RENEWED)])
    )
    assert isinstance(refused, m.Refused)
    assert isinstance(refused.reason, m.RefusalReason)
    assert isinstance(refused.candidate, Candidate)
    assert isinstance(refused.occupant, m.Occupant)
    assert isinstance(event, m.WatchEvent) and isinstance(event.view.lease, Lease)
    assert isinstance(renewed, m.Renewed) and isinstance(renewed.held, tuple)
    hash(refused), hash(event), hash(renewed)


GOLDEN_REFUSED = m.Refused(1, "jobs", CANDIDATE, m.RefusalReason.HELD, 6, 4, OCCUPANT)
GOLDEN_EVENT = m.WatchEvent(3, 4, VIEW)
GOLDEN_RENEWED = m.Renewed(1, S2, S1, 8, ((7, 5), (9, 6)), (11,))


def test_many_messages_in_one_payload() -> None:
    for count in (0, 1, 23, 24, 255):
        sent: tuple[m.Message, ...] = tuple(m.Hello(request) for request in range(count))
        assert decode_untrusted(join([encode(message) for message in sent])) == sent


def test_join_is_bounded() -> None:
    with pytest.raises(ValueError, match="at most 255 messages"):
        join([encode(m.Hello(1))] * (MESSAGES_MAX + 1))


def test_largest_values_pass() -> None:
    lease = Lease(Candidate(S1, INT_MAX), INT_MAX, "l" * 64, bytes(512), TERM_MAX, INT_MAX)
    commit = m.Commit("\N{GREEK SMALL LETTER ALPHA}" * 127 + "x", TERM_MAX, lease, LOCK)
    renew = m.Renew(0, S1, 1, tuple(range(ATTEMPTS_MAX)))
    prepare = (INT_MAX, commit.name, TERM_MAX, lease.candidate, INT_MAX, INT_MAX, INT_MAX, lease.label)
    standing = m.StandingPrepare(*prepare, lease.ttl_ms, lease.data, INT_MAX, LOCK)
    assert standing.lease == attrs.evolve(lease, token=0, edition=0)
    assert decode_untrusted(join([encode(standing)])) == (standing,)
    assert decode_untrusted(join([encode(commit)])) == (commit,)
    assert decode_untrusted(join([encode(renew)])) == (renew,)


def raw(*values: object) -> bytes:
    return cbor2.dumps([list(values)])


REFUSED_MESSAGES: dict[str, bytes] = {
    "unknown kind": raw(99, 1),
    "kind 0": raw(0, 1),
    "kind is a bool": raw(True, 1),
    "kind is a text": raw("Hello", 1),
    "no kind": raw(),
    "not an array in the array": cbor2.dumps([1]),
    "too few fields": raw(1),
    "too many fields": raw(1, 2, 3),
    "bool is not an int": raw(1, True),
    "a lock that is too short": raw(6, 1, "n", [S1, 1], 1, LOCK[1:]),
    "fewer secrets than attempts": raw(5, 1, S1, 1, [1, 2], [LOCK]),
    "more secrets than attempts": raw(5, 1, S1, 1, [1], [LOCK, LOCK]),
    "int is not a bool": raw(28, 1, ["a"], 1),
    "null is not an int": raw(1, None),
    "negative": raw(1, -1),
    "above 63 bits": raw(1, 1 << 63),
    "bignum": raw(1, 1 << 64),
    "float": raw(1, 1.0),
    "term too large": raw(6, 1, "n", [S1, 1], TERM_MAX + 1),
    "empty name": raw(7, 1, ""),
    "name too long": raw(7, 1, "n" * 256),
    "name too long in bytes": raw(7, 1, "\N{GREEK SMALL LETTER ALPHA}" * 128),
    "name as bytes": raw(7, 1, b"n"),
    "session too short": raw(6, 1, "n", [S1[:15], 1], 1),
    "session too long": raw(6, 1, "n", [S1 + b"x", 1], 1),
    "session as text": raw(6, 1, "n", ["s" * 16, 1], 1),
    "candidate of three": raw(6, 1, "n", [S1, 1, 1], 1),
    "candidate null": raw(6, 1, "n", None, 1),
    "label too long": raw(2, 1, "n", 1, [S1, 1], 0, 0, "l" * 65),
    "data too long": raw(4, "n", 1, [[S1, 1], 1, "", bytes(513), 0, 0]),
    "published data too long": raw(33, 1, "n", [S1, 1], 1, bytes(513)),
    "successor of three": raw(32, 1, "n", [S1, 1], 1, False, [S1, 1, 1]),
    "lease of before it had editions": raw(4, "n", 1, [[S1, 1], 1, "", b"", 0]),
    "lease null": raw(4, "n", 1, None),
    "lease too short": raw(4, "n", 1, [[S1, 1], 1, "", b""]),
    "too many attempts": raw(5, 1, S1, 1, [1] * (ATTEMPTS_MAX + 1)),
    "attempt is a bool": raw(5, 1, S1, 1, [True]),
    "no such reason": raw(11, 1, "n", [S1, 1], 99, 1, 1, None),
    "no such mode": raw(29, 1, 1, RUN, 1, b"", 1, RUN, 1, 0, True, 1, 0, 0, []),
    "the answer to a Hello as it was": raw(19, 1, "a", [], 1, 1, 1, 1, 1, 1),
    "the answer to a greeting as it was": raw(21, 1, 1, b"", 1, RUN, 1, 3),
    "pattern empty without prefix": raw(8, 1, 1, "", False, 1),
    "node id with a space": raw(30, 1, "a b", [], 1, 1, 1, 1, 1, 1, ""),
    "node id too long": raw(30, 1, "a" * 17, [], 1, 1, 1, 1, 1, 1, ""),
    "run too short": raw(20, 1, 1, RUN[:8]),
    "pair of three": raw(9, 1, [["n", 1, 1]]),
    "pair of one": raw(9, 1, [["n", 1], ["m"]]),
    "no pair": raw(9, 1, [["n", 1], "m2"]),
    "pair with a name too long": raw(9, 1, [["n", 1], ["n" * 256, 1]]),
    "pair with a bool": raw(14, 1, S1, S1, 1, [[1, 1], [True, 1]], []),
    "pair with a term too large": raw(14, 1, S1, S1, 1, [[1, 1], [2, TERM_MAX + 1]], []),
    "too many pairs": raw(14, 1, S1, S1, 1, [[1, 1]] * (ATTEMPTS_MAX + 1), []),
    "map": cbor2.dumps([{1: 1}]),
}


@pytest.mark.parametrize("payload", REFUSED_MESSAGES.values(), ids=REFUSED_MESSAGES)
def test_messages_outside_the_schema_are_refused(payload: bytes) -> None:
    with pytest.raises(Malformed):
        decode_untrusted(payload)


HELLO = join([encode(m.Hello(1))])
REFUSED_BYTES: dict[str, bytes] = {
    "nothing": b"",
    "not an array": b"\x01",
    "trailing byte": HELLO + b"\x00",
    "trailing empty array": HELLO + b"\x80",
    "trailing open array": HELLO + b"\x81",
    "cut short": HELLO[:-1],
    "string beyond the end": b"\x81\x82\x07\x6f" + b"n",
    "array beyond the end": b"\x98\xff",
    "huge array": b"\x9b\x00\x00\x00\x7f\xff\xff\xff\xff",
    "huge string": b"\x5b\x00\x00\x00\x7f\xff\xff\xff\xff",
    "indefinite array": b"\x9f\x82\x01\x01\xff",
    "indefinite text": b"\x81\x83\x07\x01\x7f\x61n\xff",
    "long form of an int": b"\x81\x82\x01\x18\x01",
    "longer form of an int": b"\x81\x82\x01\x19\x00\xff",
    "long form of a long int": b"\x81\x82\x01\x1a\x00\x00\x01\x00",
    "long form of a longer int": b"\x81\x82\x01\x1b\x00\x00\x00\x00\xff\xff\xff\xff",
    "long int cut short": b"\x81\x82\x01\x1b\x00\x01\x00\x00\x00",
    "long form of an array": b"\x98\x01\x82\x01\x01",
    "long form of a text": b"\x81\x83\x07\x01\x78\x01n",
    "undefined": b"\x81\x82\x01\xf7",
    "simple value": b"\x81\x82\x01\xf8\xff",
    "break": b"\xff",
    "not UTF-8": b"\x81\x83\x07\x01\x61\xff",
    "surrogate": b"\x81\x83\x07\x01\x63\xed\xa0\x80",
    "tag: date": b"\x81\x82\x01\xc1\x00",
    "tag: decimal": b"\x81\x82\x01\xc4\x82\x1b\x7f\xff\xff\xff\xff\xff\xff\xff\x01",
    "tag: bigfloat": b"\x81\x82\x01\xc5\x82\x1b\x7f\xff\xff\xff\xff\xff\xff\xff\x01",
    "tag: regular expression": b"\x81\x82\x01\xd8\x23\x61a",
    "tag: shared": b"\xd8\x1c\x81\xd8\x1d\x00",
    "tag: self-described": b"\xd9\xd9\xf7" + HELLO,
    "nested very deep": b"\x81" * (PAYLOAD_MAX_BYTES - 1) + b"\x80",
    "too long": join([encode(m.Hello(1))] * 255) + bytes(PAYLOAD_MAX_BYTES),
}


@pytest.mark.parametrize("payload", REFUSED_BYTES.values(), ids=REFUSED_BYTES)
def test_bytes_that_are_no_payload_are_refused(payload: bytes) -> None:
    with pytest.raises(Malformed):
        decode_untrusted(payload)


def test_every_truncation_is_refused() -> None:
    payload = join([encode(message) for message, _ in GOLDEN[:12]])
    assert len(payload) <= PAYLOAD_MAX_BYTES
    for end in range(len(payload)):
        with pytest.raises(Malformed):
            decode_untrusted(payload[:end])


@pytest.mark.parametrize("bits", range(63))
def test_numbers_of_every_length(bits: int) -> None:
    sent = tuple(m.Poll(number, "n") for number in ((1 << bits) - 1, 1 << bits, (1 << bits) + 1))
    assert decode_untrusted(join([encode(message) for message in sent])) == sent


def test_empty_texts_where_they_are_allowed() -> None:
    sent = (m.List(1, "", "", 1), m.Watch(1, 2, "", True, 500))
    assert decode_untrusted(join([encode(message) for message in sent])) == sent


UNFIT = ["cafe\u0301", "a\x00b", "line\nbreak", "zero\u200bwidth", "\u202ebidi", "\ufeffmark", "\u2028"]


@pytest.mark.parametrize("text", UNFIT)
def test_names_and_labels_that_no_client_sends_are_malformed(text: str) -> None:
    """Two names that look alike would be two locks."""
    prepare = m.Prepare(2, "jobs", 5, CANDIDATE, 1500, 50, 80, "host-1")
    for sent in (
        attrs.evolve(prepare, name=text),
        attrs.evolve(prepare, label=text),
        m.List(1, text, "", 1),
        m.Watch(1, 2, text, True, 500),
    ):
        with pytest.raises(Malformed, match="not in NFC"):
            decode_untrusted(join([encode(sent)]))


@pytest.mark.parametrize("text", ["caf\u00e9", "\u30b8\u30e7\u30d6", "a b", "\U0001f512", "x*y"])
def test_other_names_and_labels_pass(text: str) -> None:
    sent = m.Prepare(2, text, 5, CANDIDATE, 1500, 50, 80, text)
    assert decode_untrusted(join([encode(sent)])) == (sent,)


def test_each_enum_value_passes() -> None:
    enums: list[type[enum.IntEnum]] = [m.RefusalReason, m.NodeMode, m.Occupancy]
    assert [len(enumeration) for enumeration in enums] == [8, 3, 3]
    for reason in m.RefusalReason:
        refused = attrs.evolve(GOLDEN_REFUSED, reason=reason, occupant=None)
        assert decode_untrusted(join([encode(refused)])) == (refused,)


def test_unpack_wants_an_array() -> None:
    with pytest.raises(Malformed, match="not an array"):
        codec.unpack_untrusted(b"\x05")
