"""The CLI's HTTP client: one request at a time to one agent, over TCP, TLS or a Unix socket. Called by the commands.

Only the standard library, because it imports fast. Redirects are not followed, so that a token goes nowhere else.
"""

from __future__ import annotations

import base64
import http.client
import json
import socket
import ssl
from collections.abc import Iterator, Mapping
from typing import IO, Any, Final, NamedTuple
from urllib.parse import quote, urlencode

from chowk.agent.commands.command import Failure

CONNECT_TIMEOUT_S: Final = 5.0
REPLY_TIMEOUT_S: Final = 60.0
REPLY_BYTES_MAX: Final = 256 * 1024 * 1024
ERROR_TEXT_MAX: Final = 2000
PIECE_BYTES: Final = 256 * 1024
UPLOAD_TIMEOUT_S: Final = 600.0
DEFAULT_ADDRESS: Final = "127.0.0.1:8500"
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
HTTP_PORT: Final = 8500

Query = Mapping[str, str | list[str] | None]


class Unreachable(Failure):
    """No agent answers at the address."""


class ApiError(Failure):
    """The agent answered with an error; `status` is HTTP's, `text` the agent's own words, `index` what to block on or 0."""

    def __init__(self, status: int, text: str, index: int = 0) -> None:
        super().__init__(f"Unexpected response code: {status} ({text.strip()})")
        self.status = status
        self.text = text.strip()
        self.index = index


class Address(NamedTuple):
    """Where an agent listens. `path` is a Unix socket's, "" over TCP."""

    scheme: str
    host: str
    port: int
    path: str

    def __str__(self) -> str:
        if self.path:
            return f"unix://{self.path}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"


def parse_address(text: str, *, tls: bool = False) -> Address:
    """`host`, `host:port`, `[::1]:8500`, `http://…`, `https://…` or `unix://path`. Failure says which part is wrong."""
    scheme, separator, rest = text.strip().partition("://")
    if not separator:
        scheme, rest = ("https" if tls else "http"), text.strip()
    if scheme == "unix":
        if not rest:
            raise Failure(f'the address "{text}" names no socket: write unix:///path/to/socket')
        return Address("http", "localhost", 0, rest)
    if scheme not in _DEFAULT_PORTS:
        raise Failure(f'the address "{text}" has an unknown scheme "{scheme}": use http, https or unix')
    if tls:
        scheme = "https"
    host, port = _split_port(rest.split("/", 1)[0], text)
    if not host:
        raise Failure(f'the address "{text}" names no host')
    return Address(scheme, host, port or (_DEFAULT_PORTS[scheme] if separator else HTTP_PORT), "")


def _split_port(host: str, text: str) -> tuple[str, int]:
    port = ""
    if host.startswith("["):
        host, _, port = host[1:].partition("]")
        port = port.removeprefix(":")
    elif host.count(":") == 1:
        host, _, port = host.partition(":")
    if port and not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise Failure(f'the address "{text}" has a port that is none: "{port}"')
    return host, int(port or 0)


