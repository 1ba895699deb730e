"""docs/traffic.md: its entries stand beside each other, so that all of them can be written to one cluster."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from chowk.agent.config.config_entries import decode_config_entry
from chowk.agent.config.parse import parse
from chowk.connect.chain.validation import refuse_broken
from support.documents import blocks


def test_every_entry_of_the_page_can_be_written_beside_the_others() -> None:
    now = datetime.now(UTC)
    soon = (now + timedelta(hours=6)).isoformat()
    entries = {}
    for block in blocks("hcl"):
        if block.document.name == "traffic.md":
            text = block.text.replace("2030-01-31T18:00:00Z", soon)
            entry = decode_config_entry(parse(text, str(block)), now=now.timestamp())
            assert entry is not None
            assert (entry.kind, entry.name) not in entries, f"{block} is the second of its kind and name"
            entries[entry.kind, entry.name] = entry
    told = ("service-defaults", "service-resolver", "service-splitter", "service-router", "mesh")
    assert {kind for kind, _name in entries} == set(told)
    refuse_broken({}, entries)
