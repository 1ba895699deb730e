"""What changes on a message between two connections: hop-by-hop headers, framing, who forwarded it, edits. Then its bytes.

Called by the shell once a request and once a response. A message is always written anew from what was understood of it,
so that nothing odd in its spelling reaches the next server.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Final

import msgspec

from chowk.connect.http1.edits import NO_EDITS, CompiledEdits, fault_of
from chowk.connect.http1.framing import CHUNKED, CLOSE, NONE, Framing, Kind
from chowk.connect.http1.heads import RequestHead, ResponseHead
from chowk.connect.http1.identity import is_request_id
from chowk.connect.http1.refusal import Refusal

_HOP: Final = frozenset(
    (
        b"connection",
        b"http2-settings",
        b"keep-alive",
        b"proxy-connection",
        b"te",
        b"transfer-encoding",
        b"upgrade",
    )
)
"""Of one connection only (RFC 9110 section 7.6.1); `Connection` names more."""
_REQUEST_ANEW: Final = _HOP | {
    b"content-length",
    b"host",
    b"via",
    b"x-forwarded-client-cert",
    b"x-forwarded-for",
    b"x-request-id",
}
"""Of a request, what is said anew; a certificate only by a proxy that has checked it."""
_RESPONSE_ANEW: Final = _HOP | {b"content-length"}
"""Of a response that has a body."""
_KEPT: Final = frozenset(
    (
        b"cache-control",
        b"content-encoding",
        b"content-length",
        b"content-type",
        b"date",
        b"etag",
        b"location",
        b"set-cookie",
        b"vary",
    )
)
"""What no upstream's `Connection` has removed from a response: clients rely on it."""


class Passage(msgspec.Struct, frozen=True, kw_only=True):
    """What this proxy says about the requests of one connection; empty says nothing. One for each connection."""

    authority: bytes = b"localhost"
    """The host of a request that names none, as HTTP/1.0 allows: servers of HTTP/1.1 must refuse it without."""
    via: bytes = b"1.1 chowk"
    """One more entry of `Via` (RFC 9110 section 7.6.3)."""
    forwarded_for: bytes = b""
    """The address one more entry of `X-Forwarded-For` names."""
    forwarded_proto: bytes = b""
    """`X-Forwarded-Proto`, where the request has none."""
    client_cert: bytes = b""
    """`X-Forwarded-Client-Cert`, as in `By=spiffe://…;URI=spiffe://…`. A caller's own is always dropped."""


class OutgoingRequest(msgspec.Struct, frozen=True):
    """`head` is ready to send; `framing` of the body is that of the request received."""

    head: bytes
    framing: Framing
    request_id: bytes


class OutgoingResponse(msgspec.Struct, frozen=True):
    """`head` is ready to send (empty: send nothing); the body follows in `framing`. Not `keep_alive`: close after it."""

    head: bytes
    framing: Framing
    keep_alive: bool


def request_to_upstream(
    request: RequestHead,
    passage: Passage,
    make_id: Callable[[], bytes],
    *,
    path: bytes | None = None,
    authority: bytes | None = None,
    edits: CompiledEdits = NO_EDITS,
) -> OutgoingRequest:
    """The request for the next server. `path` and `authority` replace the request's own when given.

    `make_id` is called when the request has no request id, or one that is not fit for logs.
    """
    request_id = request.index.get(b"x-request-id", b"")
    if not is_request_id(request_id):
        request_id = make_id()
    drop = _REQUEST_ANEW if request.minor_version else _REQUEST_ANEW_1_0
    if not request.connection <= _HOP:
        drop |= request.connection
    added = _added(request.index, passage, request_id)
    if edits is not NO_EDITS:
        drop |= edits.dropped
        added = [pair for pair in added if pair[0] not in edits.dropped]
        added += edits.added
    lines = [b"%b: %b\r\n" % pair for pair in request.headers if pair[0].lower() not in drop]
    lines += [b"%b: %b\r\n" % pair for pair in added]
    host = edits.host or authority or request.authority or passage.authority
    head = b"%b %b HTTP/1.1\r\nHost: %b\r\n%b%b%b\r\n" % (
        request.method.encode(),
        _target(request, path),
        host,
        b"".join(lines),
        _framing_lines(request.framing),
        b"Connection: Upgrade\r\nUpgrade: %b\r\n" % request.upgrade if request.upgrade else b"",
    )
    return OutgoingRequest(head, request.framing, request_id)


_REQUEST_ANEW_1_0: Final = _REQUEST_ANEW | {b"expect"}
"""A client of HTTP/1.0 cannot mean an expectation (RFC 9110 section 10.1.1)."""


def _added(index: dict[bytes, bytes], passage: Passage, request_id: bytes) -> list[tuple[bytes, bytes]]:
    """Who sent it and who forwarded it, with what was said of that before."""
    added = [(b"x-request-id", request_id)]
    forwarded_for = _appended(index.get(b"x-forwarded-for"), passage.forwarded_for)
    if forwarded_for:
        added.append((b"x-forwarded-for", forwarded_for))
    if passage.forwarded_proto and b"x-forwarded-proto" not in index:
        added.append((b"x-forwarded-proto", passage.forwarded_proto))
    via = _appended(index.get(b"via"), passage.via)
    if via:
        added.append((b"via", via))
    if passage.client_cert:
        added.append((b"x-forwarded-client-cert", passage.client_cert))
    return added