class Reply(NamedTuple):
    """An answer: the status, the headers and the whole body."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes

    def json(self) -> Any:
        """The body as data. Failure when it is not JSON."""
        try:
            return json.loads(self.body)
        except ValueError:
            start = self.body[:80].decode("utf-8", "backslashreplace")
            raise Failure(f"the agent's answer is not JSON: {start!r}") from None


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class ApiClient:
    """Talks with the agent at `address`. `context` is for https; `basic` is `user:password`, for a proxy before it;
    `query` is added to every request."""

    def __init__(
        self,
        address: Address,
        *,
        token: str = "",
        context: ssl.SSLContext | None = None,
        server_name: str = "",
        basic: str = "",
        query: Mapping[str, str] | None = None,
    ) -> None:
        self.address = address
        self._context = context
        self._server_name = server_name
        self._query = dict(query or {})
        self._headers = {"User-Agent": "chowk", "Accept": "application/json"}
        if token:
            self._headers["X-Consul-Token"] = token
        if basic:
            user, _, password = basic.partition(":")
            secret = base64.b64encode(f"{user}:{password}".encode()).decode()
            self._headers["Authorization"] = f"Basic {secret}"

    def get(self, path: str, query: Query | None = None) -> Any:
        """The JSON of a GET. ApiError, Unreachable."""
        return self.request("GET", path, query).json()

    def put(self, path: str, query: Query | None = None, body: Any = None) -> Reply:
        """The answer of a PUT with `body` as JSON. ApiError, Unreachable."""
        return self.request("PUT", path, query, body)

    def request(self, method: str, path: str, query: Query | None = None, body: Any = None) -> Reply:
        """One request; `body` is sent as it is when it is bytes, else as JSON. ApiError for an answer of 400 and above,
        Unreachable when there is none."""
        connection = self._connect()
        try:
            response = self._send(connection, method, path, query, body)
            try:
                data = response.read(REPLY_BYTES_MAX + 1)
            except (OSError, http.client.HTTPException) as error:
                raise self._unreachable(error) from error
            if len(data) > REPLY_BYTES_MAX:
                raise Failure(f"the agent's answer is over {REPLY_BYTES_MAX} bytes")
            return Reply(response.status, response.headers, data)
        finally:
            connection.close()

    def download(self, path: str, query: Query | None = None) -> Iterator[bytes]:
        """The body of a GET, piece by piece. ApiError, Unreachable; also when the answer ends before its end."""
        connection = self._connect()
        try:
            response = self._send(connection, "GET", path, query, None)
            try:
                while piece := response.read(PIECE_BYTES):
                    yield piece
            except (OSError, http.client.HTTPException) as error:
                raise self._unreachable(error) from error
        finally:
            connection.close()

    def upload(self, path: str, file: IO[bytes], size: int, query: Query | None = None) -> Reply:
        """The answer of a PUT whose body are the `size` bytes that `file` has. ApiError, Unreachable."""
        connection = self._connect()
        try:
            connection.sock.settimeout(UPLOAD_TIMEOUT_S)
            response = self._send(connection, "PUT", path, query, file, {"Content-Length": str(size)})
            return Reply(response.status, response.headers, response.read(ERROR_TEXT_MAX))
        except (OSError, http.client.HTTPException) as error:
            raise self._unreachable(error) from error
        finally:
            connection.close()

    def stream(self, path: str, query: Query | None = None) -> Iterator[bytes]:
        """The lines of an answer that goes on and on, until the agent ends it."""
        connection = self._connect()
        try:
            response = self._send(connection, "GET", path, query, None)
            if connection.sock is not None:
                connection.sock.settimeout(None)
            try:
                while line := response.readline():
                    yield line
            except (OSError, http.client.HTTPException) as error:
                raise self._unreachable(error) from error
        finally:
            connection.close()

    def _connect(self) -> http.client.HTTPConnection:
        address = self.address
        if address.path:
            connection: http.client.HTTPConnection = _UnixConnection(address.path, CONNECT_TIMEOUT_S)
        else:
            connection = http.client.HTTPConnection(address.host, address.port, timeout=CONNECT_TIMEOUT_S)
        try:
            connection.connect()
            if address.scheme == "https":
                context = self._context or ssl.create_default_context()
                name = self._server_name or address.host
                connection.sock = context.wrap_socket(connection.sock, server_hostname=name)
            connection.sock.settimeout(REPLY_TIMEOUT_S)
        except OSError as error:
            connection.close()
            raise self._unreachable(error) from error
        return connection

    def _send(
        self,
        connection: http.client.HTTPConnection,
        method: str,
        path: str,
        query: Query | None,
        body: Any,
        raw_headers: Mapping[str, str] | None = None,
    ) -> http.client.HTTPResponse:
        """`body` is sent as JSON; with `raw_headers` it is a file, sent as it is."""
        asked = {**self._query, **{k: v for k, v in (query or {}).items() if v not in (None, "", [])}}
        target = path + (f"?{urlencode(asked, doseq=True, quote_via=quote)}" if asked else "")
        headers, data = dict(self._headers), None
        if raw_headers is not None:
            data = body
            headers |= {"Content-Type": "application/octet-stream", **raw_headers}
        elif body is not None:
            data = body if isinstance(body, bytes) else json.dumps(body).encode()
            headers["Content-Type"] = "application/octet-stream" if isinstance(body, bytes) else "application/json"
        elif method != "GET":
            headers["Content-Length"] = "0"
        try:
            connection.request(method, target, body=data, headers=headers)
            response = connection.getresponse()
            if response.status >= 300:
                text = response.read(ERROR_TEXT_MAX).decode(errors="replace")
                raise ApiError(response.status, text, int(response.headers.get("X-Consul-Index") or 0))
        except (OSError, http.client.HTTPException) as error:
            raise self._unreachable(error) from error
        except ValueError as error:
            raise Failure(f"the request cannot be sent: {error}") from error
        return response

    def _unreachable(self, error: Exception) -> Failure:
        if isinstance(error, ssl.SSLCertVerificationError):
            return Unreachable(
                f"the certificate of {self.address} is not trusted: {error.verify_message}\n"
                "Name the file of its authority with -ca-file or CHOWK_CACERT."
            )
        if isinstance(error, ssl.SSLError):
            return Unreachable(f"no TLS with {self.address}: {error.reason or error}\nIs it an http:// address?")
        if isinstance(error, TimeoutError):
            return Unreachable(f"the agent at {self.address} does not answer")
        if isinstance(error, (http.client.HTTPException, ConnectionResetError)):
            return Unreachable(
                f"the agent at {self.address} ended the connection: {error or type(error).__name__}\n"
                "Is it an https:// address, or is the agent just stopping?"
            )
        reason = error.strerror if isinstance(error, OSError) else None
        return Unreachable(
            f"cannot reach an agent at {self.address}: {reason or error}\n"
            "Start one with `chowk agent -dev`, or say where it is with -http-addr or CHOWK_HTTP_ADDR."
        )


def path_of(*parts: str) -> str:
    """`("agent", "service", "a/b")` -> `/v1/agent/service/a%2Fb`."""
    return "/v1/" + "/".join(quote(part, safe="") for part in parts)
