"""The settings of a cell, of a node and of a client: file, environment, arguments (contract.md section 1).

Everything is validated as a whole when it is built; each mistake is a ConfigError whose message says what
to do. Durations are seconds as float here, and whole milliseconds where they go on the wire.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import attrs

from paxlock.config.cell_file import (
    Keys,
    StrPath,
    duration_of,
    given_keys,
    identified,
    key_given,
    moment_of,
    parse_cell_file,
    read_text,
    write_new,
)
from paxlock.config.cell_text import cell_text
from paxlock.config.durations import abbreviate, format_duration, parse_duration
from paxlock.config.keys import format_key, new_key
from paxlock.config.sources import Source
from paxlock.config.syntax import (
    check_address,
    check_data,
    check_label,
    check_loopback,
    check_name,
    check_node_id,
    check_reachable,
    normal_address,
    split_address,
    split_nodes,
)
from paxlock.core.configuration import Configuration
from paxlock.core.durable import Durability
from paxlock.core.lease import TTL_MIN_S
from paxlock.core.messages import Member
from paxlock.core.quorum import majority
from paxlock.errors import ConfigError
from paxlock.limits import CELL_ID_BYTES, CELL_SIZES, KEY_BYTES, KEY_ID_MAX, SEEDS_MAX

__all__ = [
    "Cell",
    "ClientSettings",
    "Durability",
    "Member",
    "NodeConfig",
    "check_address",
    "check_data",
    "check_label",
    "check_name",
    "check_node_id",
    "client_settings",
    "format_duration",
    "node_settings",
    "parse_duration",
    "split_address",
]

EPOCH_MAX = (1 << 32) - 1
MAX_TTL_MAX_S = 24 * 3600.0
GRACE_MIN_S = 0.001
GRACE_S = 0.2  #: what is assumed of the network until it was measured
DRIFT_MAX = 0.1
ADDRESSES_MAX_BYTES = 700  #: of all nodes together: a node tells them in one datagram


def default_grace(max_ttl: float) -> float:
    """The grace of a cell that states none, in seconds: below any ``max_ttl``."""
    return min(GRACE_S, max_ttl / 4.0)


def _to_millis(seconds: float) -> float:
    """Round to whole milliseconds, so that what is saved, sent and compared is the same number."""
    if type(seconds) not in (int, float) or not math.isfinite(seconds):
        raise ConfigError(f"max_ttl, grace and sit_out are numbers of seconds, not {abbreviate(seconds)}")
    return round(seconds * 1000) / 1000


def _to_millionths(drift: float) -> float:
    if type(drift) not in (int, float) or not math.isfinite(drift):
        raise ConfigError(f"drift is a number from 0 to {DRIFT_MAX}, not {abbreviate(drift)}")
    return round(drift * 1_000_000) / 1_000_000


def _to_members(members: Iterable[Member]) -> tuple[Member, ...]:
    return tuple(members)


@attrs.frozen(kw_only=True)
class Cell:
    """The nodes that decide together, and the bounds they agree on (protocol.md section 1).

    ``max_ttl`` and ``grace`` are seconds, rounded to whole milliseconds; ``drift`` is a fraction, rounded to
    whole millionths. ``created`` is the unix second in which the cell was made (0: not known), and
    ``sit_out`` how many seconds a node without any memory sits out where a larger max_ttl was lowered; no
    less than ``max_ttl`` counts. ``keys`` are (key id, key): the first seals, all open. A cell without keys
    must say ``unsealed``, and, unless all its addresses are loopback, ``insecure``. Where a client has no key
    of the cell but its own, that one is in ``keys``, and ``grant`` is what it comes with. Keys of clients of
    a ``generation`` below this one, and those whose ids are ``denied``, are not taken by the nodes.
    ``source`` is where all this was read from. Raises ConfigError when built from anything that does not fit
    together.
    """

    cell_id: bytes
    epoch: int
    members: tuple[Member, ...] = attrs.field(converter=_to_members)
    max_ttl: float = attrs.field(default=30.0, converter=_to_millis)
    drift: float = attrs.field(default=0.01, converter=_to_millionths)
    grace: float = attrs.field(
        default=attrs.Factory(lambda self: default_grace(self.max_ttl), takes_self=True), converter=_to_millis
    )
    keys: tuple[tuple[int, bytes], ...] = attrs.field(default=(), repr=False)
    unsealed: bool = False
    insecure: bool = False
    grant: bytes = b""
    generation: int = 0
    denied: tuple[str, ...] = ()
    created: int = 0
    sit_out: float = attrs.field(default=0.0, converter=_to_millis)
    source: Source | None = attrs.field(default=None, eq=False, repr=False)

    def __attrs_post_init__(self) -> None:
        if type(self.cell_id) is not bytes or len(self.cell_id) != CELL_ID_BYTES:
            raise ConfigError(f"the cell id must be {CELL_ID_BYTES} bytes")
        if type(self.epoch) is not int or not 1 <= self.epoch <= EPOCH_MAX:
            raise ConfigError(f"epoch must be an integer from 1 to {EPOCH_MAX}, not {abbreviate(self.epoch)}")
        self._check_members()
        self._check_bounds()
        self._check_keys()
        if type(self.generation) is not int or not 0 <= self.generation <= EPOCH_MAX:
            raise ConfigError(
                f"generation must be an integer from 0 to {EPOCH_MAX}, not {abbreviate(self.generation)}"
            )

    @classmethod
    def new(
        cls,
        members: Mapping[str, str] | Iterable[Member],
        *,
        max_ttl: float = 30.0,
        drift: float = 0.01,
        grace: float | None = None,
        key: bytes | None = None,
    ) -> Cell:
        """Make a cell with a fresh random id, and a fresh key unless one of 32 bytes is given.

        ``members`` are node ids and their addresses; ``max_ttl`` and ``grace`` are seconds. Nobody needs to
        give a grace: it is what a client assumes of the network until it has measured it.
        Raises ConfigError where they do not fit together.
        """
        if isinstance(members, Mapping):
            members = [Member(node_id, address) for node_id, address in members.items()]
        if key is None:
            key = new_key()
        cell = cls(
            cell_id=os.urandom(CELL_ID_BYTES),
            epoch=1,
            members=members,
            max_ttl=max_ttl,
            drift=drift,
            keys=identified([_check_key(key)]),
            created=int(time.time()),
        )
        return cell if grace is None else attrs.evolve(cell, grace=grace)

    @classmethod
    def load(cls, path: StrPath, *, key_file: StrPath | None = None, key: str | None = None) -> Cell:
        """Read a cell file, and its key file unless another ``key_file``, or the text of one, ``key``, is
        given in its place.

        Raises ConfigError, naming the file and the key at fault.
        """
        text = read_text(path, "cell file")
        keys = given_keys(key_file, key)
        source = Source(path, key_file, key, key_given=key_file is not None or key is not None)
        try:
            return cls._from_table(parse_cell_file(text), Path(path).parent, keys, source)
        except ConfigError as error:
            raise ConfigError(f"cell file {path}: {error}") from error

    @classmethod
    def check_text(cls, text: str) -> None:
        """Check all that a cell file of this text says, but for the keys, which are not read.

        Raises ConfigError.
        """
        cls._from_table(parse_cell_file(text), Path(), (identified([new_key()]), b""), Source())

    @classmethod
    def _from_table(cls, table: dict[str, Any], folder: Path, given: Keys, source: Source) -> Cell:
        keys, grant = given
        if "key_file" in table and not keys:
            source = attrs.evolve(source, key_file=folder / table["key_file"])
            keys, grant = source.keys()
        return cls(
            cell_id=bytes.fromhex(table["id"]),
            epoch=table["epoch"],
            members=[Member(node["id"], node["address"]) for node in table["nodes"]],
            max_ttl=(max_ttl := duration_of(table, "max_ttl", 30.0)),
            drift=table.get("drift", 0.01),
            grace=duration_of(table, "grace", default_grace(max_ttl)),
            keys=keys,
            unsealed=not keys,
            insecure=table.get("insecure", False),
            grant=grant,
            generation=table.get("generation", 0),
            denied=tuple(table.get("denied", ())),
            created=moment_of(table, "created"),
            sit_out=duration_of(table, "sit_out", 0.0),
            source=source,
        )

    def save(self, path: StrPath) -> None:
        """Write the cell file and, beside it, the key file: same stem, ``.key``, mode 0600.

        Never overwrites: raises ConfigError where one of the two exists, or cannot be written.
        """
        path = Path(path)
        if not path.name or path.suffix == ".key":
            raise ConfigError(f"{str(path)!r} is no name for a cell file: give one like cell.toml")
        key_path = path.with_suffix(".key")
        if self.keys:
            write_new(key_path, "".join(format_key(key).strip() + "\n" for _, key in self.keys), 0o600)
        try:
            write_new(path, cell_text(self, key_path.name), 0o644)
        except ConfigError:
            if self.keys:
                key_path.unlink(missing_ok=True)
            raise

    @property
    def quorum(self) -> int:
        return majority(len(self.members))

    @property
    def node_ids(self) -> tuple[str, ...]:
        return tuple(member.node_id for member in self.members)

    @property
    def max_ttl_ms(self) -> int:
        return round(self.max_ttl * 1000)

    @property
    def sit_out_ms(self) -> int:
        return round(max(self.sit_out, self.max_ttl) * 1000)

    @property
    def grace_ms(self) -> int:
        return round(self.grace * 1000)

    @property
    def configuration(self) -> Configuration:
        """What its nodes and clients tell each other, and must agree on."""
        return Configuration(self.members, self.max_ttl_ms, round(self.drift * 1_000_000), self.grace_ms)

    def address_of(self, node_id: str) -> str:
        """The configured address of a node; ConfigError where it is not of this cell."""
        for member in self.members:
            if member.node_id == node_id:
                return member.address
        known = ", ".join(self.node_ids)
        raise ConfigError(f"{abbreviate(node_id)} is not a node of this cell: its nodes are {known}")

    def _check_members(self) -> None:
        count = len(self.members)
        if count not in CELL_SIZES:
            raise ConfigError(
                f"nodes: a cell has 1, 3, 5 or 7 nodes, not {count}"
                + (": an even one stands no more failures than one node less" if count in (2, 4, 6) else "")
            )
        for member in self.members:
            check_node_id(member.node_id)
            check_reachable(member.address)
        if len(set(self.node_ids)) < count:
            raise ConfigError(
                f"nodes: every node needs an id of its own, but these are {', '.join(self.node_ids)}"
            )
        if len({normal_address(member.address) for member in self.members}) < count:
            addresses = ", ".join(member.address for member in self.members)
            raise ConfigError(f"nodes: every node needs an address of its own, but these are {addresses}")
        length = sum(len(member.address) for member in self.members)
        if length > ADDRESSES_MAX_BYTES:
            raise ConfigError(
                f"nodes: the addresses must be at most {ADDRESSES_MAX_BYTES} bytes together, not {length}: "
                "give shorter host names, or IP addresses"
            )

    def _check_bounds(self) -> None:
        if not TTL_MIN_S <= self.max_ttl <= MAX_TTL_MAX_S:
            raise ConfigError(
                f"max_ttl must be from {format_duration(TTL_MIN_S)} to {format_duration(MAX_TTL_MAX_S)}, "
                f"not {self.max_ttl:g} s"
            )
        if not GRACE_MIN_S <= self.grace < self.max_ttl:
            raise ConfigError(
                f"grace must be at least {format_duration(GRACE_MIN_S)} and below max_ttl, "
                f"not {self.grace:g} s"
            )
        if not 0.0 <= self.sit_out <= MAX_TTL_MAX_S:
            raise ConfigError(
                f"sit_out must be at most {format_duration(MAX_TTL_MAX_S)}, not {self.sit_out:g} s"
            )
        if not 0 <= self.drift <= DRIFT_MAX:
            raise ConfigError(f"drift must be from 0 to {DRIFT_MAX}, not {self.drift:g}")

    def _check_keys(self) -> None:
        for number, key in self.keys:
            _check_key(key)
            if type(number) is not int or not 1 <= number <= KEY_ID_MAX:
                raise ConfigError(f"a key id must be from 1 to {KEY_ID_MAX}, not {abbreviate(number)}")
        if len(dict(self.keys)) < len(self.keys):
            raise ConfigError("keys: every key needs a key id of its own")
        if self.keys and self.unsealed:
            raise ConfigError("a cell that has keys is sealed: leave the keys out, or unsealed")
        if not self.keys and not self.unsealed:
            raise ConfigError("a cell needs a key: give one, or say unsealed for a cell on loopback")
        if not self.keys and not self.insecure:
            check_loopback(member.address for member in self.members)


def _check_key(key: bytes) -> bytes:
    if type(key) is not bytes or len(key) != KEY_BYTES:
        raise ConfigError(f"a key must be {KEY_BYTES} bytes")
    return key


# --- a node ------------------------------------------------------------------------------------------------


def _to_cell(cell: Cell | StrPath) -> Cell:
    return cell if isinstance(cell, Cell) else Cell.load(cell)


def _to_folder(data_dir: StrPath | None) -> Path | None:
    return None if data_dir is None or data_dir == "" else Path(data_dir)


def _to_durability(durability: Durability | str) -> Durability:
    try:
        return Durability(durability)
    except ValueError:
        raise ConfigError(
            f'durability must be "record", "sync" or "memory", not {abbreviate(durability)}'
        ) from None


@attrs.frozen
class NodeConfig:
    """One node of a cell: who it is, and where it keeps its record (contract.md section 2).

    ``cell`` is a Cell or the path of a cell file. ``durability`` is ``"record"``, ``"sync"`` or ``"memory"``
    (protocol.md section 7); only ``"memory"`` needs no ``data_dir``. ``listen`` is the address to bind where
    that is not the node's own one of the cell. Raises ConfigError when built.
    """

    cell: Cell = attrs.field(converter=_to_cell)
    node_id: str
    data_dir: Path | None = attrs.field(default=None, converter=_to_folder)
    durability: Durability = attrs.field(default=Durability.RECORD, converter=_to_durability)
    listen: str | None = None

    def __attrs_post_init__(self) -> None:
        self.cell.address_of(self.node_id)
        if self.data_dir is None and self.durability is not Durability.MEMORY:
            raise ConfigError(
                f"node {self.node_id} needs a folder for its record: give data_dir (--data-dir or "
                'PAXLOCK_DATA_DIR), or durability "memory", which sits out max_ttl at every start'
            )
        if self.listen is not None:
            check_address(self.listen)

    @property
    def bind_address(self) -> str:
        """The address to bind: ``listen``, or this node's address in the cell."""
        return self.listen or self.cell.address_of(self.node_id)


