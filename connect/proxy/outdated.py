"""Connections whose certificates had ended, or not begun, when they were made: a bypass let them in, and they end with it.

Both directions and both protocols: what is carried as TCP, requests in work, tunnels, and what waits in a pool. A connection
that was made while its certificates were good is never in here: it may outlive them. Held by `ProxyState`.
"""

from __future__ import annotations

from collections.abc import Callable

from chowk.connect.proxy.links import TlsLink


class OutdatedLinks:
    """At most as many as there are connections: those that are gone are forgotten at each `end`."""

    def __init__(self) -> None:
        self._links: dict[TlsLink, str] = {}

    def add(self, link: TlsLink, service: str) -> None:
        """`link` goes to `service`, whose bypass alone let it be made."""
        self._links[link] = service

    def end(self, bypassed: Callable[[str], bool]) -> int:
        """End those whose bypass is over; how many there were."""
        self._links = {link: service for link, service in self._links.items() if not link.lost}
        over = [link for link, service in self._links.items() if not bypassed(service)]
        for link in over:
            del self._links[link]
            (link.pipe or link).reset()
        return len(over)
