from __future__ import annotations

from pathlib import Path

import pytest

from chowk.agent.config.build import build
from chowk.agent.config.config_entries import decode_config_entry
from chowk.agent.config.host import Host
from chowk.agent.config.keys_agent import AGENT
from chowk.agent.config.keys_entry import ENTRIES
from chowk.agent.config.parse import parse
from chowk.agent.config.reference import reference
from chowk.agent.config.schema import Block, BlockMap, Blocks, Open, Schema, plain_name

ROOT = Path(__file__).resolve().parents[3]


def schemas_of(schema: Schema, found: dict[int, Schema]) -> dict[int, Schema]:
    if id(schema) not in found:
        found[id(schema)] = schema
        for key in schema.keys:
            if isinstance(key.type, (Block, Blocks, BlockMap, Open)):
                schemas_of(key.type.schema, found)
    return found


def all_schemas() -> list[Schema]:
    found: dict[int, Schema] = {}
    for root in (AGENT, *ENTRIES.values()):
        schemas_of(root, found)
    return list(found.values())


def test_the_document_is_what_the_tables_print() -> None:
    assert (ROOT / "docs/config-reference.md").read_text() == reference()


def test_no_two_schemas_share_a_name_so_that_each_is_printed() -> None:
    names = [schema.name for schema in all_schemas()]
    assert sorted(names) == sorted(set(names))


def test_no_two_keys_of_a_block_are_spelt_alike() -> None:
    for schema in all_schemas():
        spelt = [plain_name(name) for key in schema.keys for name in (key.name, *key.also)]
        assert sorted(spelt) == sorted(set(spelt)), schema.name


def test_the_demo_loads_without_a_warning() -> None:
    config = build([], [str(ROOT / "configs/demo")], {"dev": True}, host=Host(name="h"))
    assert config.warnings == ()
    assert sorted((service.id or service.name, service.port) for service in config.services) == [
        ("fraud-detection-1", 8081), ("fraud-detection-2", 8082), ("payment-processor", 8080), ("risk-engine", 8083),
    ]  # fmt: skip
    assert all(service.checks[0].interval_s == 2 and service.connect for service in config.services)


def test_all_examples_load_together() -> None:
    config = build([], [str(ROOT / "configs/examples")], {}, host=Host(name="h"))
    assert config.server
    web = next(service for service in config.services if service.name == "web")
    assert {check.type for check in web.checks} >= {
        "http",
        "tcp",
        "udp",
        "grpc",
        "h2ping",
        "os_service",
        "ttl",
        "alias",
        "script",
    }


@pytest.mark.parametrize("path", sorted((ROOT / "configs/examples/entries").iterdir()), ids=lambda path: path.name)
def test_every_example_entry_is_one(path: Path) -> None:
    assert decode_config_entry(parse(path.read_text(), str(path))) is not None
