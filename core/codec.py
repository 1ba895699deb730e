"""Bytes of records: msgpack on wires and disks, JSON for people. One place, so that limits and options agree."""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

T = TypeVar("T")

_packer = msgspec.msgpack.Encoder()
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


def to_json(value: Any) -> bytes:
    """Compact JSON of a record or of plain data, with Consul's names."""
    return _jsonifier.encode(value)


def to_builtins(value: Any) -> Any:
    """A record as dicts and lists under Consul's names, for filters and templates."""
    return msgspec.to_builtins(value)
