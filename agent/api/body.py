"""Bodies of requests: read within a limit, decoded strictly. Pure but for `read`. Called by `request`.

Refused, all with 400: bytes that are not UTF-8 JSON, NaN and numbers out of range, an object with the same key twice,
nesting deeper than DEPTH_MAX, keys nobody knows, values of a wrong type.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from functools import cache, lru_cache
from typing import Any, Final, TypeVar

import msgspec
from aiohttp import web

from chowk.agent.api import errors

T = TypeVar("T")

DEPTH_MAX: Final = 64
INT_MIN: Final = -(2**63)
INT_MAX: Final = 2**64 - 1
INT_DIGITS_MAX: Final = 20
READ_S: Final = 30.0
"""How long a whole body may take to arrive."""


async def read(http: web.Request, limit: int) -> bytes:
    """The whole body. HttpError 413 as soon as it is known to be over `limit` bytes."""
    announced = http.content_length or 0
    if announced > limit:
        raise errors.too_large(announced, limit)
    data = bytearray()
    try:
        async with asyncio.timeout(READ_S):
            async for chunk in http.content.iter_any():
                data += chunk
                if len(data) > limit:
                    raise errors.too_large(len(data), limit)
    except TimeoutError:
        raise errors.HttpError(408, f"The body did not arrive in {READ_S:g}s") from None
    return bytes(data)


def decode_json(data: bytes) -> Any:
    """Plain data of a JSON text. HttpError 400 `Request decode failed: …`."""
    if not data.strip():
        raise errors.decode_failed("EOF")
    try:
        value = msgspec.json.decode(data)
        json.loads(data, object_pairs_hook=_refuse_duplicates, parse_int=_refuse_large)
    except RecursionError:
        raise errors.decode_failed(f"nested deeper than {DEPTH_MAX}") from None
    except UnicodeDecodeError as error:
        raise errors.decode_failed(f"not UTF-8 (byte {error.start})") from None
    except ValueError as error:
        raise errors.decode_failed(str(error)) from None
    _refuse_depth(value)
    return value


def convert(value: Any, kind: type[T]) -> T:
    """Plain data as a `kind`, strictly: no unknown key, no wrong type; keys compare without case, as in Consul."""
    try:
        return msgspec.convert(_match_keys(value, kind, ""), kind)
    except msgspec.ValidationError as error:
        raise errors.decode_failed(str(error)) from None


def _refuse_large(digits: str) -> int:
    """What is no number of 64 bits could not be sent to a server."""
    if len(digits) > INT_DIGITS_MAX or not INT_MIN <= int(digits) <= INT_MAX:
        raise ValueError(f"the number {digits[:INT_DIGITS_MAX]} has more than 64 bits")
    return int(digits)


def _refuse_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        for key, _value in pairs:
            if key in seen:
                raise ValueError(f'the key "{key}" is given twice')
            seen.add(key)
    return found


def _refuse_depth(value: Any) -> None:
    layer = [value]
    for _depth in range(DEPTH_MAX + 1):
        layer = [
            child
            for item in layer
            if isinstance(item, (dict, list))
            for child in (item.values() if isinstance(item, dict) else item)
        ]
        if not layer:
            return
    raise errors.decode_failed(f"nested deeper than {DEPTH_MAX}")


def _match_keys(value: Any, kind: Any, path: str) -> Any:
    """Rename keys to the struct's own spelling, down through structs, tuples of structs and maps of structs."""
    info = _info(kind) if not isinstance(kind, msgspec.inspect.Type) else kind
    if isinstance(info, msgspec.inspect.UnionType):
        structs = [part for part in info.types if isinstance(part, msgspec.inspect.StructType)]
        return _match_keys(value, structs[0], path) if len(structs) == 1 and value is not None else value
    if isinstance(info, msgspec.inspect.StructType) and isinstance(value, Mapping):
        return _match_struct(value, info, path)
    if isinstance(info, (msgspec.inspect.VarTupleType, msgspec.inspect.ListType)) and isinstance(value, list):
        return [_match_keys(item, info.item_type, f"{path}[{index}]") for index, item in enumerate(value)]
    if isinstance(info, msgspec.inspect.DictType) and isinstance(value, Mapping):
        return {key: _match_keys(item, info.value_type, f"{path}.{key}") for key, item in value.items()}
    return value


@cache
def _info(kind: Any) -> msgspec.inspect.Type:
    """Kept for each type of body, of which there are a few: to inspect a large one takes a millisecond."""
    return msgspec.inspect.type_info(kind)


@lru_cache(maxsize=256)
def _fields(kind: type) -> dict[str, msgspec.inspect.Field]:
    info = _info(kind)
    fields = info.fields if isinstance(info, msgspec.inspect.StructType) else ()
    return {field.encode_name.lower(): field for field in fields}


def _match_struct(value: Mapping[str, Any], info: msgspec.inspect.StructType, path: str) -> dict[str, Any]:
    fields = _fields(info.cls)
    found: dict[str, Any] = {}
    for key, item in value.items():
        if info.tag_field and key.lower() == info.tag_field.lower():
            found[info.tag_field] = item
            continue
        field = fields.get(key.lower())
        if field is None:
            where = f' in "{path.lstrip(".")}"' if path else ""
            raise errors.decode_failed(f'unknown field "{key}"{where}')
        if field.encode_name in found:
            raise errors.decode_failed(f'the key "{key}" is given twice')
        if item is None and not field.required:
            continue  # Go's null: the zero value
        found[field.encode_name] = _match_keys(item, field.type, f"{path}.{field.encode_name}")
    return found
