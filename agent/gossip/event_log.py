"""User events as people see them: a name and a few bytes that reach every agent of the datacenter. Consul's ids and filters.

Called by `driver` for what is fired here and what arrives; the API reads the log. The core carries an event as opaque bytes.
"""

from __future__ import annotations

import asyncio
import uuid
from collections import deque
from collections.abc import Iterable
from typing import Final

import msgspec
import re2

from chowk.core import codec
from chowk.core.errors import InvalidRequest
from chowk.core.filter.evaluate import compile_regex

EVENTS_MAX: Final = 256
"""Events remembered; the oldest is forgotten first."""

NAME_BYTES_MAX: Final = 128
_START: Final = 1
"""The index of an empty log; never 0, on which no client could block."""


class ClusterEvent(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`node_filter`, `service_filter` and `tag_filter` are regular expressions: which agents take notice of it."""

    id: str
    name: str
    payload: bytes = b""
    node_filter: str = ""
    service_filter: str = ""
    tag_filter: str = ""
    time: int = 0


class _Wire(msgspec.Struct, frozen=True, array_like=True):
    id: bytes
    payload: bytes = b""
    node_filter: str = ""
    service_filter: str = ""
    tag_filter: str = ""


def new_event(name: str, payload: bytes, node: str = "", service: str = "", tag: str = "") -> ClusterEvent:
    """An event with an id of its own. InvalidRequest when it makes no sense."""
    if not 0 < len(name.encode()) <= NAME_BYTES_MAX:
        raise InvalidRequest(f"an event's name has 1 to {NAME_BYTES_MAX} bytes")
    if not name.isprintable():
        raise InvalidRequest("an event's name has characters that cannot be printed")
    if tag and not service:
        raise InvalidRequest("Cannot provide tag filter without service filter")
    for what, pattern in (("node", node), ("service", service), ("tag", tag)):
        try:
            compile_regex(pattern)
        except ValueError as error:
            raise InvalidRequest(f"Invalid {what} filter: {error}") from None
    return ClusterEvent(
        id=str(uuid.uuid4()), name=name, payload=payload, node_filter=node, service_filter=service, tag_filter=tag
    )


def encode_event(event: ClusterEvent) -> bytes:
    """The bytes that the core carries."""
    filters = (event.node_filter, event.service_filter, event.tag_filter)
    return codec.pack(_Wire(uuid.UUID(event.id).bytes, event.payload, *filters))


def decode_event(name: str, data: bytes, time: int) -> ClusterEvent:
    """What another agent fired. ValueError when it is none; filters that are no expressions are refused with it."""
    wire = codec.unpack(data, _Wire)
    node, service, tag = wire.node_filter, wire.service_filter, wire.tag_filter
    for pattern in (node, service, tag):
        compile_regex(pattern)
    return ClusterEvent(
        id=str(uuid.UUID(bytes=wire.id)),
        name=name,
        payload=wire.payload,
        node_filter=node,
        service_filter=service,
        tag_filter=tag,
        time=time,
    )


def concerns(event: ClusterEvent, node: str, services: Iterable[tuple[str, Iterable[str]]]) -> bool:
    """Whether an agent named `node` with these (service, tags) takes notice: each filter must match somewhere."""
    if event.node_filter and not re2.search(event.node_filter, node):
        return False
    if not event.service_filter:
        return True
    return any(
        re2.search(event.service_filter, service)
        and (not event.tag_filter or any(re2.search(event.tag_filter, tag) for tag in tags))
        for service, tags in services
    )


class EventLog:
    """The last EVENTS_MAX events, and a way to wait for the next."""

    def __init__(self) -> None:
        self._events: deque[ClusterEvent] = deque(maxlen=EVENTS_MAX)
        self._added = asyncio.Event()

    def add(self, event: ClusterEvent) -> None:
        """One more; whoever waits is woken."""
        self._events.append(event)
        self._added.set()
        self._added = asyncio.Event()

    def list(self, name: str = "") -> list[ClusterEvent]:
        """The events, the oldest first; of one name, when given."""
        return [event for event in self._events if not name or event.name == name]

    def index(self, name: str = "") -> int:
        """As Consul's: made of the last event's id, so that it differs after each, and never 0. It does not grow."""
        events = self.list(name)
        if not events:
            return _START
        number = uuid.UUID(events[-1].id).int
        return ((number >> 64) ^ (number & (2**64 - 1))) >> 1 or _START

    async def wait(self, index: int, max_wait_s: float, name: str = "") -> None:
        """Return when the index is no longer `index`, or `max_wait_s` has passed."""
        try:
            async with asyncio.timeout(max_wait_s):
                while self.index(name) == index:
                    await self._added.wait()
        except TimeoutError:
            return
