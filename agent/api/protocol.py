"""aiohttp's protocol, but for what it says to what is not HTTP: that is in our words, with our headers. Made by `serve`."""

from __future__ import annotations

from typing import Final

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError, LineTooLong

HEAD_TOO_LARGE: Final = "The request's head is too large; see http_config.max_header_bytes"
NOT_HTTP: Final = "This is no HTTP request that can be read"


class ApiProtocol(web.RequestHandler):
    """One connection."""

    __slots__ = ()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """431 for a head beyond the limits, 400 for what is not HTTP; the connection ends, and nothing is logged."""
        if not isinstance(exc, HttpProcessingError):
            return super().handle_error(request, status, exc, message)
        code, text = (431, HEAD_TOO_LARGE) if isinstance(exc, LineTooLong) else (400, NOT_HTTP)
        response = web.Response(
            status=code, text=text, headers={"Server": "chowk", "X-Content-Type-Options": "nosniff"}
        )
        response.force_close()
        return response
