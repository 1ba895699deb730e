"""Request and response heads, read strictly: what two servers could read in two ways is refused (RFC 9112, RFC 9110).

One fast regular expression accepts a whole head; only when it does not match, `diagnosis` looks for the reason. The shell
feeds a `RequestReader` or `ResponseReader` with what arrives; everything that depends on a head's meaning is decided here,
once, when it is read.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

import msgspec

from chowk.connect.http1 import diagnosis
from chowk.connect.http1.authority import split_target
from chowk.connect.http1.framing import CHUNKED, CLOSE, NONE, TUNNEL, Framing, Kind
from chowk.connect.http1.grammar import TOKEN, VALUE
from chowk.connect.http1.limits import LIMITS, Limits
from chowk.connect.http1.refusal import Refusal

Headers = Sequence[tuple[bytes, bytes]]
"""Name as received and value without the white space around it, in the order received."""

_REQUEST: Final = re.compile(rb"(%b++) ([!-~]++) HTTP/1\.([01])\r\n((?:%b++:%b*+\r\n)*+)\r\n" % (TOKEN, TOKEN, VALUE))
_RESPONSE: Final = re.compile(
    rb"HTTP/1\.([01]) ([1-9][0-9]{2})(?: (%b*+))?\r\n((?:%b++:%b*+\r\n)*+)\r\n" % (VALUE, TOKEN, VALUE)
)
_HEADER: Final = re.compile(rb"(%b++):[ \t]*+(%b*+)\r\n" % (TOKEN, VALUE))
_DIGITS: Final = re.compile(rb"0|[1-9][0-9]*")
_ONCE: Final = {
    400: (b"authorization", b"content-length", b"content-type", b"expect", b"host", b"transfer-encoding"),
    502: (b"content-length", b"transfer-encoding"),
}
"""Headers that no request (400) or response (502) may carry twice: servers differ in which one they believe."""
_PRETENDERS: Final = frozenset(
    (
        b"content-length",
        b"transfer-encoding",
        b"host",
        b"connection",
        b"upgrade",
        b"authorization",
        b"cookie",
        b"forwarded",
        b"via",
        b"x-request-id",
        b"x-real-ip",
        b"x-forwarded-for",
        b"x-forwarded-proto",
        b"x-forwarded-host",
        b"x-forwarded-port",
        b"x-forwarded-client-cert",
    )
)
"""With `_` for `-` these become the same variable as the true header in CGI, WSGI and PHP applications."""
_PROTECTED: Final = _PRETENDERS - {b"connection", b"upgrade"} | {
    b"baggage",
    b"content-encoding",
    b"content-type",
    b"traceparent",
    b"tracestate",
}
"""What no `Connection` header may have removed from a request (RFC 9110 section 7.6.1 has it remove all it names)."""


class RequestHead(msgspec.Struct, frozen=True):
    """One request, as far as its empty line. Made by `parse_request` only."""

    method: str
    target: bytes
    """As received; for logs only. Decisions and forwarding use `path`."""
    path: bytes
    """Normalised (`path.normalise`), without query; `*` for `OPTIONS *`, empty for CONNECT."""
    key: bytes
    """`path` with every escape decoded: what rules are compared with."""
    query: bytes | None
    """What follows `?`, as received; None when there is no `?`."""
    authority: bytes
    """Host and port as the request names them (Host, absolute target or CONNECT target); empty on HTTP/1.0 without Host."""
    minor_version: int
    headers: Headers
    index: dict[bytes, bytes]
    """Value by lower-case name; of names that come several times the values joined with `, ` (`; ` for cookies)."""
    framing: Framing
    keep_alive: bool
    """Another request may follow on this connection."""
    connection: frozenset[bytes]
    """The options of `Connection`, in lower case."""
    expects_continue: bool
    """The client waits for `100 Continue` before it sends the body."""
    upgrade: bytes
    """`websocket` when the client asks for it, else empty: other upgrades are ignored (RFC 9110 section 7.8 lets us)."""

    def get(self, name: bytes, default: bytes = b"") -> bytes:
        """The value of a header, its name in lower case."""
        return self.index.get(name, default)


class ResponseHead(msgspec.Struct, frozen=True):
    """One response, as far as its empty line. Made by `parse_response` only."""

    status: int
    reason: bytes
    minor_version: int
    headers: Headers
    index: dict[bytes, bytes]
    framing: Framing
    keep_alive: bool
    """The connection to the upstream may carry another request when the body has been read to its end."""
    connection: frozenset[bytes]

    @property
    def interim(self) -> bool:
        """Another response to the same request follows (1xx but 101)."""
        return self.status < 200 and self.status != 101

    def get(self, name: bytes, default: bytes = b"") -> bytes:
        """The value of a header, its name in lower case."""
        return self.index.get(name, default)


class _HeadReader:
    """Collects bytes up to the end of a head, looking at each only once however small the pieces are."""

    def __init__(self, limits: Limits, status: int) -> None:
        self._limits = limits
        self._partial = diagnosis.PartialHead(limits, status)

    @property
    def pending(self) -> int:
        """Bytes of a head that has begun and is not complete; 0 between messages."""
        return self._partial.size


class RequestReader(_HeadReader):
    """The heads of one connection's requests. One for each connection."""

    def __init__(self, limits: Limits = LIMITS) -> None:
        super().__init__(limits, 400)

    def feed(self, piece: bytes) -> tuple[RequestHead, bytes] | None:
        """The head, and the bytes after it (body, or the next request); None when more is needed. Raises Refusal.

        After a head, feed the next bytes only when that request's body has been read: the bytes returned begin with it.
        """
        found = self._partial.feed(piece)
        return None if found is None else (parse_request(found[0], self._limits), found[1])