def node_settings(
    cell: Cell | StrPath | None = None,
    node_id: str | None = None,
    data_dir: StrPath | None = None,
    *,
    key_file: StrPath | None = None,
    durability: Durability | str = Durability.RECORD,
    listen: str | None = None,
    environ: Mapping[str, str] = os.environ,
) -> NodeConfig:
    """Gather the settings of a node: arguments, then ``PAXLOCK_CELL``, ``PAXLOCK_NODE``,
    ``PAXLOCK_DATA_DIR``, ``PAXLOCK_KEY_FILE`` and ``PAXLOCK_KEY``, then the cell file. Raises ConfigError.
    """
    cell = cell or environ.get("PAXLOCK_CELL") or None
    if cell is None:
        raise ConfigError(
            "which cell? give --cell or PAXLOCK_CELL, the cell file that 'paxlock init' makes; "
            "to try it out without one: 'paxlock dev'"
        )
    whole = _cell_with_keys(cell, *key_given(key_file, environ))
    if whole.grant:
        raise ConfigError("a node needs the cell's own key, not the key of a client: give --key-file")
    node_id = node_id or environ.get("PAXLOCK_NODE") or None
    if node_id is None:
        known = ", ".join(whole.node_ids)
        raise ConfigError(f"which node of the cell is this? give --node or PAXLOCK_NODE, one of {known}")
    durability = _to_durability(durability)
    data_dir = data_dir or environ.get("PAXLOCK_DATA_DIR") or None
    return NodeConfig(whole, node_id, data_dir, durability, listen)


