"""What a reload cannot change: told to the operator, so that nobody waits for it. Called by `agent.boot`."""

from __future__ import annotations

import msgspec

from chowk.agent.config.model import AgentConfig

_RELOADED = frozenset({
    "services", "checks", "node_meta", "dns", "limits", "http", "checks_config", "log_level", "files", "warnings", "extra",
    "watches",
})  # fmt: skip
_FIXED_INSIDE = {
    "dns": ("domain", "alt_domain", "workers"),
    "http": ("max_header_bytes",),
}


def reload_diff(old: AgentConfig, new: AgentConfig) -> tuple[str, ...]:
    """The settings that differ and only a restart changes, as `key` or `block.key`, in order."""
    changed = [
        name
        for name in AgentConfig.__struct_fields__
        if name not in _RELOADED and getattr(old, name) != getattr(new, name)
    ]
    named = []
    for name in changed:
        before, after = getattr(old, name), getattr(new, name)
        if isinstance(before, msgspec.Struct):
            fields = (field for field in before.__struct_fields__ if getattr(before, field) != getattr(after, field))
            named += [f"{name}.{field}" for field in fields]
        else:
            named.append(name)
    for block, fields_inside in _FIXED_INSIDE.items():
        before, after = getattr(old, block), getattr(new, block)
        named += [f"{block}.{field}" for field in fields_inside if getattr(before, field) != getattr(after, field)]
    return tuple(sorted(named))
