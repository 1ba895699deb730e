"""Which answers and silences a route wants tried again. Pure. The names are Envoy's, as Consul takes them in `retry_on`.

Whether another try is safe is for the exchange: this only says whether somebody asked for it.
"""

from __future__ import annotations

from typing import Final

from chowk.connect.snapshot import Retries

BACKOFF_S: Final = 0.025
BACKOFF_S_MAX: Final = 0.25
_SILENT: Final = frozenset(("5xx", "gateway-error", "reset"))


def wants_status(retries: Retries, status: int) -> bool:
    """Whether an answer with this status is to be tried again."""
    if status in retries.status_codes:
        return True
    for condition in retries.conditions:
        match condition:
            case "5xx" if status >= 500:
                return True
            case "gateway-error" if status in (502, 503, 504):
                return True
            case "retriable-4xx" if status == 409:
                return True
    return False


def wants_silence(retries: Retries) -> bool:
    """Whether no answer at all (a reset, a timeout of the try) is to be tried again."""
    return not _SILENT.isdisjoint(retries.conditions)


def backoff_s(retry: int, jitter: float) -> float:
    """How long to wait before the retry of this number (from 1); `jitter` is from 0 to 1, so that callers spread."""
    return jitter * min(BACKOFF_S * 2.0 ** min(retry - 1, 16), BACKOFF_S_MAX)
