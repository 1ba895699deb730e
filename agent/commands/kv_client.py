"""Keys as the commands see them: paths, pairs, and reading a value given on the command line. Called by `kv` and `lock`."""

from __future__ import annotations

import base64
import binascii
import os
import sys
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import quote

from chowk.agent.commands.client import ApiClient, ApiError, Query
from chowk.agent.commands.command import Failure

NOT_FOUND: Final = 404
STDIN: Final = "-"
FILE_MARK: Final = "@"


class Pair(NamedTuple):
    """One entry. `key` is text as the agent shows it, `value` bytes; `session` "" when nobody holds it."""

    key: str
    value: bytes
    flags: int
    session: str
    lock_index: int
    create_index: int
    modify_index: int


def kv_path(key: str) -> str:
    """The path of a key, whatever is in it. A `/` at its beginning is left out, as Consul's commands do."""
    return "/v1/kv/" + quote(os.fsencode(key.removeprefix("/")), safe="/")


def get_pairs(api: ApiClient, key: str, query: Query | None = None) -> tuple[list[Pair], int]:
    """The entries that a read gives, none when there is no such key; and the index to block on."""
    found, index = get_found(api, key, query)
    return [pair_of(row) for row in found], index


def get_found(api: ApiClient, key: str, query: Query | None = None) -> tuple[list[Any], int]:
    """The JSON of a read, an empty list when there is no such key; and the index to block on."""
    try:
        reply = api.request("GET", kv_path(key), query)
    except ApiError as error:
        if error.status == NOT_FOUND and not error.text:
            return [], error.index
        raise
    return reply.json(), int(reply.headers.get("X-Consul-Index", "0"))


def pair_of(row: dict[str, Any]) -> Pair:
    """A pair from its JSON."""
    return Pair(
        key=row["Key"],
        value=base64.b64decode(row["Value"] or ""),
        flags=row["Flags"],
        session=row.get("Session", ""),
        lock_index=row["LockIndex"],
        create_index=row["CreateIndex"],
        modify_index=row["ModifyIndex"],
    )


def write_key(api: ApiClient, key: str, value: bytes = b"", query: Query | None = None) -> bool:
    """Put a key; False when a compare-and-set or the lock was lost."""
    return api.request("PUT", kv_path(key), query, value).json() is True


def delete_key(api: ApiClient, key: str, query: Query | None = None) -> bool:
    """Delete a key; False when a compare-and-set was lost."""
    return api.request("DELETE", kv_path(key), query).json() is True


def read_value(given: str) -> bytes:
    """The bytes that an argument means: itself, a file's for `@file`, standard input's for `-`."""
    if given == STDIN:
        return sys.stdin.buffer.read()
    if given.startswith(FILE_MARK):
        path = given.removeprefix(FILE_MARK)
        try:
            return Path(path).read_bytes()
        except OSError as error:
            raise Failure(f"cannot read {path}: {error.strerror or error}") from error
    return os.fsencode(given)


def decode_base64(data: bytes) -> bytes:
    """The bytes of a base64 text. Failure when it is none."""
    try:
        return base64.b64decode(data.strip(), validate=True)
    except binascii.Error as error:
        raise Failure(f"the value is not base64: {error}") from error
