"""The store as bytes. Freezing is a shallow copy of tables of immutable records; encoding may then run in a thread.

The form: frames of a 4-byte big-endian length and msgpack: a `Header`, then `Section`s of some rows, then the
`Trailer` that says nothing is missing. Frames do not depend on how storage or network cut the bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final

import msgspec

from chowk.core import codec
from chowk.core.records.ca import CAConfiguration, CARoot
from chowk.core.records.check import HealthCheck
from chowk.core.records.config_entry import AnyConfigEntry
from chowk.core.records.node import Node
from chowk.core.records.service import NodeService
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


class Section(msgspec.Struct, frozen=True, kw_only=True, tag="rows"):
    """Some rows of one table."""

    table: str
    rows: list[msgspec.Raw]


class Trailer(msgspec.Struct, frozen=True, kw_only=True, tag="end"):
    """The last frame: how many rows there were."""

    rows: int


_Frame = Header | Section | Trailer
_Check = tuple[str, HealthCheck]
_Service = tuple[str, NodeService]


def freeze(store: Store) -> Callable[[], Iterable[bytes]]:
    """Copy what there is now; the function returned encodes it."""
    last, addresses = store.virtual_ips.rows()
    header = Header(
        format=FORMAT,
        index=store.index,
        roots_index=store.roots_index,
        virtual_ip_last=last,
        ca_configuration=store.ca_configuration,
        metadata=dict(store.metadata),
    )
    tables: dict[str, Sequence[Any]] = {
        "nodes": list(store.nodes.values()),
        "services": [(key[0], service) for key, service in store.services.items()],
        "checks": [(key[0], check) for key, check in store.checks.items()],
        "entries": list(store.entries.values()),
        "roots": store.roots,
        "virtual-ips": addresses,
        "sessions": store.sessions.rows(),
        "changed": store.changed.rows(),
    }
    return lambda: _encode(header, tables)


def _encode(header: Header, tables: dict[str, Sequence[Any]]) -> Iterator[bytes]:
    yield _frame(header)
    count = 0
    for table, rows in tables.items():
        count += len(rows)
        raw: list[msgspec.Raw] = []
        size = 0
        for row in rows:
            packed = codec.pack(row)
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
    frames = _frames(chunks)
    header = next(frames, None)
    if not isinstance(header, Header) or header.format != FORMAT:
        raise ValueError(f"not a snapshot of form {FORMAT}")
    store = Store()
    store.index, store.roots_index = header.index, header.roots_index
    store.ca_configuration, store.metadata = header.ca_configuration, dict(header.metadata)
    store.virtual_ips.load(header.virtual_ip_last, ())
    count = 0
    for frame in frames:
        if isinstance(frame, Section):
            count += len(frame.rows)
            _load(store, frame, header.virtual_ip_last)
        elif isinstance(frame, Trailer) and frame.rows == count and next(frames, None) is None:
            return store
        else:
            break
    raise ValueError("the snapshot is cut short or holds what does not belong to it")


def _frames(chunks: Iterable[bytes]) -> Iterator[_Frame]:
    buffer = bytearray()
    for chunk in chunks:
        buffer += chunk
        position = 0
        while len(buffer) - position >= _HEADER_BYTES:
            length = int.from_bytes(buffer[position : position + _HEADER_BYTES], "big")
            if length > FRAME_BYTES_MAX:
                raise ValueError(f"a snapshot frame of {length} bytes is over the limit of {FRAME_BYTES_MAX}")
            start, end = position + _HEADER_BYTES, position + _HEADER_BYTES + length
            if len(buffer) < end:
                break
            yield codec.unpack(bytes(buffer[start:end]), _Frame)  # type: ignore[arg-type]
            position = end
        del buffer[:position]
    if buffer:
        raise ValueError("the snapshot ends in the middle of a frame")


def _load(store: Store, section: Section, virtual_ip_last: int) -> None:
    match section.table:
        case "nodes":
            for node in _rows(section, Node):
                store.put_node(node)
        case "services":
            for node_key, service in _rows(section, _Service):
                store.put_service(node_key, service)
        case "checks":
            for node_key, check in _rows(section, _Check):
                store.put_check(node_key, check)
        case "entries":
            for entry in _rows(section, AnyConfigEntry):
                store.entries[(entry.kind, entry.name)] = entry
        case "roots":
            store.roots += tuple(_rows(section, CARoot))
        case "virtual-ips":
            store.virtual_ips.load(virtual_ip_last, _rows(section, tuple[str, int]))
        case "sessions":
            store.sessions.load(_rows(section, tuple[str, int, int, bool]))
        case "changed":
            store.changed.load(_rows(section, tuple[str, str, int]))
        case unknown:
            raise ValueError(f"the snapshot has a table {unknown} that this version does not know")


def _rows(section: Section, kind: Any) -> list[Any]:
    return [codec.unpack(row, kind) for row in section.rows]
