"""Bytes <-> messages <-> datagrams (docs/protocol.md section 8). Nothing here decides anything about a name.

A datagram comes in by a transport (runtime/udp.py) and goes to endpoint.py, which asks: is it of our
version, cell and members (header.py); does a key of ours open it, and is its number new (keyring.py); has
its sender proved its address (cookies.py); is it well formed (codec.py). Whatever fails is counted and
dropped. Every function that is given bytes of unknown origin says so in its name: ``..._untrusted``. The way
out: packing.py, then sealing.py.

    transport.py   what datagrams travel by, and addresses as text
    endpoint.py    datagrams <-> (sender, messages), without a socket and without a clock
    lanes.py       a short way for datagrams of one peer that come again and again
    received.py    the messages of a datagram that passed every check, and who sent it
    sealing.py     how the datagrams of one sender are made: header, number, seal
    wills.py       what releases the leases of a session after its death, sealed while it lives
    header.py      the header, and the two kinds of sender
    channels.py    who speaks to whom: what a sealing key is derived from
    grants.py      what the key of a client allows, in bytes (the rule is in core/rights.py)
    keyring.py     keys, seals, rotation; the replay window
    rekeying.py    other keys for an endpoint that goes on
    cookies.py     what proves that a sender receives at its address
    lives.py       what datagrams of nodes say of lives, in bytes (the rule S15 is in core/lives.py)
    peers.py       what is remembered of those it talks to
    strangers.py   who sends and cannot be understood, for people
    packing.py     messages into datagrams
    codec.py       bytes <-> messages: the table of kinds; the only import of cbor2
    schema.py      the fields of each message, read and checked
"""
