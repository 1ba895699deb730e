"""How h11 and httptools read a request or response: what a parser of ours may be compared with."""

from __future__ import annotations

import h11
import httptools
import msgspec


class Reading(msgspec.Struct, frozen=True):
    """One message; header names in lower case, in the order received. `rest`: bytes after it (empty where unknown)."""

    start: tuple[bytes, bytes]
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes
    rest: bytes


def h11_request(message: bytes) -> Reading | None:
    """None: refused, or not complete."""
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
    return _h11(connection, message)


def h11_response(message: bytes, method: str) -> Reading | None:
    """None: refused, or not complete. `message` is the final response; its end is the end of the connection."""
    connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=1 << 20)
    target = "a:80" if method == "CONNECT" else "/"
    connection.send(h11.Request(method=method, target=target, headers=[("host", "a")]))
    connection.send(h11.EndOfMessage())
    return _h11(connection, message, at_eof=True)


def _h11(connection: h11.Connection, message: bytes, *, at_eof: bool = False) -> Reading | None:
    start, headers, body = (b"", b""), (), b""
    try:
        connection.receive_data(message)
        if at_eof:
            connection.receive_data(b"")
        while True:
            event = connection.next_event()
            match event:
                case h11.Request():
                    start, headers = (event.method, event.target), tuple(event.headers)
                case h11.Response():
                    start, headers = (b"%d" % event.status_code, event.reason), tuple(event.headers)
                case h11.Data():
                    body += bytes(event.data)
                case h11.EndOfMessage():
                    return Reading(start, headers, body, connection.trailing_data[0])
                case _:
                    return None
    except h11.RemoteProtocolError:
        return None


class _Collector:
    def __init__(self) -> None:
        self.parser: httptools.HttpRequestParser | None = None
        self.method, self.url, self.body, self.messages = b"", b"", b"", 0
        self.complete = False
        self.headers: list[tuple[bytes, bytes]] = []

    def on_message_begin(self) -> None:
        self.messages += 1

    def on_url(self, url: bytes) -> None:
        if self.messages == 1:
            self.url += url

    def on_headers_complete(self) -> None:
        if self.messages == 1 and self.parser is not None:
            self.method = self.parser.get_method()

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.messages == 1:
            self.headers.append((name.lower(), value.rstrip(b" \t")))

    def on_body(self, body: bytes) -> None:
        if self.messages == 1:
            self.body += body

    def on_message_complete(self) -> None:
        self.complete = True


def llhttp_request(message: bytes) -> Reading | None:
    """None: refused, or not complete. Trailers come behind the headers."""
    collector = _Collector()
    collector.parser = httptools.HttpRequestParser(collector)
    try:
        collector.parser.feed_data(message)
    except httptools.HttpParserUpgrade:
        pass
    except httptools.HttpParserError:
        if not collector.complete:
            return None
    if not collector.complete:
        return None
    return Reading((collector.method, collector.url), tuple(collector.headers), collector.body, b"")
