"""The store as bytes. Freezing is a shallow copy of tables of immutable records; encoding may then run in a thread.

The form: frames of a 4-byte big-endian length and msgpack: a `Header`, then `Section`s of some rows, then the
`Trailer` that says nothing is missing. Frames do not depend on how storage or network cut the bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final, TypeVar

import msgspec

from chowk.core import codec
from chowk.core.commands import COMMANDS_VERSION
from chowk.core.records.autopilot import AutopilotConfiguration
from chowk.core.records.base import Indexed
from chowk.core.records.ca import CAConfiguration, CARoot
from chowk.core.records.check import HealthCheck
from chowk.core.records.config_entry import AnyConfigEntry
from chowk.core.records.coordinate import NodeCoordinate
from chowk.core.records.kv import KVEntry
from chowk.core.records.node import Node
from chowk.core.records.prepared_query import PreparedQuery
from chowk.core.records.service import NodeService
from chowk.core.records.session import Session
from chowk.server.state.rows import Rows
from chowk.server.state.staging import Staging
from chowk.server.state.store import Store

FORMAT: Final = 1
ROWS_MAX: Final = 512
SECTION_BYTES: Final = 4 * 1024 * 1024
FRAME_BYTES_MAX: Final = 256 * 1024 * 1024
_HEADER_BYTES: Final = 4


class Header(msgspec.Struct, frozen=True, kw_only=True, tag="header"):
    """The first frame."""

    format: int
    index: int
    roots_index: int
    virtual_ip_last: int
    ca_configuration: CAConfiguration | None
    metadata: dict[str, str]
    autopilot: AutopilotConfiguration | None = None
    restored_at: int = 0
    commands: int = 1


class Section(msgspec.Struct, frozen=True, kw_only=True, tag="rows"):
    """Some rows of one table."""

    table: str
    rows: list[msgspec.Raw]


class Trailer(msgspec.Struct, frozen=True, kw_only=True, tag="end"):
    """The last frame: how many rows there were."""

    rows: int


R = TypeVar("R", bound=Indexed)
_OF_ITS_LOG: Final = frozenset({"roots", "sessions", "outcomes", "changed", "kv-tombstones", "kv-floor", "restore"})
"""Tables that speak of the log or the CA of the cluster they are from: an operator's restore leaves them out."""
_Frame = Header | Section | Trailer
_Check = tuple[str, HealthCheck]
_Service = tuple[str, NodeService]
_Piece = tuple[str, int, bytes]
_Outcome = tuple[str, int, bytes]
_Delay = tuple[bytes, float, float]


def freeze(store: Store) -> Callable[[], Iterable[bytes]]:
    """Copy what there is now; the function returned encodes it, to the same bytes each time."""
    last, addresses = store.virtual_ips.rows()
    header = Header(
        format=FORMAT,
        index=store.index,
        roots_index=store.roots_index,
        virtual_ip_last=last,
        ca_configuration=store.ca_configuration,
        metadata=dict(store.metadata),
        autopilot=store.autopilot,
        restored_at=store.restored_at,
        commands=store.commands,
    )
    # Only lists are made here, on the loop: an object a row would set off the garbage collector.
    services, service_records = list(store.services), list(store.services.values())
    checks, check_records = list(store.checks), list(store.checks.values())
    tables: dict[str, Iterable[Any]] = {
        "nodes": list(store.nodes.values()),
        "services": Rows(lambda: zip((key[0] for key in services), service_records, strict=True)),
        "checks": Rows(lambda: zip((key[0] for key in checks), check_records, strict=True)),
        "entries": list(store.entries.values()),
        "roots": store.roots,
        "virtual-ips": addresses,
        "sessions": store.sessions.rows(),
        "outcomes": store.outcomes.rows(),
        "changed": store.changed.rows(),
        "kv": store.kv.under(b""),
        "kv-tombstones": list(store.kv.tombstones.items()),
        "kv-floor": [store.kv.floor] if store.kv.floor else [],
        "kv-delays": [(key, *delay) for key, delay in store.kv.delays.items()],
        "kv-sessions": list(store.session_table.records.values()),
        "prepared-queries": list(store.prepared_queries.records.values()),
        "coordinates": list(store.coordinates.values()),
        "restore": store.staging.rows() if store.staging is not None else (),
    }
    return lambda: _encode(header, tables)


def _encode(header: Header, tables: dict[str, Iterable[Any]]) -> Iterator[bytes]:
    yield _frame(header)
    count = 0
    for table, rows in tables.items():
        raw: list[msgspec.Raw] = []
        size = 0
        for row in rows:
            packed = codec.pack(row)
            count += 1
            raw.append(msgspec.Raw(packed))
            size += len(packed)
            if len(raw) == ROWS_MAX or size >= SECTION_BYTES:
                yield _frame(Section(table=table, rows=raw))
                raw, size = [], 0
        if raw:
            yield _frame(Section(table=table, rows=raw))
    yield _frame(Trailer(rows=count))


def _frame(value: _Frame) -> bytes:
    payload = codec.pack(value)
    return len(payload).to_bytes(_HEADER_BYTES, "big") + payload


def thaw(chunks: Iterable[bytes]) -> Store:
    """The store that a snapshot holds. ValueError when it is not one, not whole, or of a form we do not know."""
    loading = Loading()
    for chunk in chunks:
        loading.feed(chunk)
    return loading.finish()


