"""One request as access logs and taps see it. Called at the end of an exchange, while anybody looks."""

from __future__ import annotations

from chowk.connect.proxy.http_exchange import Relay
from chowk.connect.proxy.http_faults import Fault
from chowk.connect.proxy.state import ProxyState
from chowk.connect.stats.observation import PATH_CHARACTERS_MAX, RequestRecord, shown


def note(
    relay: Relay,
    direction: str,
    source: str,
    destination: str,
    duration_s: float,
    *,
    route: str = "",
    endpoint: str = "",
    retries: int = 0,
) -> None:
    """Tell all observers of it. The path has no query, which may hold secrets."""
    request, state = relay.request, relay.state
    trace = request.get(b"traceparent").split(b"-")
    state.observers.see(
        RequestRecord(
            at_s=state.clock.wall() - duration_s,
            direction=direction,
            source=source,
            destination=destination,
            route=route,
            method=shown(request.method.encode()),
            host=shown(request.authority),
            path=shown(request.path, PATH_CHARACTERS_MAX),
            status=relay.status,
            duration_s=duration_s,
            received_bytes=relay.upload.received_bytes,
            sent_bytes=relay.sent_bytes,
            reason=relay.reason,
            request_id=shown(relay.request_id or request.get(b"x-request-id")),
            trace_id=shown(trace[1]) if len(trace) >= 4 else "",
            endpoint=endpoint,
            retries=retries,
        )
    )


def note_unread(state: ProxyState, direction: str, source: str, destination: str, fault: Fault, status: int) -> None:
    """Tell all observers, if there are any, of a request whose head could not be read: it has no method and no path."""
    if state.observers.active:
        state.observers.see(
            RequestRecord(
                at_s=state.clock.wall(),
                direction=direction,
                source=source,
                destination=destination,
                method="",
                path="",
                status=status,
                duration_s=0.0,
                reason=fault.name,
            )
        )
