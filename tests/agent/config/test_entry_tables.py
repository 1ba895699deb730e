"""The tables of keys of config entries against the records they make: none is left out, and nothing that is sent harms."""

from __future__ import annotations

import json
import random
import typing
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from chowk.agent.config.config_entries import decode_config_entry
from chowk.agent.config.keys_entry import ENTRIES
from chowk.agent.config.problems import ConfigError
from chowk.agent.config.schema import Block, BlockMap, Blocks, Schema
from chowk.core.codec import to_json
from chowk.core.records.config_entry import KINDS, AnyConfigEntry
from support.entry_bodies import entry_body

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC).timestamp()
SOON = "2026-05-01T18:00:00Z"


def shown_of(entry: Any) -> Any:
    return json.loads(to_json(entry))


def struct_of(kind: Any) -> type[msgspec.Struct] | None:
    """The record inside a field's type, whatever holds it."""
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return kind
    found = (struct_of(inner) for inner in typing.get_args(kind))
    return next((each for each in found if each is not None), None)


def unlike(schema: Schema, record: type[msgspec.Struct], path: str) -> list[str]:
    """Where the table of keys and the record differ: every field can be written, and one that must be there is required."""
    keys = {key.name: key for key in schema.keys}
    found = []
    for field in msgspec.structs.fields(record):
        key, place = keys.get(field.name), f"{path}.{field.name}"
        if key is None:
            found.append(f"{place} has no key")
        elif field.default is msgspec.NODEFAULT and field.default_factory is msgspec.NODEFAULT and not key.required:
            found.append(f"{place} must be there, but its key may be left out")
        elif isinstance(key.type, (Block, Blocks, BlockMap)) and (inner := struct_of(field.type)) is not None:
            found += unlike(key.type.schema, inner, place)
    return found


@pytest.mark.parametrize("kind", sorted({*ENTRIES} - {"service-intentions"}))
def test_every_field_of_a_record_has_its_key(kind: str) -> None:
    assert unlike(ENTRIES[kind], KINDS[kind], kind) == []


@pytest.mark.parametrize("kind", sorted(ENTRIES))
def test_whatever_is_sent_is_an_entry_or_refused_and_an_entry_can_be_stored_and_sent_again(kind: str) -> None:
    rng = random.Random(kind)
    taken = 0
    for _ in range(600):
        body = entry_body(kind, rng, SOON)
        with suppress(ConfigError):
            entry = decode_config_entry(body, now=NOW, force=rng.random() < 0.5)
            taken += 1
            assert msgspec.msgpack.decode(msgspec.msgpack.encode(entry), type=AnyConfigEntry) == entry
            assert decode_config_entry(shown_of(entry), now=NOW) == entry
    assert taken > 0