class ResponseReader(_HeadReader):
    """The heads of the responses on one connection to an upstream. One for each connection."""

    def __init__(self, limits: Limits = LIMITS) -> None:
        super().__init__(limits, 502)

    def feed(self, piece: bytes, method: str) -> tuple[ResponseHead, bytes] | None:
        """As `RequestReader.feed`; `method` is that of the request that is answered. Interim responses come as heads too."""
        found = self._partial.feed(piece)
        return None if found is None else (parse_response(found[0], method, self._limits), found[1])


def parse_request(head: bytes, limits: Limits = LIMITS) -> RequestHead:
    """A complete head, with its empty line and nothing more. Refusal: 400, 414, 417, 431, 501 or 505."""
    match = _REQUEST.fullmatch(head)
    if match is None:
        raise diagnosis.of_request(head)
    method_token, target, minor, block = match.groups()
    if len(target) > limits.target_bytes_max:
        raise Refusal(414, "target_size", f"the request target is longer than {limits.target_bytes_max} bytes")
    if len(method_token) > limits.method_bytes_max:
        raise Refusal(501, "method", f"the method is longer than {limits.method_bytes_max} bytes")
    headers, index = _headers(block, limits, 400)
    method, minor_version = method_token.decode(), 1 if minor == b"1" else 0
    path, key, query, authority = split_target(method, target, index.get(b"host"), minor_version)
    connection = _options(index)
    protected = connection & _PROTECTED
    if protected:
        raise Refusal(400, "connection_option", "Connection names a header that is not for this connection alone")
    framing = _request_framing(index, minor_version, limits)
    if method == "CONNECT" and (framing.kind is Kind.CHUNKED or framing.length):
        raise Refusal(
            400, "connect_body", "a CONNECT request with a body, which some servers take for the tunnel's bytes"
        )
    return RequestHead(
        method,
        target,
        path,
        key,
        query,
        authority,
        minor_version,
        headers,
        index,
        framing,
        b"close" not in connection and (minor_version == 1 or b"keep-alive" in connection),
        connection,
        _expects_continue(index, minor_version),
        _upgrade(index, connection, framing, minor_version),
    )


def parse_response(head: bytes, method: str, limits: Limits = LIMITS) -> ResponseHead:
    """The head of an answer to a request of this method, complete. Refusal: 502."""
    match = _RESPONSE.fullmatch(head)
    if match is None:
        raise diagnosis.of_response(head)
    minor, code, reason, block = match.groups()
    headers, index = _headers(block, limits, 502)
    status, minor_version = int(code), 1 if minor == b"1" else 0
    connection = _options(index)
    framing, lies = _response_framing(index, minor_version, status, method, limits)
    keep_alive = (
        not lies
        and framing.kind not in (Kind.CLOSE, Kind.TUNNEL)
        and b"close" not in connection
        and (minor_version == 1 or b"keep-alive" in connection)
    )
    return ResponseHead(status, reason or b"", minor_version, headers, index, framing, keep_alive, connection)


