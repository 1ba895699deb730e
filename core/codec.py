"""Bytes of records: msgpack on wires and disks, JSON for people. One place, so that limits and options agree."""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

T = TypeVar("T")

_packer = msgspec.msgpack.Encoder()
_plain = msgspec.msgpack.Decoder()
_NESTING = frozenset({dict, list})
_unpackers: dict[Any, msgspec.msgpack.Decoder[Any]] = {}
_jsonifier = msgspec.json.Encoder()


def pack(value: Any) -> bytes:
    """msgpack of a record or of plain data."""
    return _packer.encode(value)


def unpack(data: bytes | bytearray | memoryview | msgspec.Raw, kind: type[T]) -> T:
    """A `kind` from msgpack. `msgspec.ValidationError` or `msgspec.DecodeError` (both ValueError) when it is not one."""
    decoder = _unpackers.get(kind)
    if decoder is None:
        decoder = _unpackers[kind] = msgspec.msgpack.Decoder(kind)
    try:
        result: T = decoder.decode(data)
    except RecursionError:
        raise ValueError("nested too deep") from None
    return result


def is_deeper(data: bytes, levels: int) -> bool:
    """Whether the msgpack value nests maps and arrays over `levels` deep. How deep can be decoded depends on the stack it is
    done on and on the Python: what many servers must read has to stay far from that."""
    try:
        level = [_plain.decode(data)]
    except RecursionError:
        return True
    for _ in range(levels + 1):
        level = [inner for value in level if type(value) in _NESTING
                 for inner in (value.values() if type(value) is dict else value)]  # fmt: skip
        if not level:
            return False
    return True


def to_json(value: Any) -> bytes:
    """Compact JSON of a record or of plain data, with Consul's names."""
    return _jsonifier.encode(value)


def to_builtins(value: Any) -> Any:
    """A record as dicts and lists under Consul's names, for filters and templates."""
    return msgspec.to_builtins(value)
