"""Header edits of routes and splits, compiled once for each configuration. Used by `forwarding`; the checks by whoever
validates configuration.

Within one set of edits `remove` comes first, then `set`, then `add` (Envoy's and so Consul's order); sets of edits are
applied one after the other. Values are taken as they are: Envoy's `%VARIABLES%` mean nothing here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final, Protocol

import msgspec

from chowk.connect.http1.authority import is_authority
from chowk.connect.http1.grammar import TOKEN, VALUE

UNTOUCHABLE: Final = frozenset(
    (
        b"connection",
        b"content-length",
        b"expect",
        b"http2-settings",
        b"keep-alive",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
        b"x-forwarded-client-cert",
    )
)
"""What frames a message or belongs to one connection, and what proves the caller: no configuration changes these."""
_NAME: Final = re.compile(rb"%b+" % TOKEN)
_VALUE: Final = re.compile(rb"%b*" % VALUE)


class Edits(Protocol):
    """The shape of `core.records.traffic.HeaderEdits`."""

    @property
    def add(self) -> Mapping[str, str]: ...
    @property
    def set(self) -> Mapping[str, str]: ...
    @property
    def remove(self) -> tuple[str, ...]: ...


class CompiledEdits(msgspec.Struct, frozen=True):
    """`dropped`: lower-case names that do not go on as received. `added`: lines to put behind the others.

    `host` replaces the authority, None leaves it.
    """

    dropped: frozenset[bytes] = frozenset()
    added: tuple[tuple[bytes, bytes], ...] = ()
    host: bytes | None = None


NO_EDITS: Final = CompiledEdits()


def fault_of(name: str, value: str = "") -> str:
    """Why this header cannot be edited so, in plain words; "" when it can."""
    raw = name.encode(errors="replace")
    if not _NAME.fullmatch(raw):
        return "is no header name"
    if raw.lower() in UNTOUCHABLE:
        return "belongs to the connection and cannot be edited"
    if raw.lower() == b"host" and value and not is_authority(value.encode(errors="replace")):
        return "names no host"
    if not _VALUE.fullmatch(value.encode(errors="replace")) or value != value.strip(" \t"):
        return "has a value with a control character, or with white space around it"
    return ""


def compile_edits(sets: Iterable[Edits | None]) -> CompiledEdits:
    """One set of edits that does what all of these do in turn. What `fault_of` objects to is passed over."""
    dropped: set[bytes] = set()
    added: list[tuple[bytes, bytes]] = []
    for edits in sets:
        if edits is None:
            continue
        removed = {name.lower().encode() for name in edits.remove if not fault_of(name)}
        given = [_pair(*pair) for pair in edits.set.items() if not fault_of(*pair)]
        replaced = removed | {name.lower() for name, _ in given}
        dropped |= replaced
        added = [pair for pair in added if pair[0].lower() not in replaced] + given
        added += [_pair(*pair) for pair in edits.add.items() if not fault_of(*pair)]
    hosts = [value for name, value in added if name.lower() == b"host"]
    return CompiledEdits(
        frozenset(dropped - {b"host"}),
        tuple(pair for pair in added if pair[0].lower() != b"host"),
        hosts[-1] if hosts else None,
    )


def _pair(name: str, value: str) -> tuple[bytes, bytes]:
    return name.encode(errors="replace"), value.encode(errors="replace")