def _headers(block: bytes, limits: Limits, status: int) -> tuple[list[tuple[bytes, bytes]], dict[bytes, bytes]]:
    """The header lines, and their values by lower-case name. Rare cases are looked for in the block, not line by line."""
    if block.count(b"\n") > limits.headers_max:
        raise Refusal(431 if status == 400 else status, "header_count", f"more than {limits.headers_max} headers")
    headers: list[tuple[bytes, bytes]] = _HEADER.findall(block)
    if b" \r" in block or b"\t" in block:
        headers = [(name, value.rstrip(b" \t")) for name, value in headers]
    index = {name.lower(): value for name, value in headers}
    if len(index) < len(headers):
        index = _joined(headers, status)
    if b"_" in block:
        for name in index:
            if b"_" in name and name.replace(b"_", b"-") in _PRETENDERS:
                raise Refusal(status, "underscore", "a header that applications confuse with one that proxies set")
    return headers, index


def _joined(headers: list[tuple[bytes, bytes]], status: int) -> dict[bytes, bytes]:
    values: dict[bytes, list[bytes]] = {}
    for name, value in headers:
        values.setdefault(name.lower(), []).append(value)
    for name in _ONCE[status]:
        if len(values.get(name, ())) > 1:
            raise Refusal(status, "duplicate_header", f"more than one {name.decode()} header")
    return {name: (b"; " if name == b"cookie" else b", ").join(found) for name, found in values.items()}


def _options(index: dict[bytes, bytes]) -> frozenset[bytes]:
    value = index.get(b"connection")
    if value is None:
        return _NO_OPTIONS
    known = _COMMON_OPTIONS.get(value)
    if known is not None:
        return known
    return frozenset(option.strip(b" \t") for option in value.lower().split(b",")) - {b""}


_NO_OPTIONS: Final[frozenset[bytes]] = frozenset()
_COMMON_OPTIONS: Final = {
    b"keep-alive": frozenset((b"keep-alive",)),
    b"Keep-Alive": frozenset((b"keep-alive",)),
    b"close": frozenset((b"close",)),
    b"Upgrade": frozenset((b"upgrade",)),
}


def _request_framing(index: dict[bytes, bytes], minor_version: int, limits: Limits) -> Framing:
    coding, length = index.get(b"transfer-encoding"), index.get(b"content-length")
    if coding is not None:
        if length is not None:
            raise Refusal(400, "length_and_coding", "both Content-Length and Transfer-Encoding")
        if minor_version == 0:
            raise Refusal(400, "coding_in_1_0", "Transfer-Encoding in an HTTP/1.0 message")
        if coding.lower() != b"chunked":
            raise Refusal(501, "coding", "a transfer coding other than chunked alone")
        return CHUNKED
    return NONE if length is None else Framing(Kind.LENGTH, _length(length, limits, 400))


def _response_framing(
    index: dict[bytes, bytes], minor_version: int, status: int, method: str, limits: Limits
) -> tuple[Framing, bool]:
    """The framing, and whether the head says things that its status forbids, so that the connection is not to be reused."""
    coding, length = index.get(b"transfer-encoding"), index.get(b"content-length")
    if coding is not None and length is not None:
        raise Refusal(502, "length_and_coding", "both Content-Length and Transfer-Encoding")
    size = None if length is None else _length(length, limits, 502)
    if coding is not None and (minor_version == 0 or coding.lower() != b"chunked"):
        raise Refusal(502, "coding", "a transfer coding other than chunked alone, or one in HTTP/1.0")
    if status == 101 or (method == "CONNECT" and 200 <= status < 300):
        return TUNNEL, False
    if status < 200 or status == 204:
        return NONE, bool(size) or coding is not None
    if status == 304 or method == "HEAD":
        return NONE, False
    if coding is not None:
        return CHUNKED, False
    return (CLOSE if size is None else Framing(Kind.LENGTH, size)), False


def _length(value: bytes, limits: Limits, status: int) -> int:
    if not _DIGITS.fullmatch(value) or len(value) > limits.length_digits_max:
        raise Refusal(status, "length", "a Content-Length that is no plain decimal number")
    return int(value)


def _expects_continue(index: dict[bytes, bytes], minor_version: int) -> bool:
    value = index.get(b"expect")
    if value is None or minor_version == 0:
        return False
    if value.lower() != b"100-continue":
        raise Refusal(417, "expectation", "an expectation other than 100-continue")
    return True


def _upgrade(index: dict[bytes, bytes], connection: frozenset[bytes], framing: Framing, minor_version: int) -> bytes:
    """Only WebSocket is passed on. `h2c` would be a tunnel past every L7 rule."""
    if b"upgrade" not in connection or minor_version == 0 or index.get(b"upgrade", b"").lower() != b"websocket":
        return b""
    if framing.kind is Kind.CHUNKED or framing.length:
        raise Refusal(400, "upgrade_body", "a request that asks for WebSocket and has a body")
    return b"websocket"
