"""Random bodies of config entries from the tables of keys, mostly of the right types. Used to see that none does harm."""

from __future__ import annotations

import random
from typing import Any

from chowk.agent.config.keys_entry import ENTRIES
from chowk.agent.config.schema import Block, BlockMap, Blocks, Flag, Number, Open, Schema, Text, Type, Whole, Wholes

TEXTS = (
    "",
    "web",
    "*",
    "/x",
    "/%2e%2e/",
    "(",
    "5s",
    "-1h",
    "1",
    "http",
    "x-h",
    "a b",
    "é",
    "v1",
    "maglev",
    "sid",
    "NaN",
    "default",
    "x" * 3000,
)


RIGHT: dict[str, dict[str, Any]] = {
    "service-intentions": {"sources": [{"Name": "web", "Action": "deny"}]},
    "service-splitter": {"splits": [{"weight": 60, "service_subset": "v1"}, {"weight": 40, "service": "b"}]},
    "service-bypass": {"expires": "", "reason": "an outage"},
}
"""What chance alone would hardly write."""


def written(kind: Type, rng: random.Random, depth: int = 0) -> Any:
    """A value for a key of that type, mostly of the right kind."""
    if rng.random() < 0.01:
        return rng.choice([None, True, -1, 1e300, 2**70, "", [], {}, [[]], {"a": {}}, "\x00"])
    match kind:
        case Block(schema) | Open(schema):
            return block(schema, rng, depth)
        case Blocks(schema):
            return [block(schema, rng, depth) for _ in range(rng.randrange(3))]
        case BlockMap(schema):
            return {rng.choice(TEXTS): block(schema, rng, depth) for _ in range(rng.randrange(3))}
        case Text(choices) if choices:
            return rng.choice(choices)
        case Flag():
            return rng.random() < 0.5
        case Whole() | Number():
            return rng.choice([0, 1, 5, 100, 100, 404, 503, 0.01, 33.33, 1_000_000])
        case Wholes():
            return [rng.choice([0, 200, 503, 700])]
        case Text():
            return rng.choice(("web", "x-h", "", "5s") if rng.random() < 0.8 else TEXTS)
    return rng.choice([rng.choice(TEXTS), [rng.choice(TEXTS)], {rng.choice(TEXTS): rng.choice(TEXTS)}, 15_000_000_000])


def block(schema: Schema, rng: random.Random, depth: int = 0) -> dict[str, Any]:
    keys = [key for key in schema.keys if rng.random() < (0.45 if depth < 6 else 0.1) or key.required]
    return {key.name: written(key.type, rng, depth + 1) for key in keys}


def entry_body(kind: str, rng: random.Random, expires: str) -> dict[str, Any]:
    """A body of that kind. Every other one holds what chance alone would hardly write, with times that are right."""
    body = {**block(ENTRIES[kind], rng), "Kind": kind}
    body["name"] = {"mesh": "mesh", "proxy-defaults": "global"}.get(kind, rng.choice(("web", "web", "db", "")))
    if rng.random() < 0.5:
        body |= RIGHT.get(kind, {})
        if "expires" in body:
            body["expires"] = expires
    return body
