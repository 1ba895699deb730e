"""From errors to HTTP: the status and the plain text a client sees. Called by the app's outer edge and by handlers."""

from __future__ import annotations

from typing import Final

from chowk.core import errors

INTERNAL: Final = "Internal server error; the agent's log says more"
INVALID_PATH: Final = "Invalid URL path: not a recognized HTTP API endpoint"


class HttpError(errors.ChowkError):
    """An answer other than success: `status`, and `text` as the plain body."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


def bad_request(text: str) -> HttpError:
    """400 with that text."""
    return HttpError(400, text)


def not_found(text: str) -> HttpError:
    """404 with that text."""
    return HttpError(404, text)


def decode_failed(reason: str) -> HttpError:
    """400 in the words Consul has for a body that cannot be read."""
    return HttpError(400, f"Request decode failed: {reason}")


def too_large(size: int, limit: int) -> HttpError:
    """413 in Consul's words; `size` is what was announced or read so far, in bytes."""
    hint = "See the agent's limits configuration."
    return HttpError(413, f"Request body({size} bytes) too large, max size: {limit} bytes. {hint}")


def status_of(error: errors.ChowkError) -> int:
    """The HTTP status of an error of ours or of a server's."""
    return error.status if isinstance(error, HttpError) else error.http_status
