"""Sizes and counts that more than one module must agree on."""

__all__ = [
    "CELL_ID_BYTES",
    "CELL_SIZES",
    "GRANT_MAX_BYTES",
    "KEY_BYTES",
    "KEY_ID_MAX",
    "NEVER",
    "NODE_ID_MAX_BYTES",
    "PORT_MAX",
    "RUN_BYTES",
    "SEEDS_MAX",
    "SESSION_BYTES",
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