# --- a client ----------------------------------------------------------------------------------------------


@attrs.frozen
class ClientSettings:
    """How a client finds its cell: the configuration where it has one, and the addresses to ask first.

    ``key`` seals (None: unsealed, on loopback only unless the cell says ``insecure``); ``keys`` are all that
    open, as (key id, key). Addresses are only seeds: what a quorum is comes from the configuration alone
    (protocol.md section 1, rule S14). Raises ConfigError when built.
    """

    cell: Cell | None
    seeds: tuple[str, ...]
    key: bytes | None = attrs.field(repr=False)
    keys: tuple[tuple[int, bytes], ...] = attrs.field(repr=False)
    grant: bytes = b""
    source: Source | None = attrs.field(default=None, eq=False, repr=False)

    @keys.default
    def _default_keys(self) -> tuple[tuple[int, bytes], ...]:
        return () if self.key is None else identified([_check_key(self.key)])

    def __attrs_post_init__(self) -> None:
        if not 1 <= len(self.seeds) <= SEEDS_MAX:
            raise ConfigError(f"nodes: give 1 to {SEEDS_MAX} addresses, not {len(self.seeds)}")
        for seed in self.seeds:
            check_reachable(seed)
        if self.key is not None:
            _check_key(self.key)
        elif self.cell is None or not self.cell.insecure:
            check_loopback(self.seeds)


