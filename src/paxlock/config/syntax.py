"""Names, labels, data, node ids and addresses: what they may look like (protocol.md section 1)."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from contextlib import suppress

from paxlock.config.durations import abbreviate
from paxlock.core.lease import DATA_MAX_BYTES, LABEL_MAX_BYTES, NAME_MAX_BYTES
from paxlock.errors import ConfigError
from paxlock.text import CONTROL, UNSEEN
from paxlock.text import normal as normal_text

__all__ = [
    "check_address",
    "check_data",
    "check_label",
    "check_loopback",
    "check_name",
    "check_node_id",
    "check_reachable",
    "is_loopback",
    "normal_address",
    "normal_text",
    "split_address",
    "split_nodes",
]

HOST_MAX_CHARS = 253

_NODE_ID = re.compile(r"[A-Za-z0-9_-]{1,16}")
_ADDRESS = re.compile(r"(?:\[(?P<v6>[0-9A-Za-z:.%_-]+)\]|(?P<host>[^\[\]:]+)):(?P<port>[0-9]{1,5})")
_HOST = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)(?:\.(?!-)[A-Za-z0-9_-]{1,63}(?<!-))*\.?")
_DOTTED_NUMBERS = re.compile(r"[0-9.]+")


def check_name(name: str) -> str:
    """Return a name of a lock or an election in NFC; raise ConfigError where it breaks a limit.

    1 to NAME_MAX_BYTES bytes of UTF-8 without control characters and without what nobody can see
    (protocol.md section 1); a final ``*`` is how a prefix to watch is written.
    """
    name = _checked_text(name, "name", NAME_MAX_BYTES)
    if not name:
        raise ConfigError("a name must not be empty")
    if name.endswith("*"):
        raise ConfigError(
            f"the name {abbreviate(name)} must not end in '*': that is how prefixes are written"
        )
    return name


def check_label(label: str) -> str:
    """Return a label in NFC; ConfigError above LABEL_MAX_BYTES, or with characters that no name may have."""
    return _checked_text(label, "label", LABEL_MAX_BYTES)


def check_data(data: bytes) -> bytes:
    """Return the data of a lease unchanged; ConfigError where it is not bytes or above DATA_MAX_BYTES."""
    if not isinstance(data, bytes):
        raise ConfigError(f"data must be bytes, not {type(data).__name__}: encode it first")
    if len(data) > DATA_MAX_BYTES:
        raise ConfigError(f"data must be at most {DATA_MAX_BYTES} bytes, not {len(data)}")
    return data


def check_node_id(node_id: str) -> str:
    """Return a node id unchanged; ConfigError unless 1 to 16 ASCII letters, digits, ``-`` and ``_``."""
    if _NODE_ID.fullmatch(_text_or_empty(node_id)) is None:
        raise ConfigError(
            f"{abbreviate(node_id)} is not a node id: use 1 to 16 ASCII letters, digits, '-' and '_'"
        )
    return node_id


def check_address(address: str) -> str:
    """Return an address unchanged; ConfigError unless it reads ``host:port`` or ``[v6]:port``.

    Only the form is checked: names are resolved when they are used.
    """
    split_address(address)
    return address


def split_address(address: str) -> tuple[str, int]:
    """Split ``host:port`` or ``[v6]:port`` into host (without brackets) and port; ConfigError otherwise."""
    match = _ADDRESS.fullmatch(_text_or_empty(address))
    port = int(match["port"]) if match else 0
    if match is None or not 1 <= port <= 65_535 or not _host_well_formed(match["v6"], match["host"]):
        raise ConfigError(
            f"{abbreviate(address)} is not an address: write host:port or [v6]:port, "
            "such as 10.0.0.7:7400 or [fd00::7]:7400, with a port from 1 to 65535"
        )
    return match["v6"] or match["host"], port


def _host_well_formed(v6: str | None, host: str) -> bool:
    try:
        if v6 is not None:
            ipaddress.IPv6Address(v6)
        elif _DOTTED_NUMBERS.fullmatch(host):
            ipaddress.IPv4Address(host)
        else:
            return len(host) <= HOST_MAX_CHARS and _HOST.fullmatch(host) is not None
    except ValueError:
        return False
    return True


def normal_address(address: str) -> tuple[str, int]:
    """Host and port in one spelling, so that two spellings of one address are equal. Raises ConfigError."""
    host, port = split_address(address)
    with suppress(ValueError):
        return str(ipaddress.ip_address(host)), port
    return host.lower().rstrip("."), port


def is_loopback(address: str) -> bool:
    """Whether an address is a literal loopback address or ``localhost``; other host names are not asked."""
    host, _ = normal_address(address)
    with suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host == "localhost"


def check_reachable(address: str) -> str:
    """Return an address unchanged; ConfigError where no host can have it, so that nobody can send to it."""
    host, _ = normal_address(address)
    try:
        ip = ipaddress.ip_address(host)
    except ValueError:
        return address  # a name
    ip = getattr(ip, "ipv4_mapped", None) or ip
    if ip.is_unspecified:
        raise ConfigError(
            f"{address} stands for all addresses of a host, and nobody can send to it: give the one by "
            "which the other nodes and the clients reach this node (serve --listen binds another)"
        )
    if ip.is_multicast or str(ip) == "255.255.255.255":
        raise ConfigError(f"{address} is not the address of one host: give the one of the node")
    return address


def _text_or_empty(value: object) -> str:
    return value if isinstance(value, str) else ""


def _checked_text(text: str, what: str, max_bytes: int) -> str:
    if not isinstance(text, str):
        raise ConfigError(f"a {what} must be text, not {type(text).__name__}")
    try:
        text = normal_text(text)
        size = len(text.encode())
    except UnicodeEncodeError:
        raise ConfigError(f"the {what} {abbreviate(text)} is not valid UTF-8") from None
    if size > max_bytes:
        raise ConfigError(f"a {what} must be at most {max_bytes} bytes of UTF-8, not {size}")
    if CONTROL.search(text):
        raise ConfigError(f"the {what} {abbreviate(text)} must not contain control characters")
    if not text.isascii() and (unseen := UNSEEN.search(text)):
        raise ConfigError(
            f"the {what} {abbreviate(text)} must not contain U+{ord(unseen[0]):04X}, which nobody can see: "
            "leave it out"
        )
    return text


def check_loopback(addresses: Iterable[str]) -> None:
    """Without a key, raise ConfigError for addresses that others can reach."""
    for address in addresses:
        if not is_loopback(address):
            raise ConfigError(
                f"without a key anybody who reaches {address} can speak for the cell: give a key file, "
                "or insist with insecure = true in the cell file"
            )


def split_nodes(nodes: str | Iterable[str]) -> tuple[str, ...]:
    """The addresses in a list, or in a text separated by commas."""
    parts = [nodes] if isinstance(nodes, str) else nodes
    addresses = (address.strip() for part in parts for address in part.split(","))
    return tuple(dict.fromkeys(address for address in addresses if address))
