"""Rules for names, metadata and sizes of what may be written, with Consul's texts where it has them. Pure.

Called by whoever checks writes, at the agents and at the servers. Every rule raises InvalidRequest saying what to do.
"""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_address
from typing import Any, Final

from chowk.core.errors import InvalidRequest

NAME_CHARS_MAX: Final = 128
TEXT_CHARS_MAX: Final = 512
OUTPUT_CHARS_MAX: Final = 64 * 1024
TAGS_MAX: Final = 4096
TAGS_CHARS_MAX: Final = 128 * 1024
"""Routers of other makers are configured by tags, long ones and many."""
CHECKS_MAX: Final = 256
UPSTREAMS_MAX: Final = 512
CONFIG_DEPTH_MAX: Final = 16
CONFIG_VALUES_MAX: Final = 4096
META_PAIRS_MAX: Final = 64
META_KEY_CHARS_MAX: Final = 128
META_VALUE_CHARS_MAX: Final = 512
PORT_MAX: Final = 65_535
WEIGHT_MAX: Final = 65_535
LIMIT_MAX: Final = 2**31 - 1
_META_KEY_CHARS: Final = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-")


def check_name(name: str, what: str, *, chars_max: int = NAME_CHARS_MAX) -> None:
    """A name that fits into keys, logs and certificates: not empty, not long, printable."""
    if not name:
        raise InvalidRequest(f"{what} cannot be blank")
    if len(name) > chars_max:
        raise InvalidRequest(f"{what} is too long (limit: {chars_max} characters)")
    if not name.isprintable():
        raise InvalidRequest(f"{what} {name!r} contains characters that cannot be printed")


def check_node_name(name: str) -> None:
    """As any name, and without `/`, which parts a node from its services in keys."""
    check_name(name, "Node name")
    if "/" in name:
        raise InvalidRequest(f'Node name "{name}" cannot contain "/"')


def check_text(text: str, what: str) -> None:
    """A short free text."""
    if len(text) > TEXT_CHARS_MAX:
        raise InvalidRequest(f"{what} is too long (limit: {TEXT_CHARS_MAX} characters)")


def check_port(port: int, what: str) -> None:
    """0 (none) to 65535."""
    if not 0 <= port <= PORT_MAX:
        raise InvalidRequest(f"Invalid {what} {port}: must be between 0 and {PORT_MAX}")


def check_address(address: str, what: str) -> None:
    """An IP address or host name that others can dial: not the unspecified one."""
    check_text(address, what)
    if address and (not address.isprintable() or any(char.isspace() for char in address)):
        raise InvalidRequest(f"Invalid {what} {address!r}: write an IP address or a host name")
    try:
        unspecified = bool(address) and ip_address(address).is_unspecified
    except ValueError:
        unspecified = False
    if unspecified:
        raise InvalidRequest(f"Invalid {what}: {address} is no address that others can dial")


def check_meta(meta: Mapping[str, str], whose: str) -> None:
    """Consul's limits on metadata. `whose` is `Node` or `Service` or the kind of entry."""
    if len(meta) > META_PAIRS_MAX:
        raise InvalidRequest(f"{whose} metadata cannot contain more than {META_PAIRS_MAX} key/value pairs")
    for key, value in meta.items():
        problem = _meta_problem(key, value)
        if problem:
            raise InvalidRequest(f"Couldn't load metadata pair ('{key[:META_KEY_CHARS_MAX]}', …): {problem}")


def _meta_problem(key: str, value: str) -> str:
    if not key:
        return "Key cannot be blank"
    if not _META_KEY_CHARS.issuperset(key):
        return "Key contains invalid characters (use letters, digits, - and _)"
    if len(key) > META_KEY_CHARS_MAX:
        return f"Key is too long (limit: {META_KEY_CHARS_MAX} characters)"
    if len(value) > META_VALUE_CHARS_MAX:
        return f"Value is too long (limit: {META_VALUE_CHARS_MAX} characters)"
    return ""


def check_free(config: dict[str, Any], place: str) -> None:
    """What has no schema is at least bounded in depth and number, so that nobody who walks it can be overrun."""
    level: list[Any] = [config]
    count = 0
    for _depth in range(CONFIG_DEPTH_MAX):
        level = [child for value in level for child in _children(value)]
        count += len(level)
        if count > CONFIG_VALUES_MAX:
            raise InvalidRequest(f"{place} holds over {CONFIG_VALUES_MAX} values")
        if not level:
            return
    raise InvalidRequest(f"{place} is nested over {CONFIG_DEPTH_MAX} deep")


def _children(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return list(value.values())
    return list(value) if isinstance(value, list | tuple) else []
