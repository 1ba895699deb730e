"""Asks the configured recursors for names that are not ours. Called by the responder."""

from __future__ import annotations

from collections.abc import Sequence

from chowk.dns.codec import Query

Endpoint = tuple[str, int]


class Recursor:
    def __init__(self, endpoints: Sequence[Endpoint], timeout_s: float) -> None:
        self._endpoints = list(endpoints)
        self._timeout_s = timeout_s

    async def resolve(self, query: Query, *, tcp: bool, size: int) -> bytes | None:
        return None


def parse_recursor(text: str) -> Endpoint:
    return (text, 53)