class Loading:
    """A store that comes from a snapshot piece by piece, however it was cut. ValueError as for `thaw`, from any method."""

    def __init__(self) -> None:
        self._store = Store()
        self._buffer = bytearray()
        self._header: Header | None = None
        self._rows = 0
        self._is_whole = False

    def feed(self, chunk: bytes, index: int | None = None) -> None:
        """The next bytes. With an `index`, records are stamped with it, as ones that were last changed there."""
        self._buffer += chunk
        position = 0
        while len(self._buffer) - position >= _HEADER_BYTES:
            length = int.from_bytes(self._buffer[position : position + _HEADER_BYTES], "big")
            if length > FRAME_BYTES_MAX:
                raise ValueError(f"a snapshot frame of {length} bytes is over the limit of {FRAME_BYTES_MAX}")
            start, end = position + _HEADER_BYTES, position + _HEADER_BYTES + length
            if len(self._buffer) < end:
                break
            self._take(codec.unpack(bytes(self._buffer[start:end]), _Frame), index)  # type: ignore[arg-type]
            position = end
        del self._buffer[:position]

    def finish(self) -> Store:
        """There is no more."""
        if self._buffer:
            raise ValueError("the snapshot ends in the middle of a frame")
        if not self._is_whole:
            raise ValueError("the snapshot is cut short or holds what does not belong to it")
        self._store.kv.settle()
        return self._store

    def _take(self, frame: _Frame, index: int | None) -> None:
        if self._header is None:
            if not isinstance(frame, Header) or frame.format < 1:
                raise ValueError(f"not a snapshot of form {FORMAT}")
            if frame.format > FORMAT or frame.commands > COMMANDS_VERSION:
                raise ValueError(
                    f"the snapshot was written by a newer release of chowk (form {frame.format}, commands "
                    f"{frame.commands}; this one knows {FORMAT} and {COMMANDS_VERSION}): upgrade this server"
                )
            self._begin(frame, index)
        elif isinstance(frame, Section) and not self._is_whole:
            self._rows += len(frame.rows)
            _load(self._store, frame, self._header.virtual_ip_last, index)
        elif isinstance(frame, Trailer) and frame.rows == self._rows and not self._is_whole:
            self._is_whole = True
        else:
            raise ValueError("the snapshot is cut short or holds what does not belong to it")

    def _begin(self, header: Header, index: int | None) -> None:
        store = self._store
        self._header = header
        store.index, store.roots_index = header.index, header.roots_index
        store.ca_configuration, store.metadata = header.ca_configuration, dict(header.metadata)
        store.restored_at = header.restored_at
        store.commands = header.commands
        if header.autopilot is not None:
            store.autopilot = _stamped(header.autopilot, index)
        store.virtual_ips.load(header.virtual_ip_last, ())


def _stamped(record: R, index: int | None) -> R:
    """As one last changed at `index`. Indexes from another log, or from beyond the end of this one, mean nothing here."""
    if index is None:
        return record
    return msgspec.structs.replace(record, create_index=min(record.create_index or index, index), modify_index=index)


def _stamped_key(entry: KVEntry, index: int | None) -> KVEntry:
    if index is None:
        return entry
    return msgspec.structs.replace(entry, create_index=min(entry.create_index, index), modify_index=index)


def _load(store: Store, section: Section, virtual_ip_last: int, index: int | None) -> None:
    if index is not None and section.table in _OF_ITS_LOG:
        return
    match section.table:
        case "nodes":
            for node in _rows(section, Node):
                store.put_node(_stamped(node, index))
        case "services":
            for node_key, service in _rows(section, _Service):
                store.put_service(_known(store, node_key), _stamped(service, index))
        case "checks":
            for node_key, check in _rows(section, _Check):
                store.put_check(_known(store, node_key), _stamped(check, index))
        case "entries":
            for entry in _rows(section, AnyConfigEntry):
                store.entries[(entry.kind, entry.name)] = _stamped(entry, index)
        case "roots":
            store.roots += tuple(_rows(section, CARoot))
        case "virtual-ips":
            store.virtual_ips.load(virtual_ip_last, _rows(section, tuple[str, int]))
        case "sessions":
            store.sessions.load(_rows(section, tuple[str, int, int, bool]))
        case "outcomes":
            store.outcomes.load(_rows(section, _Outcome))
        case "changed":
            store.changed.load(_rows(section, tuple[str, str, int]))
        case "kv":
            store.kv.load(_stamped_key(entry, index) for entry in _rows(section, KVEntry))
        case "kv-tombstones":
            store.kv.tombstones.update(_rows(section, tuple[bytes, int]))
        case "kv-floor":
            store.kv.floor = max(_rows(section, int))
        case "kv-delays":
            store.kv.delays.update((key, (since, seconds)) for key, since, seconds in _rows(section, _Delay))
        case "kv-sessions":
            for session in _rows(section, Session):
                store.session_table.put(_stamped(session, index))
        case "prepared-queries":
            for query in _rows(section, PreparedQuery):
                store.prepared_queries.put(_stamped(query, index))
        case "coordinates":
            for coordinate in _rows(section, NodeCoordinate):
                store.coordinates[_known(store, coordinate.node.lower())] = coordinate
        case "restore":
            for id, at, data in _rows(section, _Piece):
                if store.staging is None:
                    store.staging = Staging(id, Loading())
                store.staging.add(at, data)
        case unknown:
            raise ValueError(f"the snapshot has a table {unknown} that this release does not know: upgrade this server")


def _known(store: Store, node_key: str) -> str:
    if node_key not in store.nodes:
        raise ValueError("the snapshot has a service or check of a node that it does not have")
    return node_key


def _rows(section: Section, kind: Any) -> list[Any]:
    return [codec.unpack(row, kind) for row in section.rows]