def response_to_client(
    response: ResponseHead,
    request: RequestHead,
    *,
    close: bool = False,
    edits: CompiledEdits = NO_EDITS,
    cookie: bytes = b"",
) -> OutgoingResponse:
    """The response for the client that sent `request`. `close`: this proxy wants no further request on that connection.

    `cookie` is one more Set-Cookie of a final response (empty: none).
    Refusal 502 when the upstream switches to a protocol that nobody asked for.
    """
    if response.interim and request.minor_version == 0:
        return OutgoingResponse(b"", NONE, request.keep_alive)
    tunnel = response.framing.kind is Kind.TUNNEL
    switched = response.status == 101
    if switched and (not request.upgrade or response.get(b"upgrade").lower() != request.upgrade):
        raise Refusal(502, "unasked_switch", "the upstream switched to a protocol that was not asked for")
    framing = _for_client(response.framing, request.minor_version)
    keep_alive = request.keep_alive and not close and framing.kind is not Kind.CLOSE and not tunnel
    drop = _HOP if _describes_other(response, request) else _RESPONSE_ANEW
    if not response.connection <= _HOP:
        drop |= response.connection - _KEPT
    if edits is not NO_EDITS:
        drop |= edits.dropped
    lines = [b"%b: %b\r\n" % pair for pair in response.headers if pair[0].lower() not in drop]
    lines += [b"%b: %b\r\n" % pair for pair in edits.added]
    if cookie and not response.interim:
        lines.append(b"Set-Cookie: %b\r\n" % cookie)
    lines.append(_framing_lines(framing))
    if switched:
        lines.append(b"Connection: Upgrade\r\nUpgrade: %b\r\n" % request.upgrade)
    elif not response.interim and not tunnel:
        lines.append(_connection_line(keep_alive, request.minor_version))
    head = b"HTTP/1.1 %d %b\r\n%b\r\n" % (response.status, response.reason, b"".join(lines))
    return OutgoingResponse(head, framing, keep_alive)


def answer(
    request: RequestHead | None,
    status: int,
    body: bytes = b"",
    headers: Mapping[str, str] | None = None,
    *,
    close: bool = False,
) -> OutgoingResponse:
    """A whole response of this proxy's own, body included. `request` None: it could not be read, so the connection closes.

    Of `headers`, what `edits.fault_of` objects to is passed over.
    """
    keep_alive = request is not None and request.keep_alive and not close
    given = {name: value for name, value in (headers or {}).items() if not fault_of(name, value)}
    lines = [f"{name}: {value}\r\n".encode(errors="replace") for name, value in given.items()]
    bodyless = status < 200 or status in (204, 304)
    if not bodyless:
        lines.append(b"Content-Length: %d\r\n" % len(body))
        if body and not any(line[:13].lower() == b"content-type:" for line in lines):
            lines.append(b"Content-Type: text/plain; charset=utf-8\r\n")
    lines.append(_connection_line(keep_alive, 1 if request is None else request.minor_version))
    sent = b"" if bodyless or (request is not None and request.method == "HEAD") else body
    return OutgoingResponse(
        b"HTTP/1.1 %d %b\r\n%b\r\n%b" % (status, reason_of(status), b"".join(lines), sent), NONE, keep_alive
    )


def reason_of(status: int) -> bytes:
    """The usual words of a status, empty for one that has none."""
    return _REASONS.get(status, b"")


_REASONS: Final = {int(status): status.phrase.encode() for status in HTTPStatus}


def _target(request: RequestHead, path: bytes | None) -> bytes:
    if request.method == "CONNECT":
        return request.authority
    target = request.path if path is None else path
    return target if request.query is None else target + b"?" + request.query


def _framing_lines(framing: Framing) -> bytes:
    if framing.kind is Kind.LENGTH:
        return b"Content-Length: %d\r\n" % framing.length
    return b"Transfer-Encoding: chunked\r\n" if framing.kind is Kind.CHUNKED else b""


def _connection_line(keep_alive: bool, minor_version: int) -> bytes:
    if minor_version == 1:
        return b"" if keep_alive else b"Connection: close\r\n"
    return b"Connection: keep-alive\r\n" if keep_alive else b"Connection: close\r\n"


def _for_client(framing: Framing, minor_version: int) -> Framing:
    """A body whose end only the upstream's connection tells is chunked for whoever understands that."""
    if framing.kind in (Kind.CHUNKED, Kind.CLOSE):
        return CHUNKED if minor_version == 1 else CLOSE
    return framing


def _describes_other(response: ResponseHead, request: RequestHead) -> bool:
    """Content-Length tells what the body would be (HEAD, 304), so it is passed on though there is no body."""
    return response.framing.kind is Kind.NONE and (request.method == "HEAD" or response.status == 304)


def _appended(value: bytes | None, entry: bytes) -> bytes:
    return value + b", " + entry if value and entry else value or entry
