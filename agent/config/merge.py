"""Several decoded files and the flags to one: later wins, lists append, blocks and maps join. Called by `build`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from chowk.agent.config.decode import Decoded


def merge(base: Decoded, over: Decoded) -> Decoded:
    """`base` with `over` laid on it; `base` is changed and returned."""
    for name, value in over.values.items():
        mine = base.values.get(name)
        if isinstance(mine, Decoded) and isinstance(value, Decoded):
            merge(mine, value)
        elif isinstance(mine, (list, tuple)) and type(mine) is type(value):
            base.values[name] = type(mine)((*mine, *value))
        elif isinstance(mine, dict) and isinstance(value, dict):
            base.put(name, {**mine, **value}, over.at(name))
        else:
            base.put(name, value, over.at(name))
    return base


def nested(flags: Mapping[str, Any]) -> dict[str, Any]:
    """`{"ports.http": 8500, "server": None}` -> `{"ports": {"http": 8500}}`: flags that were not given are None."""
    tree: dict[str, Any] = {}
    for name, value in flags.items():
        if value is None or value == () or value == []:
            continue
        *blocks, last = name.split(".")
        place = tree
        for block in blocks:
            place = place.setdefault(block, {})
        place[last] = value
    return tree
