"""The HTTP check: 2xx passes, 429 warns, all else is critical. Called by the scheduler.

A target is not trusted: no cookies, no proxies, no decompression, a bounded body, and no redirect unless the definition
allows it, and then only between http and https URLs and never from https down to http.
"""

from __future__ import annotations

import re
from typing import Final

import aiohttp
from multidict import CIMultiDict
from yarl import URL

from chowk.agent.checks.dial import in_words, tls_context
from chowk.agent.checks.outcome import Outcome, critical, output_limit, passing, readable, warning
from chowk.core.definitions import CheckDefinition

REDIRECTS_MAX: Final = 10
REDIRECT_STATUSES: Final = frozenset({301, 302, 303, 307, 308})
USER_AGENT: Final = "chowk Health Check"
HEADER_BYTES_MAX: Final = 16_384
_HERE: Final = re.compile(r"^(https?://)(?=:\d)")
"""A URL without a host: it is this one, as Go's clients have it."""


def make_session() -> aiohttp.ClientSession:
    """The session all HTTP checks share: each request has a connection of its own, as each run must prove anew."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(force_close=True, limit=0, use_dns_cache=False),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        trust_env=False,
        timeout=aiohttp.ClientTimeout(total=None),
        max_line_size=HEADER_BYTES_MAX,
        max_field_size=HEADER_BYTES_MAX,
        read_bufsize=HEADER_BYTES_MAX,
    )


class HttpCheck:
    """Requests `definition.http`."""

    def __init__(self, definition: CheckDefinition, session: aiohttp.ClientSession) -> None:
        self._definition = definition
        self._session = session
        self._method = (definition.method or "GET").upper()

    async def run(self) -> Outcome:
        """Request once; redirects followed are part of it."""
        url_text = _HERE.sub(r"\g<1>127.0.0.1", self._definition.http)
        method = self._method
        try:
            url = URL(url_text)
            for _hop in range(REDIRECTS_MAX + 1):
                following, outcome = await self._request(method, url, url.origin() == URL(url_text).origin())
                if following is None:
                    return outcome
                method, url = following
        except aiohttp.InvalidURL:
            return critical(f'{self._method} "{url_text}": not an HTTP URL')
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return critical(f'{self._method} "{url_text}": {_why(error)}')
        return critical(f'{self._method} "{url_text}": stopped after {REDIRECTS_MAX} redirects')

    async def _request(self, method: str, url: URL, same_origin: bool) -> tuple[tuple[str, URL] | None, Outcome]:
        definition = self._definition
        if url.scheme not in ("http", "https"):
            raise ValueError(f'unsupported protocol scheme "{url.scheme}"')
        body = definition.body.encode() if same_origin and method == self._method else b""
        async with self._session.request(
            method,
            url,
            headers=self._headers(same_origin),
            data=body or None,
            allow_redirects=False,
            ssl=tls_context(definition.tls_skip_verify),
            server_hostname=(definition.tls_server_name or None) if url.scheme == "https" else None,
        ) as response:
            location = response.headers.get("Location", "")
            if not definition.disable_redirects and response.status in REDIRECT_STATUSES and location:
                target = url.join(URL(location))
                if url.scheme == "https" and target.scheme != "https":
                    raise ValueError(f"refused to follow a redirect from https to {target.scheme}")
                keeps = response.status in (307, 308) or method == "HEAD"
                return (method if keeps else "GET", target), critical("")
            output = await _read(response, output_limit(definition.output_max_size))
            text = f"HTTP {self._method} {definition.http}: {response.status} {response.reason or ''} Output: {output}"
            return None, _judge(response.status, text)

    def _headers(self, same_origin: bool) -> CIMultiDict[str]:
        """The definition's headers go only where it pointed: no other origin is shown its tokens."""
        headers: CIMultiDict[str] = CIMultiDict()
        if same_origin:
            for name, values in self._definition.header.items():
                for value in values:
                    headers.add(name, value)
        headers.setdefault("User-Agent", USER_AGENT)
        headers.setdefault("Accept", "text/plain, text/*, */*")
        headers.setdefault("Accept-Encoding", "identity")
        return headers


async def _read(response: aiohttp.ClientResponse, bytes_max: int) -> str:
    """The first `bytes_max` bytes of the body. A body that breaks off does not change what the status line said."""
    data = b""
    try:
        while len(data) < bytes_max:
            chunk = await response.content.read(bytes_max - len(data))
            if not chunk:
                break
            data += chunk
    except (aiohttp.ClientError, OSError) as error:
        data += f" (the body broke off: {_why(error)})".encode()
    finally:
        response.close()
    return readable(data)


def _judge(status: int, text: str) -> Outcome:
    if 200 <= status <= 299:
        return passing(text)
    if status == 429:
        return warning(text)
    return critical(text)


def _why(error: BaseException) -> str:
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return in_words(error.certificate_error)
    if isinstance(error, aiohttp.ClientConnectorError):
        return f"dial tcp {error.host}:{error.port}: {in_words(error.os_error)}"
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return "EOF"
    return in_words(error)[:300]
