"""Connections whose peer was proven by a root that is trusted no more, since its key was stolen: they end with the trust.

A root that rotates out is another matter: it is told as rotated out, and leaves the list when its leaves have ended; what
they opened may outlive them. One that vanishes while it may still sign was taken away on purpose. Held by `ProxyState`.
"""

from __future__ import annotations

from weakref import WeakSet

from chowk.connect.ca.verification import signed_by, signing_keys
from chowk.connect.proxy.links import TlsLink
from chowk.core.records.ca import CARoots


class SecuredLinks:
    """All connections with other proxies whose peer was identified."""

    def __init__(self) -> None:
        self._links: WeakSet[TlsLink] = WeakSet()

    def add(self, link: TlsLink) -> None:
        """Its handshake is over, its peer known."""
        self._links.add(link)

    def end_distrusted(self, before: CARoots, now: CARoots) -> int:
        """The roots changed. End those whose peer no root of now speaks for, if roots were taken away; how many."""
        left = {root.id for root in now.roots}
        if all(root.id in left or root.rotated_out_at for root in before.roots):
            return 0
        try:
            keys = signing_keys(now)
        except ValueError:  # who makes new credentials of these roots fails too, and tells
            return 0
        over = [link for link in self._links if not link.lost and not signed_by(link.peer_leaf, keys)]
        for link in over:
            (link.pipe or link).reset()
        return len(over)
