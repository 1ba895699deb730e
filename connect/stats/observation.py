"""One request as it is told to those who look: access logs and `chowk tap`. Pure; made by `connect.proxy`'s HTTP shells.

Nobody looks most of the time: `Observers.active` is asked before a record is made.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

import msgspec

PATH_CHARACTERS_MAX: Final = 256
TEXT_CHARACTERS_MAX: Final = 128


class RequestRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What passed. `at_s` is Unix seconds when the request's head was read; `status` 0: there was no answer.

    `path` has no query, which may hold secrets; no header's value is told but the request's id and trace.
    `reason` is the proxy's own error; `endpoint` the instance that answered (`node/service-id`).
    """

    at_s: float
    direction: str
    source: str
    destination: str
    route: str = ""
    method: str
    host: str = ""
    path: str
    status: int = 0
    duration_s: float
    received_bytes: int = 0
    sent_bytes: int = 0
    reason: str = ""
    request_id: str = ""
    trace_id: str = ""
    endpoint: str = ""
    retries: int = 0


class RequestFilter(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Which requests somebody wants to see; what is empty asks for nothing. `status` is a class: 5 for 5xx."""

    direction: str = ""
    peer: str = ""
    method: str = ""
    path_prefix: str = ""
    status: int = 0

    def takes(self, record: RequestRecord) -> bool:
        """Whether all that is asked for holds."""
        return (
            (not self.direction or self.direction == record.direction)
            and (not self.peer or self.peer in (record.source, record.destination))
            and (not self.method or self.method == record.method)
            and (not self.path_prefix or record.path.startswith(self.path_prefix))
            and (not self.status or self.status == record.status // 100)
        )


class Observers:
    """Who is told of requests: `see` is called with each record while `active`."""

    def __init__(self) -> None:
        self._sinks: tuple[Callable[[RequestRecord], None], ...] = ()
        self.active = False

    def add(self, sink: Callable[[RequestRecord], None]) -> None:
        """Tell `sink` too."""
        self._sinks = (*self._sinks, sink)
        self.active = True

    def remove(self, sink: Callable[[RequestRecord], None]) -> None:
        """Tell it no more."""
        self._sinks = tuple(each for each in self._sinks if each != sink)
        self.active = bool(self._sinks)

    def see(self, record: RequestRecord) -> None:
        """Tell all."""
        for sink in self._sinks:
            sink(record)


def shown(text: bytes, characters_max: int = TEXT_CHARACTERS_MAX) -> str:
    """What a peer sent, fit to be shown: printable, of at most that many characters."""
    cut = text[:characters_max].decode("latin-1")
    return "".join(each if each.isprintable() and each.isascii() else "?" for each in cut)


def json_line(record: RequestRecord) -> bytes:
    """The JSON line of a request; times as RFC 3339 and milliseconds, as in other proxies' logs."""
    at = datetime.fromtimestamp(record.at_s, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    fields = {
        "start_time": at,
        "direction": record.direction,
        "source": record.source,
        "destination": record.destination,
        "route_name": record.route,
        "method": record.method,
        "authority": record.host,
        "path": record.path,
        "response_code": record.status,
        "response_flags": record.reason,
        "bytes_received": record.received_bytes,
        "bytes_sent": record.sent_bytes,
        "duration": round(record.duration_s * 1000, 3),
        "retries": record.retries,
        "upstream_host": record.endpoint,
        "request_id": record.request_id,
        "trace_id": record.trace_id,
    }
    return msgspec.json.encode(fields) + b"\n"