def client_settings(
    cell: Cell | StrPath | None = None,
    nodes: str | Iterable[str] | None = None,
    key_file: StrPath | None = None,
    environ: Mapping[str, str] = os.environ,
) -> ClientSettings:
    """Gather the settings of a client: arguments, then ``PAXLOCK_CELL``, ``PAXLOCK_NODES``,
    ``PAXLOCK_KEY_FILE`` and ``PAXLOCK_KEY``, then the cell file (contract.md section 1).

    ``nodes`` are addresses, in a list or separated by commas; they override the addresses to ask first, while
    a cell file given as well is still what answers are checked against. Raises ConfigError.
    """
    cell = cell or environ.get("PAXLOCK_CELL") or None
    key_file, key = key_given(key_file, environ)
    seeds = split_nodes(nodes or environ.get("PAXLOCK_NODES") or ())
    if cell is None and not seeds:
        raise ConfigError(
            "which cell? give --cell or PAXLOCK_CELL (a cell file), or --nodes or PAXLOCK_NODES (addresses); "
            "'paxlock dev' starts a cell to try things out, 'paxlock init' makes the file of a new one"
        )
    whole = None if cell is None else _cell_with_keys(cell, key_file, key)
    keys, grant = given_keys(key_file, key) if whole is None else (whole.keys, whole.grant)
    source = Source(None, key_file, key, key_given=True) if whole is None else whole.source
    if whole is not None:
        seeds = seeds or tuple(member.address for member in whole.members)
    return ClientSettings(whole, seeds, keys[0][1] if keys else None, keys, grant, source)


def _cell_with_keys(cell: Cell | StrPath, key_file: StrPath | None, key: str | None) -> Cell:
    if not isinstance(cell, Cell):
        return Cell.load(cell, key_file=key_file, key=key)
    keys, grant = given_keys(key_file, key)
    if not keys:
        return cell
    source = attrs.evolve(cell.source or Source(), key_file=key_file, key=key, key_given=True)
    return attrs.evolve(cell, keys=keys, grant=grant, unsealed=False, source=source)
