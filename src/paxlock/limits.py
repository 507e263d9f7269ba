"""Sizes and counts that more than one module must agree on."""

__all__ = [
    "BARRED_PER_KEY",
    "CELL_ID_BYTES",
    "CELL_SIZES",
    "EVENTS_PER_KEY",
    "GRANT_MAX_BYTES",
    "KEY_BYTES",
    "KEY_ID_MAX",
    "NAMES_PER_KEY",
    "NEVER",
    "NODE_ID_MAX_BYTES",
    "PLACES_PER_KEY",
    "PORT_MAX",
    "RUN_BYTES",
    "SEEDS_MAX",
    "SESSIONS_PER_KEY",
    "SESSION_BYTES",
    "STONES_PER_KEY",
    "WATCHES_PER_KEY",
    "WATCHES_PER_SESSION",
]

CELL_ID_BYTES = 16
CELL_SIZES = (1, 3, 5, 7)  #: nodes; an even one more would tolerate no more failures
GRANT_MAX_BYTES = 160  #: of the text of a client's key: every datagram of the client carries it
KEY_BYTES = 32
KEY_ID_MAX = 255
NEVER = float("inf")  #: as a time in seconds
NODE_ID_MAX_BYTES = 16
PORT_MAX = 65_535
RUN_BYTES = 16  #: of one process of a node
SEEDS_MAX = 64  #: addresses that a client may begin with
SESSION_BYTES = 16  #: of one client

# What one key of a client may have at one node (core/node/quotas.py): far above what programs need, and so
# little that a key which takes all of it costs the node no more than it can spare.
SESSIONS_PER_KEY = 8192  #: a session is a process, and counts for a minute after its last word
NAMES_PER_KEY = 16_384  #: that it holds, waits for, or has spoken of within the last minute
PLACES_PER_KEY = 8192  #: in the lines of all names; one line has 1,024
STONES_PER_KEY = 65_536  #: tombstones that its Releases set; each stands for a minute
BARRED_PER_KEY = 8192  #: those against locks, by handles that the node cannot check
WATCHES_PER_SESSION = 1024
WATCHES_PER_KEY = 8192
EVENTS_PER_KEY = 65_536  #: that wait to be acknowledged, besides those under way
