"""May this source connect to that destination? Pure; asked by proxies for each connection, by `authorize` and by the CLI."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from chowk.connect.intentions.flat import in_order
from chowk.core.records.config_entry import ALLOW
from chowk.core.records.intention import ANY, Intention


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """`intention` is the one that decided (None: the default did); `reason` says why in plain words."""

    allowed: bool
    intention: Intention | None
    reason: str


def decide(intentions: Iterable[Intention], source: str, destination: str, default_allow: bool) -> Decision:
    """The decision for one TCP connection. Of the intentions that match, the one of highest precedence decides alone.

    An intention with L7 permissions cannot be judged on a connection, so it denies (Consul does the same): failing open
    would let through what one of its permissions denies.
    """
    matching = (each for each in intentions if matches(each, source, destination))
    first = next(iter(in_order(matching)), None)
    pair = f"{source} => {destination}"
    if first is None:
        word = "allows" if default_allow else "denies"
        return Decision(
            allowed=default_allow,
            intention=None,
            reason=f"No intention matches {pair}, and the default policy {word} it",
        )
    rule = f"{first.source_name} => {first.destination_name}"
    if first.permissions:
        reason = f"Matched L7 intention: {rule} has permissions, which count as deny for a TCP connection"
        return Decision(allowed=False, intention=first, reason=reason)
    reason = f"Matched L4 intention: {rule} ({first.action}), precedence {first.precedence}"
    return Decision(allowed=first.action == ALLOW, intention=first, reason=reason)


def matches(intention: Intention, source: str, destination: str) -> bool:
    """Whether the intention is about this pair."""
    return intention.source_name in (source, ANY) and intention.destination_name in (destination, ANY)
